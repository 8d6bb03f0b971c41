"""One file out of those of several receivers, which reads like the file of a single one.

Images, and results of more than `REAL_BYTES` per frame, are virtual datasets: the parts must stay beside it. The ledger
and small columns are merged. /entry/ledger/receiver says who has which frame, `copies` how many have it, `differing` of
which frames they have different pixels; /entry/receivers/N/provenance how the part came to be. Made under a temporary
name, complete when it has its own.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file import ledger_layout, nexus, provenance
from sinks.file.latency import GROUP as LATENCY
from sinks.file.latency import WAYS
from sinks.file.ledger_layout import COLUMNS, NOTES_BYTES
from sinks.file.ledger_layout import GROUP as LEDGER
from sinks.file.naming import numbered
from sinks.receivers import gathered, mapping
from sinks.receivers.ledgers import Merged, Part, column, merge
from stream.claim import Claim
from stream.errors import SinkFailed
from stream.events import EMPTY, Array, FrameStatus
from stream.roles import Mergeable

log = logging.getLogger("inbeam")
GROUP = "/entry/receivers"
RECEIVER, COPIES, DIFFERING = f"{LEDGER}/receiver", f"{LEDGER}/copies", f"{LEDGER}/differing"
REAL_BYTES = 64
OF_PART = re.compile(r"\.r[0-9]+((?:_[0-9]+)?(?:\.[^./]*)?)$")
NOT_FRAMES = (LEDGER, "/entry/changes", "/entry/provenance", GROUP)


def make(
    paths: Sequence[Path],
    wanted: Path,
    *,
    if_exists: str = "number",
    links: Mapping[str, str] | None = None,
    gatherers: Mapping[str, Mergeable] = EMPTY,
    trouble: Callable[[str], None] = log.warning,
) -> Path:
    """Write the master of these parts (in the order of their receivers) as `wanted`, or under the next free number.

    One that was made of the same parts before is left alone if it says what they say, else replaced: they have been
    gone on with since. if_exists: as of a file sink. links: the file that a part links to -> the one that the master
    links to. gatherers: by name, new ones that make the products of the whole scan; `trouble` is told what of these is
    not whole. Returns its path. Raises SinkFailed.
    """
    target = wanted
    try:
        with ExitStack() as stack:
            parts = [Part.of(path, stack.enter_context(h5py.File(path, "r", locking=False))) for path in paths]
            merged = merge(parts)
            for earlier in takewhile(os.path.lexists, numbered(wanted)):
                same = _same(earlier, parts, merged)
                if same:
                    return earlier
                if same is not None:
                    target, if_exists = earlier, "overwrite"
                    break
            if if_exists == "number":
                target = next(path for path in numbered(wanted) if not os.path.lexists(path))
            elif if_exists == "fail" and os.path.lexists(wanted):
                raise SinkFailed(f"{wanted} is there already: move it away, or set if_exists")
            claim = Claim.take(target)
            stack.callback(claim.release)
            with h5py.File(claim.reachable, "w", libver="v110", locking=False) as file:
                _write(file, target.parent, parts, merged, links or {})
                gathered.fill(file, parts, merged.states, gatherers, trouble)
            claim.publish(overwrite=if_exists == "overwrite")
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise SinkFailed(f"cannot make {target} of {len(paths)} parts: {' '.join(str(error).split())}") from error
    return target


def _same(path: Path, parts: Sequence[Part], merged: Merged) -> bool | None:
    """Whether an earlier master says what its parts say; None if it is of others, or no master."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            own = {part.resolve(): finished for _, part, finished in parts_of(file, path)}
            given = {part.path.resolve(): part.record.finished for part in parts}
            if not own or not own.keys() <= given.keys() or str(file[LEDGER].attrs["scan_uid"]) != parts[0].uid:
                return None
            states, owner = file[f"{LEDGER}/status"][()], file[RECEIVER][()]
            same = own == given and np.array_equal(states, merged.states) and np.array_equal(owner, merged.owner)
            return same and not any(gathered.problems(file, parts))
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def _write(file: h5py.File, folder: Path, parts: Sequence[Part], merged: Merged, links: Mapping[str, str]) -> None:
    counted = [len(merged.rows_of(number)) for number in range(len(parts))]
    # the layout is that of a part with frames, complete if there is one
    template = max(range(len(parts)), key=lambda number: (parts[number].record.finished, counted[number]))
    names = {part.path.name: os.path.relpath(part.path, folder) for part in parts}
    _ledger(file, parts, merged)
    copy = _Copy(file, folder, parts, merged, links)
    copy.all(parts[template].file)
    _set(file, "/entry/end_time", max(bytes(part.file["/entry/end_time"][0]) for part in parts))
    if LATENCY in file:
        for way in WAYS:
            _set(
                file,
                f"{LATENCY}/{way}",
                sum(part.file[f"{LATENCY}/{way}"][()] for part in parts if LATENCY in part.file),
            )
    made = nexus.group(file, GROUP, "NXcollection")
    for number, part in enumerate(parts):
        inner = nexus.group(made, str(number), "NXcollection")
        nexus.text(inner, "file", names[part.path.name])
        inner.create_dataset("frames", data=counted[number])
        inner.create_dataset("finished", data=part.record.finished)
        part.file.copy(provenance.GROUP, inner, "provenance")


def _ledger(file: h5py.File, parts: Sequence[Part], merged: Merged) -> None:
    group, like = file.create_group(LEDGER), parts[0].file[LEDGER]
    for key, value in like.attrs.items():
        group.attrs[key] = value
    for name, (_, fill, unit) in COLUMNS.items():
        values = merged.states if name == "status" else column(merged, parts, name)
        rows = max(1, min(64 if name == "problem" else ledger_layout.CHUNK_ROWS, len(values)))
        made = group.create_dataset(
            name, data=values, maxshape=(None, *values.shape[1:]), chunks=(rows, *values.shape[1:]), fillvalue=fill
        )
        if unit:
            made.attrs["units"] = unit
    group.create_dataset("receiver", data=merged.owner)
    group.create_dataset("copies", data=merged.copies)
    group.create_dataset("differing", data=np.array(list(merged.differing), np.uint64))
    counts = np.bincount(merged.states, minlength=len(FrameStatus)).astype(np.uint64)
    for name, value, kind in (
        ("committed", int(np.count_nonzero(merged.states)), np.int64),
        ("expected", merged.expected, np.int64),
        ("announced", -1 if merged.announced is None else merged.announced, np.int64),
        ("repeats", merged.repeats, np.int64),
        ("finished", 1, np.uint8),
        ("end_status", merged.status.value.encode(), "S16"),
        ("notes", merged.notes.encode()[:NOTES_BYTES], f"S{NOTES_BYTES}"),
    ):
        group.create_dataset(name, data=np.array([value], kind), chunks=(1,), maxshape=(1,))
    group.create_dataset("counts", data=counts, chunks=(len(counts),))


class _Copy:
    """Takes over the tree of one part; what has a row per frame becomes that of all."""

    def __init__(
        self, file: h5py.File, folder: Path, parts: Sequence[Part], merged: Merged, links: Mapping[str, str]
    ) -> None:
        self._file, self._folder, self._parts, self._merged = file, folder, parts, merged
        self._made: dict[Any, str] = {}
        self._links = links

    def all(self, template: Any) -> None:
        """The whole tree. Other groups link to columns of the ledger, which is made already."""
        ledger = template[LEDGER]
        self._made[h5py.h5o.get_info(ledger.id).addr] = LEDGER
        for name in ledger:
            self._made[h5py.h5o.get_info(ledger[name].id).addr] = f"{LEDGER}/{name}"
        self.group(template, self._file)

    def group(self, source: Any, made: Any) -> None:
        for key, value in source.attrs.items():
            made.attrs[key] = value
        for name in source:
            link = source.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                made[name] = h5py.ExternalLink(self._links.get(link.filename, link.filename), link.path)
            elif isinstance(link, h5py.SoftLink):
                made[name] = h5py.SoftLink(link.path)
            else:
                self._item(source[name], made, name)

    def _item(self, item: Any, made: Any, name: str) -> None:
        if gathered.is_partial(item):
            return
        address = h5py.h5o.get_info(item.id).addr
        if address in self._made:
            if name not in made:
                made[name] = self._file[self._made[address]]
            return
        self._made[address] = f"{made.name.rstrip('/')}/{name}"
        if isinstance(item, h5py.Group):
            self.group(item, made.require_group(name))
        elif gathered.is_gathered(item):
            gathered.declare(item, made, name, self._parts)
        elif is_per_frame(item):
            self._frames(item, made, name)
        else:
            item.file.copy(item, made, name)

    def _frames(self, item: Any, made: Any, name: str) -> None:
        if item.dtype.itemsize * int(np.prod(item.shape[1:], dtype=np.int64)) <= REAL_BYTES:
            values = merged_rows(item, self._parts, self._merged)
            chunk = max(1, min(ledger_layout.CHUNK_ROWS, len(values)))
            dataset = made.create_dataset(
                name, data=values, maxshape=(None, *values.shape[1:]), chunks=(chunk, *values.shape[1:])
            )
        else:
            sources = {
                str(number): (os.path.relpath(part.path, self._folder), part.file[item.name].shape[0], rows)
                for number, part in enumerate(self._parts)
                if item.name in part.file and len(rows := self._rows(number, part.file[item.name]))
            }
            dataset = mapping.declare(made, name, item, self._merged.expected, sources)
        for key, value in item.attrs.items():
            dataset.attrs[key] = value

    def _rows(self, number: int, dataset: Any) -> Array:
        rows = self._merged.rows_of(number)
        kept: Array = rows[rows < dataset.shape[0]]
        return kept


def is_per_frame(item: Any) -> bool:
    """True for a dataset of one row per frame number."""
    return (
        isinstance(item, h5py.Dataset)
        and item.ndim > 0
        and item.chunks is not None
        and item.maxshape[0] is None
        and not gathered.is_gathered(item)
        and not item.name.startswith(NOT_FRAMES)
    )


def merged_rows(item: Any, parts: Sequence[Part], merged: Merged) -> Array:
    """The rows of a small dataset, each of whoever has the frame."""
    found: Array = np.full((merged.expected, *item.shape[1:]), item.fillvalue, item.dtype)
    for number, part in enumerate(parts):
        if item.name in part.file:
            dataset = part.file[item.name]
            rows = merged.rows_of(number)
            rows = rows[rows < dataset.shape[0]]
            if len(rows):
                first, last = int(rows[0]), int(rows[-1]) + 1
                found[rows] = dataset[first:last][rows - first]
    return found


def part_name(path: str, number: int) -> str:
    """Where receiver `number` writes what the configuration calls `path`."""
    stem, suffix = os.path.splitext(path)
    return f"{stem}.r{number}{suffix}"


def whole_name(path: str) -> str:
    """What the configuration calls the file of a receiver; data.r0_2.h5 is the second of its name."""
    return OF_PART.sub(r"\1", path)


def beside(part: Path, number: int) -> Path:
    """The file of receiver `number`, where that of another one is `part`."""
    return part.with_name(OF_PART.sub(rf".r{number}\1", part.name))


def parts_of(file: Any, path: Path) -> Iterator[tuple[int, Path, bool]]:
    """(number, path, finished) of every part of a master; none for another file."""
    for name in sorted(file.get(GROUP, ()), key=int):
        told = file[f"{GROUP}/{name}"]
        yield int(name), path.parent / told["file"][()].decode(), bool(told["finished"][()])


def _set(file: Any, name: str, value: Any) -> None:
    file[name][...] = value
