"""The HDF5 files of a folder: which scans each of them holds, and which of these have been taken.

A file is looked into again whenever it changes: BLISS adds scan after scan to one file, a file may get a second
detector, a virtual dataset may come before its sources. Where changes are not seen natively, the latest files are
looked at at every turn, and the older ones by and by.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from stream.events import Note
from stream.formats.hdf5.flags import writes_swmr
from stream.formats.hdf5.growing import Growing
from stream.formats.hdf5.live import UNREADY, look
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import some
from stream.formats.hdf5.safe import MOST_FRAME_BYTES

MODULES_S = 2.0
"""Between the files of two modules of one detector no more time passes, s."""
LATEST = 16
"""Files looked at at every turn, and as many of the older ones."""


@dataclass(slots=True)
class Waiting:
    """A scan that awaits its turn, since a moment of the watcher's clock, s.

    first: the frame of the file that becomes number 0. told: the user knows that it waits.
    """

    path: str
    located: Located
    first: int = 0
    since: float = 0.0
    told: bool = False
    failing_since: float | None = None


@dataclass(slots=True)
class _File:
    path: str
    state: tuple[int, int]
    changed: float
    dirty: bool = True
    lacking: str = ""
    modules: tuple[tuple[str, ...], float] = (), 0.0
    """The modules of a detector that have been seen, and since when there are no more of them."""
    entries: list[str] = field(default_factory=list)
    """Entries with a scan that has been taken, the latest one last."""
    identities: set[str] = field(default_factory=set)
    ended: list[Growing] = field(default_factory=list)
    """Scans that have been ended without all their frames."""


class Library:
    """What is known of each file that could be read. Times are of the watcher's clock, s."""

    def __init__(self, dataset: str | None, give_up_s: float, frame_bytes: int = MOST_FRAME_BYTES) -> None:
        """frame_bytes: no frame may be larger, decoded."""
        self._dataset = dataset
        self._frame_bytes = frame_bytes
        self._give_up_s = give_up_s
        self._files: dict[str, _File] = {}
        self._claims: dict[str, set[tuple[str, int, int, str]]] = {}
        self._turn = 0

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def add(self, path: str, now: float) -> list[Waiting | Note]:
        """The scans of a file that is new. Raises one of `UNREADY` while it cannot be read."""
        file = _File(path, _state(path), now)
        found = self._look(file, now)
        self._files[path] = file
        return found

    def changed(self, path: str, now: float) -> None:
        """Somebody has seen the file change."""
        file = self._files[path]
        file.dirty, file.changed = True, now

    def gone(self, path: str) -> None:
        """The file has been deleted or renamed."""
        self._files.pop(path, None)

    def claim(self, path: str, located: Located) -> None:
        """The frames of a scan of the file `path` are taken from where they are now."""
        for holder, dataset, first, after in _runs(located):
            self._claims.setdefault(holder, set()).add((dataset, first, after, path))

    def ended(self, growing: Growing) -> None:
        """A scan has been ended; if it was not whole, more of it may still come."""
        file = self._files.get(growing.path)
        if file is not None and not growing.complete:
            file.ended.append(growing)
        if file is not None:
            file.dirty = True

    def look(self, now: float, *, native: bool) -> Iterator[Waiting | Note]:
        """What has been added to files since the last look."""
        for path in self._due(native):
            file = self._files[path]
            state = _state(path)
            if state != file.state:
                file.state, file.changed, file.dirty = state, now, True
            insist = bool(file.lacking) and now - file.changed >= self._give_up_s
            if file.dirty or file.lacking:
                try:
                    found = self._look(file, now, insist=insist)
                except UNREADY:  # in the middle of a change
                    continue
                yield from found

    def _due(self, native: bool) -> list[str]:
        paths = list(self._files)
        if native:
            return [path for path in paths if self._files[path].dirty or self._files[path].lacking]
        older = paths[:-LATEST]
        self._turn %= max(1, len(older))
        chosen = older[self._turn : self._turn + LATEST]
        self._turn += LATEST
        return chosen + paths[-LATEST:]

    def _look(self, file: _File, now: float, *, insist: bool = False) -> list[Waiting | Note]:
        result: list[Waiting | Note] = list(self._more_of_ended(file))
        if file.entries and writes_swmr(file.path):
            return result  # no scan can be added while its writer is at work
        found = look(file.path, self._dataset, frozenset(file.entries[:-1]), self._frame_bytes)
        lacking = list(found.lost)
        for located in found.scans:
            if located.identity in file.identities:
                continue
            if located.by_parts and not self._has_all_modules(file, located, now):
                lacking.append(f"{file.path} is one module of a detector, and others may still come")
                continue
            if located.lost and not insist and not located.by_files:
                lacking += located.lost  # a virtual dataset may come before its sources
                continue
            file.identities.add(located.identity)
            file.entries = [*(entry for entry in file.entries if entry != located.name), located.name]
            owners = self._owners(file.path, located)
            if not owners and any(located.channels.values()):
                self.claim(file.path, located)
                result.append(Waiting(file.path, located))
            elif owners - {file.path} and {holder for holder, *_ in _runs(located)} != {os.path.realpath(file.path)}:
                text = f"{file.path}::/{located.identity} links to frames that are taken from {some(sorted(owners))}"
                result.append(Note(text, harmless=True))
        file.dirty, file.lacking = False, "" if insist else some(dict.fromkeys(lacking))
        if insist and lacking:
            result.append(Note(f"set aside: {some(dict.fromkeys(lacking))}"))
        self._files[file.path] = self._files.pop(file.path, file)  # the latest one comes last
        return result

    def _more_of_ended(self, file: _File) -> Iterator[Waiting | Note]:
        for growing in file.ended:
            if growing.more():
                file.ended = [other for other in file.ended if other is not growing]
                rest = Waiting(file.path, growing.located, growing.following)
                yield Note(
                    f"{file.path} has grown after its scan {growing.start.name} had ended: what follows is a scan of "
                    "its own; raise `scan_idle_s`",
                    harmless=True,
                )
                yield rest

    def _has_all_modules(self, file: _File, located: Located, now: float) -> bool:
        """How many modules a detector has is told nowhere: it has those that came soon after each other."""
        names = tuple(located.channels)
        if file.modules[0] != names:
            file.modules = names, now
        return now - file.modules[1] >= MODULES_S

    def _owners(self, path: str, located: Located) -> set[str]:
        """The files as whose scans some of these frames have been taken. Of another file a dataset may be known by
        another name, through its links; of the same it has one."""
        return {
            owner
            for holder, dataset, first, after in _runs(located)
            for claimed, begin, end, owner in self._claims.get(holder, ())
            if begin < after and first < end and (owner != path or claimed == dataset)
        }


def _runs(located: Located) -> Iterator[tuple[str, str, int, int]]:
    """Where the frames of a scan lie: the file's real path, the dataset, the first frame, the one behind the last."""
    for parts in (*located.channels.values(), located.awaited):
        for part in parts:
            dataset = part.dataset if part.channel is None else f"{part.dataset} {part.channel}"
            yield os.path.realpath(part.path), dataset, part.offset, part.offset + max(part.count, 1)


def _state(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
