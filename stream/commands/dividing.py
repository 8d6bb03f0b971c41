"""A run that is divided among processes, each with files of its own: what can be, and which files it writes."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file import ledger_reader, repair
from sinks.file.continued import Elsewhere
from sinks.receivers import gathered, master
from stream.config import Config
from stream.errors import SinkFailed
from stream.events import Array, EndStatus, FrameStatus
from stream.pipeline.assembly import Assembly, name_of
from stream.pipeline.control import RunControl
from stream.pipeline.revisions import OptionSet
from stream.roles import Gatherer, Mergeable

log = logging.getLogger("inbeam")
MERGED, FIRST_ONLY = ("archive", "hdf5"), ("monitor", "page")


def problems(config: Config, *, live: bool = False) -> Iterator[tuple[str, str]]:
    """What cannot be divided, whatever the frames come from. live: there are figures to watch."""
    for place, sink in enumerate(config.document["sinks"]):
        if sink["type"] not in (*MERGED, *FIRST_ONLY):
            text = f"files of {sink['type']} are not merged: use archive, and process the master afterwards"
            yield f"sinks[{place}].type", text
    for place, options, role in _gatherers(config, log.warning):
        why = role.undivided if isinstance(role, Mergeable) else "it cannot be made of what several processes have"
        if why:
            text = f"{options.type} needs all frames in one process ({why})"
            yield f"processors[{place}]", f"{text}: leave it out, and give the archive's master to `inbeam process`"
    run = config.run
    for option, given in (("control", run.control), ("on_end", run.on_end), ("metrics", run.metrics)):
        if given and not (live and option == "metrics"):
            yield f"run.{option}", "is not there where a run is divided: leave it out"
    if not any(sink["type"] in MERGED for sink in config.document["sinks"]):
        yield "sinks", "each part has a file: add an archive or hdf5"


def _gatherers(config: Config, trouble: Callable[[str], None]) -> Iterator[tuple[int, Any, Gatherer]]:
    """(place, options, a new one) of each in the configuration."""
    assembly = Assembly(config, RunControl(OptionSet.of(config)), trouble, Path())
    for place, options, role in assembly.roles:
        if isinstance(role, Gatherer):
            yield place, options, role


def part_sinks(config: Config, number: int) -> list[dict[str, Any]]:
    """The sinks of one part; those for show are of the first alone."""
    return [_sink(sink, number) for sink in config.document["sinks"] if sink["type"] in MERGED or number == 0]


def files_of(document: Mapping[str, Any], told: Mapping[str, list[str | None]]) -> list[str | None]:
    """Of the files of all sinks of a part, those that are merged, whether it wrote them or found them complete."""
    kinds = [sink["type"] for sink in document["sinks"]]
    files = [file or there for file, there in zip(told["files"], told["there"], strict=True)]
    return [file for file, kind in zip(files, kinds, strict=True) if kind in MERGED]


def environment() -> dict[str, str]:
    """For a process that imports what we import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Masters:
    """Makes one file of those of all parts, for each sink, once for each scan. troubles: what went wrong, in words."""

    def __init__(self, config: Config, count: int) -> None:
        self._sinks = [sink for sink in config.document["sinks"] if sink["type"] in MERGED]
        self.count = count
        self._config = config
        self.troubles: dict[str, None] = {}

    def _trouble(self, text: str) -> None:
        log.error("%s", text)
        self.troubles[text] = None

    def make(self, name: str, uid: str, files: Mapping[int, list[str | None]]) -> tuple[list[Path], list[int]]:
        """(the masters, of each of their parts which it is). files: part -> of each of its sinks, in order."""
        links: dict[str, str] = {}
        made: list[Path] = []
        parts: list[tuple[int, Path]] = []
        for place in sorted(range(len(self._sinks)), key=lambda place: self._sinks[place]["type"] != "archive"):
            sink = self._sinks[place]
            parts = self._parts(uid, {number: found[place] for number, found in files.items()})
            if not parts:
                self.troubles[f"scan {name}: no part has a file for {sink['path']}"] = None
                continue
            # a part whose file another process held has a number behind its name, which the whole has not
            wanted = Path(min((master.whole_name(str(part)) for _, part in parts), key=lambda name: (len(name), name)))
            found, exists = [part for _, part in parts], sink.get("if_exists", "number")
            try:
                done = master.make(
                    found, wanted, if_exists=exists, links=links, gatherers=self._mergers(), trouble=self._trouble
                )
            except SinkFailed as error:
                self._trouble(str(error))
                continue
            for text in gathered.lacking(done):
                self._trouble(f"scan {name}: {text}")
            links |= {os.path.relpath(part, done.parent): done.name for part in found}
            made.append(done)
        return made, [number for number, _ in parts]

    def _mergers(self) -> dict[str, Mergeable]:
        found = _gatherers(self._config, self._trouble)
        return {name_of(options): role for _, options, role in found if isinstance(role, Mergeable)}

    def _parts(self, uid: str, told: Mapping[int, str | None]) -> list[tuple[int, Path]]:
        """(part, its file). A process that was killed, or that found its file complete, has one all the same; one whose
        file somebody held has several."""
        found = {number: Path(file) for number, file in told.items() if file is not None}
        for number in range(self.count):
            if number in found or not found:
                continue
            guess = master.beside(next(iter(found.values())), number)
            there = repair.find(guess)
            if there is not None and there.uid == uid:
                try:
                    repair.repair(guess, patience_s=1.0)
                    found[number] = guess
                except SinkFailed as error:
                    self._trouble(str(error))
        return [(number, each) for number, path in sorted(found.items()) for each in self._with_earlier(path)]

    def _with_earlier(self, path: Path) -> list[Path]:
        """The files of which each continues the one before it, up to this one."""
        chain = [path]
        while (elsewhere := _elsewhere(chain[0])) is not None:
            earlier = chain[0].parent / elsewhere.file
            try:
                repair.repair(earlier, patience_s=1.0)
            except (SinkFailed, OSError) as error:
                self._trouble(f"{error}; the {len(elsewhere.held)} frames that it has are not in the file of the whole")
                break
            chain.insert(0, earlier)
        return chain


def _elsewhere(path: Path) -> Elsewhere | None:
    try:
        with repair.looked_into(path) as file:
            return ledger_reader.read(file).elsewhere
    except (OSError, KeyError, ValueError, RuntimeError):  # what is wrong with it is told where the master is made
        return None


def _sink(sink: Mapping[str, Any], number: int) -> dict[str, Any]:
    renamed = {key: master.part_name(str(sink[key]), number) for key in ("path", "link") if sink.get(key)}
    return {**sink, **renamed} if sink["type"] in MERGED else dict(sink)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a scan, by its master: one line; what of it the exit code must not hide; part -> its frames."""

    line: str
    troubles: tuple[str, ...]
    shares: Mapping[int, int]


def told_of(masters: Sequence[Path], name: str) -> Told:
    """Of all masters of a scan: that of the first, and the troubles of those that have other frames: a kill may have
    kept a frame from one of the files alone."""
    first, *others = masters
    states = _states(first)
    apart = [told(path, name) for path in others if not np.array_equal(_states(path), states)]
    found = told(first, name)
    return replace(found, troubles=(*found.troubles, *(text for each in apart for text in each.troubles)))


def _states(path: Path) -> Array:
    with h5py.File(path, "r", locking=False) as file:
        states: Array = ledger_reader.read(file).states
    return states


def told(path: Path, name: str) -> Told:
    """Read the ledger of a master."""
    with h5py.File(path, "r", locking=False) as file:
        record = ledger_reader.read(file)
        shares = {int(each): int(group["frames"][()]) for each, group in file[master.GROUP].items()}
        differing = file[master.DIFFERING][()].tolist() if master.DIFFERING in file else []
    counts = {status: count for status, count in record.counts.items() if count}
    end = record.end_status or EndStatus.STOPPED
    words = " + ".join(f"{count} {status.name.lower()}" for status, count in counts.items()) or "0"
    lost = {status: count for status, count in counts.items() if not status.has_data}
    troubles = []
    if lost and not (end is EndStatus.STOPPED and lost.keys() == {FrameStatus.MISSING}):
        kinds = ", ".join(f"{count} {status.name.lower()}" for status, count in lost.items())
        troubles.append(f"scan {name}: {sum(lost.values())} frames without data ({kinds}): see ledger/status in {path}")
    if differing:
        troubles.append(
            f"scan {name}: {len(differing)} frames came more than once, with different pixels (the first: frame "
            f"{differing[0]}); of each the first receiver's counts: see `inbeam check {path}`"
        )
    if end is EndStatus.ABORTED:
        troubles.append(f"scan {name} was aborted")
    return Told(f"scan {name} {end.value}: {words} = {record.expected} frames", tuple(troubles), shares)
