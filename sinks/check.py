"""Verify a file against its own ledger: the pixels decode and are the bytes that came, every result is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filters)
import numpy as np
import xxhash

from sinks.archive import DATA, dataset_paths
from sinks.file import ledger_layout, parts, repair, superblock
from sinks.file.advice import absent, foreign
from sinks.file.chunk_index import rows_present
from sinks.file.direct_chunk import NO_FILTER, came_as
from sinks.file.ledger_reader import Record, read
from sinks.file.parts import continuation
from sinks.file.scan_product import COVERED, LOST
from sinks.receivers import check as receivers
from sinks.receivers import gathered, master
from sinks.sparse_frames.check import pointers
from stream.codec.payload import decode
from stream.errors import CorruptPayload
from stream.events import Encoding, EndStatus, FrameStatus, Payload

MOST_PROBLEMS = 20
NOT_ROWS = ("frame_number", "frame_ptr", "index", "intensity", "errors")
"""What grows in an NXdata group, but not by one row of results per frame."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `check` found. problems: one line each, the first of them; total: how many there are."""

    path: Path
    frames: int
    with_data: int
    chunks: int
    problems: tuple[str, ...]
    total: int
    summary: str = ""

    @property
    def sound(self) -> bool:
        """True if the file is what its ledger says."""
        return self.total == 0

    def line(self) -> str:
        """The verdict in one line."""
        if self.sound:
            return f"{self.path}: sound: {self.summary}"
        more = f" (and {self.total - 1} more)" if self.total > 1 else ""
        return f"{self.path}: NOT SOUND: {self.problems[0]}{more}"


def check(path: Path) -> Verdict:
    """Verify one file; reads all of it. Never raises for what is wrong with the file, and never changes it."""
    problems: list[str] = []
    total = frames = with_data = verified = 0
    summary = ""
    try:
        with h5py.File(path, "r") as file:
            record = read(file)
            frames, with_data = record.expected, int(np.count_nonzero(ledger_layout.HAS_DATA[record.states]))
            next_part = "" if record.complete else continuation(path)
            summary = _summary(record, next_part) + _lost(file, len(record.states))
            for kind, problem in _problems(file, path, record, next_part):
                verified += kind
                if problem:
                    total += 1
                    if total <= MOST_PROBLEMS:
                        problems.append(problem)
    except KeyError as error:
        problems, total = [foreign(path, "a file of inbeam", error)], 1
    except (OSError, RuntimeError, ValueError) as error:
        problems, total = [_unreadable(path, error)], 1
    if verified:
        summary += f"; {verified} stored images decode and are the bytes that came"
    return Verdict(path, frames, with_data, verified, tuple(problems), total, summary)


def _problems(file: Any, path: Path, record: Record, next_part: str) -> Iterator[tuple[int, str]]:
    """(1 for an image that is right else 0, problem or "")."""
    if record.finished or not next_part:
        yield from ((0, problem) for problem in _counts(record))
    uid = str(file[ledger_layout.GROUP].attrs["scan_uid"])
    yield from ((0, problem) for problem in parts.problems(path, record, uid))
    held = np.flatnonzero(ledger_layout.HAS_DATA[record.states])
    paths = dataset_paths(record.channels)
    frames = "encoding" in file[f"{DATA}/data"].attrs if f"{DATA}/data" in file else False
    here = frames and isinstance(file[DATA].get("data", getlink=True), h5py.HardLink)
    if here and not file[f"{DATA}/data"].is_virtual:  # else its parts have them
        for position, channel in enumerate(record.channels):
            yield from _images(file, file[paths[channel]], record, position)
    length = record.length if record.finished or not next_part else None
    yield from ((0, problem) for problem in _results(file, held, length))
    yield from ((0, problem) for problem in _link(file, path))
    yield from _parts(file, path)


def _parts(file: Any, path: Path) -> Iterator[tuple[int, str]]:
    """Of a file that is made of those of several receivers: that it is, and each of them."""
    parts_there = list(master.parts_of(file, path))
    if parts_there:
        yield from ((0, problem) for problem in receivers.problems(file, path))
    for _, part, finished in parts_there:
        if part.exists():
            with h5py.File(part, "r", locking=False) as inner:
                found = _problems(inner, part, read(inner), "" if finished else "its master")
                yield from ((kind, f"{part.name}: {problem}" if problem else "") for kind, problem in found)


def _counts(record: Record) -> Iterator[str]:
    if not record.finished:
        yield "the scan was not finished: its writer was killed or stopped; start inbeam again to go on with it"
        return
    found = np.bincount(record.states, minlength=len(FrameStatus))
    found[FrameStatus.MISSING] += record.length - len(record.states)
    disarmed = record.end_status is EndStatus.DISARMED
    if record.length != record.expected:
        yield f"the ledger has {record.length} rows, but {record.expected} frames were expected"
    for status, count in record.counts.items():
        if count != found[status]:
            yield f"the ledger counts {count} frames as {status.name.lower()}, its rows say {found[status]}"
    if record.end_status is EndStatus.SILENT:
        yield f"the scan fell silent after {record.expected} frames, without an end message"
    elif record.announced is not None and record.announced > record.expected and not disarmed:
        yield f"the detector announced {record.announced} frames, the ledger expects {record.expected}"


def _images(file: Any, dataset: Any, record: Record, position: int) -> Iterator[tuple[int, str]]:
    """Decode every stored image of a channel and compare its checksum."""
    encoding, shape = Encoding(dataset.attrs["encoding"]), dataset.shape[1:]
    table = file[ledger_layout.GROUP]
    arrived = np.flatnonzero((record.states != FrameStatus.CORRUPT) & (record.states != FrameStatus.MISSING))
    rows = min(int(arrived[-1]) + 1 if len(arrived) else 0, table["nbytes"].shape[0], table["checksum"].shape[0])
    lengths, checksums = table["nbytes"][:rows, position], table["checksum"][:rows, position]
    arrived = arrived[arrived < rows]
    indices = arrived[lengths[arrived] > 0]
    present = rows_present(dataset, indices)
    for index, there in zip(indices.tolist(), present.tolist(), strict=True):
        where = f"frame {index}, channel {record.channels[position]}"
        if not there:
            yield 0, f"{where}: its image is not in the file"
            continue
        filter_mask, data = dataset.id.read_direct_chunk((index, 0, 0))
        packing = Encoding.RAW if filter_mask & NO_FILTER and encoding is not Encoding.RAW else _stored_as(encoding)
        try:
            decode(Payload(data, packing, shape, dataset.dtype))
        except CorruptPayload as error:
            yield 0, f"{where}: does not decode: {error}"
            continue
        checksum, nbytes = int(checksums[index]), int(lengths[index])
        original = came_as(data, nbytes)
        if original is None or not checksum:
            yield 1, ""
        elif xxhash.xxh3_64_intdigest(original) != checksum:
            yield 0, f"{where}: its bytes are not those that came (checksum differs)"
        else:
            yield 1, ""


def _stored_as(encoding: Encoding) -> Encoding:
    return {Encoding.BSLZ4_BARE: Encoding.BSLZ4, Encoding.LZ4_BLOCK: Encoding.LZ4_HDF5}.get(encoding, encoding)


def _results(file: Any, held: Any, length: int | None) -> Iterator[str]:
    """Every result of a frame that the ledger calls received is there, and what is plotted is not all NaN."""
    entry, seen = file["entry"], set()
    for name in sorted(entry, key=lambda name: (name == "data", name)):  # `data` is the first product again
        if not isinstance(entry.get(name, getlink=True), h5py.HardLink) or not isinstance(entry[name], h5py.Group):
            continue
        group = entry[name]
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        if "default" in group.attrs:  # a product beside the one that the entry is about
            group = group[group.attrs["default"]]
        if group.attrs.get("NX_class") != "NXdata" or "signal" not in group.attrs:
            continue
        for field, dataset in group.items():
            if not isinstance(dataset, h5py.Dataset) or dataset.chunks is None or dataset.maxshape[0] is not None:
                continue
            if field == COVERED:
                yield from _covered(name, dataset, held)
            elif not {"encoding", "per"} & dataset.attrs.keys() and field not in NOT_ROWS:
                yield from _rows(f"{name}/{field}", dataset, held, length, field == group.attrs["signal"])
        if "frame_ptr" in group:
            yield from pointers(file, name, group, held)


def _covered(name: str, dataset: Any, held: Any) -> Iterator[str]:
    """A product that belongs to the scan says itself which frames are in it."""
    covered = np.zeros(int(held[-1]) + 1 if len(held) else 0, bool)
    told = dataset[: len(covered)]
    covered[: len(told)] = told
    if left := int((~covered[held]).sum()):
        yield f"{name} does not cover {left} frames that have data: see {name}/{COVERED}"


def _rows(name: str, dataset: Any, held: Any, length: int | None, plotted: bool) -> Iterator[str]:
    if length is not None and dataset.shape[0] != length:
        yield f"{name} has {dataset.shape[0]} rows, the ledger {length}"
    there = rows_present(dataset, held)
    for index in held[~there].tolist():
        yield f"frame {index}: {name} is not in the file, though the frame was received"
    row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    step = max(1, 4_194_304 // row_bytes)
    wanted = held[there]
    for first in (np.unique(wanted // step) * step).tolist():
        here = wanted[slice(*np.searchsorted(wanted, (first, first + step)))]
        try:
            values = dataset[here[0] : here[-1] + 1]
        except OSError:
            yield from _undecodable(name, dataset, here)
            continue
        if dataset.dtype.kind == "f" and plotted:
            for index in here[np.isnan(values[here - here[0]]).reshape(len(here), -1).all(axis=1)].tolist():
                yield f"frame {index}: {name} is all NaN, though the frame was received"


def _undecodable(name: str, dataset: Any, indices: Any) -> Iterator[str]:
    for index in indices.tolist():
        try:
            dataset[index]
        except OSError as error:
            yield f"frame {index}: {name} does not decode: {' '.join(str(error).split())}"


def _link(file: Any, path: Path) -> Iterator[str]:
    """The archive that is linked, if it is still there, holds the same scan."""
    link = file["entry"].get("frames/data", getlink=True)
    if isinstance(link, h5py.ExternalLink):
        target = path.parent / link.filename
        found = repair.find(target) if target.exists() else None
        if found is not None and found.uid != file[ledger_layout.GROUP].attrs["scan_uid"]:
            yield f"the linked {link.filename} holds another scan"


def _summary(record: Record, next_part: str) -> str:
    counts = dict(record.counts)
    if next_part and not record.finished:
        counts = {status: int(np.count_nonzero(record.states == status)) for status in FrameStatus}
        counts[FrameStatus.MISSING] = 0
    elsewhere = record.elsewhere
    if elsewhere is not None:
        counts[FrameStatus.MISSING] = max(0, counts[FrameStatus.MISSING] - len(elsewhere.held))
    told = [f"{count} {status.name.lower()}" for status, count in counts.items() if count]
    told += [f"{len(elsewhere.held)} in {elsewhere.file}, which it continues"] if elsewhere is not None else []
    told += [f"goes on in {next_part}"] if next_part else []
    announced = f" of {record.announced} announced" if record.announced is not None else ""
    return f"{record.expected} frames{announced} ({', '.join(told) or 'none'})"


def _lost(file: Any, rows: int) -> str:
    """What a kill took from the products of the whole scan: the frames that their file has other results of. No more
    is read than the ledger has rows."""
    found = ((name, file[group][COVERED]) for name, group in gathered.products(file))
    counted = ((name, int((covered[:rows] == LOST).sum())) for name, covered in found if covered.ndim == 1)
    return "".join(f"; {name} lacks {count} frames: a kill took their pixels" for name, count in counted if count)


def _unreadable(path: Path, error: Exception) -> str:
    if problem := absent(path):
        return problem
    try:
        block = superblock.read(path)
    except (OSError, ValueError) as other:
        return str(other)
    if not block.clean and (next_part := continuation(path)):
        return f"was not closed properly; its scan goes on in {next_part}. To read it: inbeam recover {path}"
    if not block.clean:
        return f"was not closed properly, or is being written now; if its writer is dead: inbeam recover {path}"
    return f"cannot be read: {' '.join(str(error).split())}"
