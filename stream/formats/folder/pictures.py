"""The image files of a watched folder: to which scan each belongs, and what becomes of one that is written again.

A file that is written again with other content is a new frame. Without a number in its name it is the next one of its
scan; with a number whose frame the open scan has, it begins a further part (`name_2`) of the series: at once if it is
the scan's only file, or if the series is obviously recorded anew (its first file and another one have been written
again, and none that is new came between), else when the scan has ended. Where it cannot be taken, a counted note says
so. The same content again (a copy, a changed time stamp) is nothing new.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stream.errors import BadMessage
from stream.events import EndStatus, Event, Note
from stream.formats.folder.changes import Change
from stream.formats.folder.incoming import Incoming
from stream.formats.folder.scans import ImageSeries
from stream.formats.folder.taken import GONE, Taken, state_of
from stream.formats.hdf5.nexus import some
from stream.formats.images.file import Content, ImageFile
from stream.formats.natural import natural, series_of


@dataclass(frozen=True, slots=True)
class Naming:
    """How the files of a folder become scans: options of the source `watch`, and `session` of `ImageSeries`."""

    root: str
    series: Literal["prefix", "folder"]
    pattern: str
    scan_files: int | None
    first_number: int | None
    session: str

    def of(self, path: str) -> tuple[str, int | None]:
        """The series of a file, and its number."""
        return series_of(path, self.root, self.series, self.pattern)

    def name(self, key: str) -> str:
        """What the user calls a scan: what the names of its files share, or the folders below the root that lead to
        them, as `run_1` of one sample is not that of another."""
        if self.series == "folder" and key != ".":
            return key.replace(os.sep, "_")
        return os.path.basename(os.path.normpath(os.path.join(self.root, key)))


class Pictures:
    """The image files of one folder. Times are of the watcher's clock, s."""

    def __init__(self, naming: Naming, incoming: Incoming) -> None:
        self.scan: ImageSeries | None = None
        self.taken = Taken()
        self._naming = naming
        self._incoming = incoming
        self._parts: dict[str, int] = {}
        """Scans of each series that have ended."""
        self._held: dict[str, Content] = {}
        """Files of the open scan that have been written again, until it has ended."""
        self._told = False
        self._waiting: dict[str, float] = {}
        """Series that wait for the open scan to end, since when; infinity if that has been told."""

    def key(self, path: str) -> str:
        """The series that a file belongs to."""
        return self._naming.of(path)[0]

    def noticed(self, change: Change, now: float) -> None:
        """A file has changed: it comes in if it is new, or if it may hold something else than when it was taken."""
        known = change.path in self.taken and change.path not in self._incoming
        if not known or (change.kind != "gone" and self.taken.changed(change.path)):
            self._incoming.note(change, now)

    def look(self, now: float) -> None:
        """Look for files that have been written again without anybody seeing it."""
        for path in self.taken.look():
            if path not in self._incoming:
                self._incoming.note(Change("seen", path), now)

    def take(self, path: str, now: float) -> Iterator[Event]:
        """A file that is whole, or is thought to be."""
        if self._waits(path, now):
            yield from self._tell_of_waiting(path, now)
            return
        state = state_of(path)
        try:
            file = ImageFile(path)
            before = self._held.get(path) or self.taken.content(path)
            content, grown = _compared(file, before) if before is not None else (None, False)
            if content is not None:
                file = ImageFile(path)  # it was read to its end to be compared
        except BadMessage as error:
            self._incoming.failed(path, str(error), now)
            return
        self._incoming.done(path)
        if content is not None and content == before:
            file.close()
            self.taken.add(path, state, content)
            return
        scan = self.taken.scan(path)
        skip = before.frames if before is not None and grown and self._is_open(scan) else 0
        yield from self._place(file, now, content, skip=skip)
        self.taken.add(path, state, content or file.content, self.scan.uid if self.scan is not None else "")
        yield from self._end_if_whole(now)

    def _waits(self, path: str, now: float) -> bool:
        """True for a file of another series than the open one, while more of that may come."""
        scan = self.scan
        return scan is not None and scan.key != self.key(path) and not scan.over(now, self._incoming.settle_s)

    def _tell_of_waiting(self, path: str, now: float) -> Iterator[Note]:
        """Once for each series that is written at the same time as the open one."""
        assert self.scan is not None
        since = self._waiting.setdefault(self.key(path), now)
        if self.scan.active > since:
            self._waiting[self.key(path)] = float("inf")
            yield Note(
                f"{path} waits, as files of {self.scan.uid.removeprefix('file:')} still come: one scan is taken at a "
                "time; to see both live run a second inbeam, each with its own `include`",
                harmless=True,
            )

    def set_aside(self, path: str, problem: str) -> Iterator[Event]:
        """A file that cannot be read and never will be: holes where it belongs to the open scan, a note otherwise."""
        key, number = self._naming.of(path)
        if self.scan is None or self.scan.key != key:
            yield Note(f"set aside: {problem}", self.scan.uid if self.scan is not None else None)
            return
        yield from self.scan.damaged(number, problem)
        yield from self._end_if_whole(self.scan.active)

    def end_all(self, status: EndStatus, now: float) -> Iterator[Event]:
        """End the open scan, and the part that files written again make behind it."""
        while self.scan is not None:
            yield from self.end(status, now)

    def end(self, status: EndStatus, now: float) -> Iterator[Event]:
        """End the open scan; files written again meanwhile begin the next part of their series."""
        assert self.scan is not None
        scan, held = self.scan, self._held
        for path, problem in self._incoming.unreadable():
            key, number = self._naming.of(path)
            if key == scan.key:
                self._incoming.done(path)
                yield from scan.damaged(number, problem)
        self.scan, self._held, self._told = None, {}, False
        self._waiting = {key: since for key, since in self._waiting.items() if since == float("inf")}
        self._parts[scan.key] = self._parts.get(scan.key, 0) + 1
        if held and status is not EndStatus.COMPLETE:
            yield Note(f"not taken, as the watch was stopped: {some(held)}, written again", scan.uid)
            held = {}
        yield from scan.end(status)
        waiting = natural(held)
        while waiting:
            path = waiting.pop(0)
            state = state_of(path)
            try:
                file = ImageFile(path)
            except BadMessage as error:
                if state == GONE:
                    yield Note(f"{path} was written again, and was gone when its turn came: {error}")
                else:
                    self._incoming.note(Change("seen", path), now)
                continue
            self._begin(scan.key, waiting)
            self._incoming.done(path)
            yield from self._into_scan(file, now)
            self.taken.add(path, state, file.content, self.scan.uid if self.scan is not None else "")
            yield from self._end_if_whole(now)

    def _end_if_whole(self, now: float) -> Iterator[Event]:
        if self.scan is not None and self.scan.whole:
            yield from self.end(EndStatus.COMPLETE, now)

    def _into_scan(self, file: ImageFile, now: float, *, skip: int = 0) -> Iterator[Event]:
        assert self.scan is not None
        yield from self.scan.take(file, self._naming.of(file.path)[1], now, skip=skip)

    def _is_open(self, scan: str) -> bool:
        return self.scan is not None and self.scan.uid == scan

    def _place(self, file: ImageFile, now: float, again: Content | None, *, skip: int) -> Iterator[Event]:
        """The frames of a file that holds something new. again: what it holds, if it was taken before; skip: so many
        of its frames have been taken."""
        path = file.path
        key, number = self._naming.of(path)
        if self.scan is not None and self.scan.key != key:
            yield from self.end_all(EndStatus.COMPLETE, now)
        self._begin(key, self._incoming.paths())
        assert self.scan is not None
        if again is not None and not skip and (self.scan.has(number) or self.scan.precedes(number)):
            file.close()
            yield from self._hold(path, number, again, now)
        elif skip or not self.scan.has(number):
            yield from self._into_scan(file, now, skip=skip)
        else:
            file.close()
            text = f"{path} has the number {number} of a file that was taken: left out, correct `pattern` or `include`"
            yield Note(text, self.scan.uid)

    def _hold(self, path: str, number: int | None, content: Content, now: float) -> Iterator[Event]:
        """A file of the open scan was written again: keep it for the next part."""
        assert self.scan is not None
        if path in self._held:
            yield Note(f"{path} was written again twice before it could be taken: what it held is lost", self.scan.uid)
        self._held[path] = content
        self.scan.again(number)
        if self.scan.recorded_anew:
            yield from self.end(EndStatus.COMPLETE, now)
        elif not self._told:
            self._told = True
            text = f"{path} was written again while its scan is open: it begins a further part when that has ended. If "
            text += "every frame is written to this name, set `pattern` so that it finds no number in it"
            yield Note(text, self.scan.uid, harmless=True)

    def _begin(self, key: str, others: list[str]) -> None:
        """Begin a scan if none is open; others: files that come soon, and may be before the first one."""
        if self.scan is None:
            naming = self._naming
            numbers = [naming.of(other) for other in others]
            mates = [number for other, number in numbers if other == key and number is not None]
            part = self._parts.get(key, 0) + 1
            place = key, naming.name(key), part, naming.root
            self.scan = ImageSeries(*place, naming.scan_files, naming.first_number, mates, session=naming.session)


def _compared(file: ImageFile, before: Content) -> tuple[Content, bool]:
    """What a file holds now, and whether that begins with what it held before. Reads it to its end."""
    grown = False
    for _ in file:
        grown = grown or file.content == before
    return file.content, grown
