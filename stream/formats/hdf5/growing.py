"""An HDF5 file that is followed while it is being written: by SWMR, or by opening it again at every look.

A frame is there when its chunk is: the extent of a dataset says nothing (Lima makes it before the first frame, and a
reader that sees the extent before the chunk would get the fill value). Only datasets with one frame per chunk can be
followed so; others are read when their writer has closed the file.
"""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import h5py

from stream.errors import BadMessage
from stream.events import EndStatus, Frame, FrameStatus, Note, Payload, ScanEnd, ScanStart
from stream.fingerprint import of_beginning
from stream.formats.hdf5.beside import beside_growing
from stream.formats.hdf5.bliss import counters_of
from stream.formats.hdf5.chunks import Stack
from stream.formats.hdf5.expected import entry_has_ended, told_while_growing
from stream.formats.hdf5.flags import writer_flags, writes_swmr
from stream.formats.hdf5.grid import with_grid
from stream.formats.hdf5.late import Readings
from stream.formats.hdf5.live import UNREADY, sources
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.opening import open_hdf5
from stream.formats.hdf5.scans import Scan
from stream.formats.hdf5.segments import Segment
from stream.formats.hdf5.series import again, one_frame
from stream.formats.natural import stem

LOOK_AHEAD = 64
"""Frames looked for beyond one that is not there yet: detectors write from several threads."""


class Growing:
    """One scan in a file that grows. `advance` gives what is new; nothing is given twice.

    first: the frame of the file that becomes number 0; those before it belong to a scan that was ended too early.
    readings: names or patterns of those to take, None for all (see `readings.columns`).
    Raises BadMessage or another of `UNREADY` from the constructor while the file cannot be read.
    """

    def __init__(self, path: str, located: Located, first: int = 0, readings: Sequence[str] | None = None) -> None:
        self.path = path
        self.located = located
        self.name = located.identity
        self.first = first
        self.given = 0
        """Frames given so far."""
        self.over = False
        """True if the file says that the scan has ended. Frames may still be on their way to the disk."""
        self.sources = sources(path, located)
        """Real paths of all files whose frames belong to this scan."""
        self._stacks: dict[str, tuple[Segment, Stack, h5py.File]] = {}
        self._next = first
        self._holes: set[int] = set()
        self._waiting = self._late = False
        self._awaited = list(located.awaited)
        self._parts = {channel: list(parts) for channel, parts in located.channels.items()}
        self._swmr_seen = writes_swmr(path)
        about = counters_of(located)
        with open_hdf5(located.file, swmr=writes_swmr(located.file)) as file:
            start = Scan(path, located).start(file)
            found = file[located.path]
            self._data_files = isinstance(found, h5py.Group)
            self._virtual = not self._data_files and found.is_virtual
            self._extensible = self._data_files or (not self._virtual and found.maxshape[0] is None)
            self._told = told_while_growing(file, located)
            self.over = entry_has_ended(file, located)
        if about is not located:
            start = replace(start, name=f"{stem(about.file)}_{about.entry.strip('/')}")
        with open_hdf5(about.file, swmr=writes_swmr(about.file)) as file:
            more = beside_growing(file, about, start.detector.count_time_s, readings)
            start = with_grid(start, file, about, more.columns)
        self._readings = Readings(about.file, more)
        self.announced = max(start.expected or 0, self._told if self._extensible or self._virtual else 0)
        if self._awaited:
            self.announced = self._awaited[-1].first + self._awaited[-1].count
        self.start: ScanStart = replace(start, expected=max(self.announced - first, 0), readings=more.units)
        if first:
            part = f"_from_{first}"
            self.start = replace(self.start, name=start.name + part, uid=start.uid + part)

    def state(self) -> tuple[int, float]:
        """Size and modification time of what is being written: the file itself and the last one with frames."""
        paths = {self.path, *(parts[-1].path for parts in self._parts.values() if parts)}
        found: list[os.stat_result] = []
        for path in paths:
            with suppress(OSError):
                found.append(os.stat(path))
        return sum(status.st_size for status in found), max((status.st_mtime for status in found), default=0.0)

    @property
    def complete(self) -> bool:
        """True once every frame that the file announces has been given, or its SWMR writer has closed it."""
        whole = self.announced > 0 and self.given >= self.announced - self.first and not self._unsure()
        return whole or (self._swmr_seen and self.closed and not self._waiting)

    @property
    def closed(self) -> bool:
        """True if no writer has the file open, as far as the file says so."""
        try:
            return not writer_flags(self.path)
        except OSError:
            return True

    def advance(self, now: float, finished: bool = False) -> Iterator[Frame]:
        """The frames that have been written since the last look, in order but for late ones.

        now: seconds, of any clock that only goes forward. finished: nobody writes to the file any more, so that what is
        there may be taken without asking for its chunk, and no reading is waited for.
        """
        self._waiting = self._late = False
        closed = finished and self.closed
        try:
            self._find_more()
            for index in sorted(self._holes):
                yield from self._give(index, closed, now)
            while self._next < self._limit() and not self._late:
                if not (yield from self._give(self._next, closed, now)):
                    if self._late:
                        break
                    later = next((index for index in self._ahead() if self._there(index, closed)), None)
                    if later is None:
                        break
                    self._holes.update(range(self._next, later))
                    self._next = later
                else:
                    self._next += 1
        except UNREADY:
            self._waiting = True
        finally:
            if not self._swmr_seen or self.closed:
                self.release()

    @property
    def following(self) -> int:
        """The frame of the file behind the last that was given."""
        return self._next

    def more(self) -> bool:
        """True if frames have come behind the last that was given. Raises one of `UNREADY`."""
        try:
            self._find_more()
            return any(
                self._there(index, self.closed) for index in (self._next, *self._ahead()) if index < self._limit()
            )
        finally:
            self.release()

    def end(self, status: EndStatus = EndStatus.COMPLETE) -> Iterator[Note | ScanEnd]:
        """The end of the scan; what is missing stays so, which is told. Closes the files."""
        self.release()
        with suppress(*UNREADY):
            for text in self._readings.told(self._limit()):
                yield Note(text, self.start.uid)
        yield ScanEnd(self.start.uid, status, announced=max(self.announced - self.first, 0))

    def fingerprint(self) -> str:
        """Of the recording, by its first frame: "" while that has not come."""
        try:
            found = [self._read(channel, self.first, self.closed) for channel in self._parts]
        except (BadMessage, *UNREADY):
            return ""
        finally:
            self.release()
        payloads = [payload for payload in found if payload is not None]
        return of_beginning(self.first, *(payload.data for payload in payloads)) if len(payloads) == len(found) else ""

    def notes(self) -> Iterator[Note]:
        """What was odd when the scan was found."""
        missing = () if self.located.by_files else self.located.lost
        for text in (*missing, *self.located.notes):
            yield Note(text, self.start.uid)

    def release(self) -> None:
        """Close the files until the next look."""
        for _, stack, file in self._stacks.values():
            stack.close()
            file.close()
        self._stacks.clear()

    def _unsure(self) -> bool:
        """True if the number of frames is only what has been seen so far."""
        return self._extensible and not self._told

    def _limit(self) -> int:
        return max((part.first + part.count for parts in self._parts.values() for part in parts), default=0)

    def _find_more(self) -> None:
        """What has been added since: data files beside a master, sources of a virtual dataset, frames of a dataset."""
        if self._data_files or self.located.by_parts or not self._swmr_seen:
            self._look_again()
        self._readings.look(min(self._holes | {self._next}), self._limit() + 1)
        while self._awaited and os.path.exists(self._awaited[0].path):
            next(iter(self._parts.values())).append(self._awaited.pop(0))
        for channel, parts in self._parts.items():
            if parts:
                last = parts[-1]
                count = self._stack(channel, last).refresh() - last.offset
                if self._extensible and count > last.count:
                    parts[-1] = replace(last, count=count)
        if self._unsure() or self._virtual:
            self.announced = max(self.announced, self._limit())
        if self._virtual and self.over:  # what the detector was asked for does not count any more
            self.announced = self._limit()

    def _look_again(self) -> None:
        file = self.located.file
        with open_hdf5(file, swmr=writes_swmr(file)) as opened:
            self.over = entry_has_ended(opened, self.located)
            if self._data_files or self._virtual or self.located.by_parts:
                self.located = again(opened, self.located)
                self._parts = {channel: list(parts) for channel, parts in self.located.channels.items()}
                self.sources |= sources(self.path, self.located)

    def _ahead(self) -> list[int]:
        """Where frames may be beyond one that is not there: close to it, or at the beginning of another file."""
        close = range(self._next + 1, min(self._limit(), self._next + LOOK_AHEAD))
        begins = {part.first for parts in self._parts.values() for part in parts if part.first >= close.stop}
        return [*close, *sorted(begins)]

    def _give(self, index: int, closed: bool, now: float) -> Generator[Frame, None, bool]:
        payloads: dict[str, Payload] = {}
        problem = ""
        try:
            for channel in self._parts:
                payload = self._read(channel, index, closed)
                if payload is None:
                    return False
                payloads[channel] = payload
        except BadMessage as error:
            if not (closed or self._swmr_seen):
                return False  # its writer may be in the middle of a change: asked again until the file lies still
            problem = str(error)
        if not (closed or self.over or self._readings.ready(index, self._limit(), now)):
            self._late = True
            return False
        self._holes.discard(index)
        self.given += 1
        status = FrameStatus.CORRUPT if problem else FrameStatus.RECEIVED
        number = index - self.first
        more = self._readings.take(index, self._limit())
        channels = {} if problem else one_frame(self.located, payloads)
        yield Frame(self.start.uid, number, channels, time.time(), status=status, problem=problem, **more)
        return True

    def _there(self, index: int, closed: bool) -> bool:
        try:
            return all(self._read(channel, index, closed) is not None for channel in self._parts)
        except BadMessage:
            return True

    def _read(self, channel: str, index: int, closed: bool) -> Payload | None:
        for part in reversed(self._parts[channel]):
            if part.first <= index < part.first + part.count:
                stack = self._stack(channel, part)
                inside = part.offset + index - part.first
                if inside >= stack.count or not (stack.follows or closed):
                    return None
                return stack.read(inside)
        return None

    def _stack(self, channel: str, part: Segment) -> Stack:
        """The reader of a segment; one file per channel is open at a time."""
        held = self._stacks.get(channel)
        if held is not None and (held[0].path, held[0].dataset) == (part.path, part.dataset):
            return held[1]
        if held is not None:
            held[1].close()
            held[2].close()
            del self._stacks[channel]
        file = open_hdf5(part.path, swmr=writes_swmr(part.path))
        try:
            stack = Stack(file[part.dataset], part.channel, live=True, strip=part.strip)
        except BaseException:
            file.close()
            raise
        self._stacks[channel] = (part, stack, file)
        return stack
