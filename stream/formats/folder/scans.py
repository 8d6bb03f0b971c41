"""The two kinds of scan that a watched folder gives: a series of image files, and an HDF5 file that grows."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from stream.events import EndStatus, Event, Note, ScanEnd
from stream.formats.folder.changes import Change
from stream.formats.folder.rhythm import Rhythm
from stream.formats.hdf5.growing import Growing
from stream.formats.images.file import ImageFile
from stream.formats.images.series import ImageScan
from stream.wire.limits import NUMBER_AHEAD

SECOND_IMAGE_S = 5.0
"""How long a second image of a series is waited for before another may begin. `scan_files: 1` says there is none."""
MORE_FRAMES_S = 20.0
"""How long an HDF5 file that does not say whether its scan is over is waited for before another scan may begin."""


class ImageSeries:
    """A scan of image files, in whatever order they come.

    mates: numbers of files of this series that are there but not whole yet; the lowest of them, or of the first file,
    is frame 0 unless `first_number` says it.
    session: what tells the scan apart from that of another process in which the same files have other numbers.
    """

    def __init__(
        self,
        key: str,
        name: str,
        part: int,
        root: str,
        files: int | None,
        first_number: int | None,
        mates: Sequence[int],
        *,
        session: str = "",
    ) -> None:
        again = f"_{part}" if part > 1 else ""
        self.key = key
        self.uid = f"file:{os.path.join(root, key)}{again}{session}"
        self.active = 0.0
        self._rhythm: Rhythm | None = None
        self._written = float("inf")
        self._files = files
        self._origin = first_number
        self._mates = mates
        self._taken: set[int] = set()
        self._lost: set[int] = set()
        self._rewritten: set[int | str] = set()
        self._again = 0
        self._scan = ImageScan(self.uid, name + again, os.path.join(root, key), files)

    @property
    def whole(self) -> bool:
        """True once all files that the scan was to have are there."""
        return self._files is not None and len(self._taken | self._lost) >= self._files

    def over(self, now: float, settle_s: float) -> bool:
        """True if another scan that waits may begin: no file has come for much longer than between two. A file that was
        written long before it was taken tells so by its time."""
        if self.whole or self._rhythm is None:
            return True
        quiet_s = max(self._rhythm.quiet_s(now), time.time() - self._written)
        return quiet_s >= self._rhythm.patience_s(settle_s)

    def take(self, file: ImageFile, number: int | None, now: float, *, skip: int = 0) -> Iterator[Event]:
        """The frames of a file, at the place of its number; a file without a number comes after the highest.

        skip: so many of its frames have been taken before it grew.
        """
        if self._rhythm is None:
            self._rhythm = Rhythm(now, SECOND_IMAGE_S)
        elif now == self.active:
            self._rhythm.burst()
        self._rhythm.beat(now)
        self.active = now
        with suppress(OSError):
            self._written = os.stat(file.path).st_mtime
        place = self._place(number)
        if isinstance(place, str):
            file.close()
            yield Note(f"{file.path} {place}", self.uid)
            return
        alone = not self._taken - {place}
        self._taken.add(place)
        self._again = 0
        if number is None:
            yield from self._scan.take(file, self._scan.highest + 1 - skip, skip=skip)
        else:
            yield from self._scan.take_at(file, place, alone=alone, skip=skip)

    def has(self, number: int | None) -> bool:
        """True if the file of that number has been taken; one without a number never has."""
        return number is not None and self._place(number) in self._taken

    def precedes(self, number: int | None) -> bool:
        """True if that number is before the first of the scan."""
        return number is not None and self._origin is not None and number < self._origin

    def again(self, number: int | None) -> None:
        """A file that has been taken was written again."""
        self._again += 1
        if number is not None:
            self._rewritten.add(self._place(number))

    @property
    def recorded_anew(self) -> bool:
        """True if the files that were written again are the beginning of another scan under the same names: its only
        file, or its first one and another, and no new one between them."""
        return len(self._taken) == 1 or (self._again > 1 and min(self._taken) in self._rewritten)

    def damaged(self, number: int | None, problem: str) -> Iterator[Event]:
        """Holes at the place of a file that cannot be read and never will be; a note where it has no place."""
        place = self._place(number)
        if number is None or isinstance(place, str) or not self._scan.started or place in self._taken:
            yield Note(f"set aside: {problem}", self.uid)
            return
        self._lost.add(place)
        yield from self._scan.damaged(place * self._scan.frames_per_file, problem)

    def _place(self, number: int | None) -> int | str:
        """Which of the files of the scan has this number, or in words why none can have it."""
        next_place = (self._scan.highest + 1) // self._scan.frames_per_file
        if number is None:
            return next_place
        if self._origin is None:
            self._origin = min([number, *self._mates])
        place = number - self._origin
        if place < 0:
            return f"comes before the first file of its scan: set `first_number` to {number}"
        if place > max(next_place, self._files or 0) + NUMBER_AHEAD:
            return "has a number far beyond its scan: set aside, correct `pattern` or `first_number`"
        return place

    def end(self, status: EndStatus) -> Iterator[Event]:
        """The end of the scan."""
        seen = self._scan.highest + 1
        told = (self._files or 0) * self._scan.frames_per_file
        yield ScanEnd(self.uid, status, announced=max(seen, told))


class GrowingScan:
    """A scan in an HDF5 file that is followed. old: the file has not changed for long when it is first seen."""

    def __init__(self, growing: Growing, now: float, *, old: bool) -> None:
        self.key = f"{growing.path}::{growing.name}"
        self.uid = growing.start.uid
        self.active = now
        self.growing = growing
        self._rhythm = Rhythm(now, MORE_FRAMES_S)
        self._looked = float("-inf")
        self._dirty = True
        self._old = old
        self._state = growing.state()

    def begin(self) -> Iterator[Event]:
        """The start of the scan, and what was odd about it."""
        yield replace(self.growing.start, fingerprint=self.growing.fingerprint())
        yield from self.growing.notes()

    def owns(self, path: str) -> bool:
        """True if frames of this scan are in that file."""
        return os.path.realpath(path) in self.growing.sources

    def noticed(self, change: Change, now: float) -> None:
        """A file in the folder has changed: look again if it is ours, or may be a new data file of ours."""
        if self.owns(change.path):
            self._rhythm.beat(now)
            self._dirty = True
        elif os.path.dirname(change.path) == os.path.dirname(self.growing.path):
            self._dirty = True

    def advance(self, now: float, poll_s: float) -> Iterator[Event]:
        """New frames, if a change was noticed or `poll_s` have passed since the last look."""
        if not self._dirty and now - self._looked < poll_s:
            return
        self._dirty = False
        self._looked = now
        state = self.growing.state()
        if state != self._state:
            self._state = state
            self._rhythm.beat(now)
            self._old = False
        for frame in self.growing.advance(now, finished=self._old or self._rhythm.quiet_s(now) >= 2 * poll_s):
            self.active = now
            yield frame

    def over(self, waited_for: bool, now: float, settle_s: float) -> bool:
        """True if no more is to come: see the module `stream.sources.watch`."""
        if self.growing.complete or self._old:
            return True
        if not waited_for or not self.growing.closed:
            return False
        return self._rhythm.quiet_s(now) >= (settle_s if self.growing.over else self._rhythm.patience_s(settle_s))

    def end(self, status: EndStatus) -> Iterator[Event]:
        """The end of the scan; its files are closed."""
        yield from self.growing.end(status)
