"""An HDF5 file that is followed while it is being written: by SWMR, or by opening it again at every look.

A frame is there when its chunk is: the extent of a dataset says nothing (Lima makes it before the first frame, and a
reader that sees the extent before the chunk would get the fill value). Only datasets with one frame per chunk can be
followed so; others are read when their writer has closed the file.
"""

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import replace

import h5py

from stream.errors import BadMessage
from stream.events import EndStatus, Frame, FrameStatus, Note, Payload, ScanEnd, ScanStart
from stream.formats.hdf5.chunks import Stack
from stream.formats.hdf5.lima import continuation
from stream.formats.hdf5.locate import DATA_FILE, Located, locate
from stream.formats.hdf5.nexus import some
from stream.formats.hdf5.scans import DAMAGED, MAGIC, Scan, open_hdf5
from stream.formats.hdf5.segments import Segment, data_file, opened_link
from stream.formats.natural import natural
from stream.wire.limits import NUMBER_MAX

LOOK_AHEAD = 64
"""Frames looked for beyond one that is not there yet: detectors write from several threads."""
OPEN_FOR_WRITING, OPEN_FOR_SWMR = 1, 4
UNREADY = (BadMessage, *DAMAGED)
"""What HDF5 is seen to raise on a file in the middle of a change by a writer that is not a SWMR one."""


def writer_flags(path: str) -> int:
    """The consistency flags of a version-3 superblock: 0 = closed by its writer. 0 also for older superblocks, which
    do not say. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[11] if len(head) == 12 and head[:8] == MAGIC and head[8] >= 3 else 0


class Growing:
    """One scan in a file that grows. `advance` gives what is new; nothing is given twice.

    Raises BadMessage from the constructor while the file cannot be read yet.
    """

    def __init__(self, path: str, dataset: str | None = None, skip: frozenset[str] = frozenset()) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._stacks: dict[str, tuple[Segment, Stack, h5py.File]] = {}
        self._next = 0
        self._holes: set[int] = set()
        self._swmr_seen = bool(writer_flags(path) & OPEN_FOR_SWMR)
        with open_hdf5(path, swmr=self._swmr_seen) as file:
            left = [located for located in locate(file, dataset).scans if located.identity not in skip]
            if not left:
                raise BadMessage(f"{path} holds no scan that has not been taken")
            self.located: Located = left[0]
            self.name = self.located.identity
            scan = Scan(path, self.located)
            if self.located.file == path:
                self.start: ScanStart = scan.start(file)
            else:
                with open_hdf5(self.located.file) as other:
                    self.start = scan.start(other)
            found = file[self.located.path] if self.located.file == path else None
            self._awaited = list(continuation(file, self.located)) if found is not None else []
            self._extensible = isinstance(found, h5py.Group) or (
                isinstance(found, h5py.Dataset) and found.maxshape[0] is None and not found.is_virtual
            )
            self._data_files = isinstance(found, h5py.Group)
            if self.located.lost and not self._data_files:
                raise BadMessage(some(self.located.lost))  # a virtual dataset may come before its sources
        self.given = 0
        """Frames given so far."""
        told = self.start.detector.metadata
        self._told = int(told.get("detectorSpecific/nimages", 0)) or int(told.get("acquisition/nb_frames", 0))
        if self._told >= NUMBER_MAX:  # until stopped
            self._told = 0
        self.announced = self.start.expected or 0
        if self._extensible and not self._data_files:
            self.announced = max(self.announced, self._told)
        if self._awaited:
            self.announced = self._awaited[-1].first + self._awaited[-1].count
            self.start = replace(self.start, expected=self.announced)
        self._parts = {channel: list(parts) for channel, parts in self.located.channels.items()}
        held = [part.path for parts in self._parts.values() for part in parts]
        following = [part.path for part in self._awaited]
        self.sources = {os.path.realpath(name) for name in [path, self.located.file, *held, *following]}
        """Real paths of all files whose frames belong to this scan."""

    def state(self) -> tuple[int, float]:
        """Size and modification time of what is being written: the file itself and the last one with frames."""
        paths = {self.path, *(parts[-1].path for parts in self._parts.values() if parts)}
        found = [os.stat(path) for path in paths if os.path.exists(path)]
        return sum(status.st_size for status in found), max((status.st_mtime for status in found), default=0.0)

    @property
    def complete(self) -> bool:
        """True once every frame that the file announces has been given, or its SWMR writer has closed it."""
        whole = self.announced > 0 and self.given >= self.announced and not self._unsure()
        return whole or (self._swmr_seen and self.closed and not self._waiting)

    @property
    def closed(self) -> bool:
        """True if no writer has the file open, as far as the file says so."""
        try:
            return not writer_flags(self.path)
        except OSError:
            return True

    def advance(self, finished: bool = False) -> Iterator[Frame]:
        """The frames that have been written since the last look, in order but for late ones.

        finished: nobody writes to the file any more, so that what is there may be taken without asking for its chunk.
        """
        self._waiting = False
        closed = finished and self.closed
        try:
            self._find_more()
            for index in sorted(self._holes):
                yield from self._give(index, closed)
            while self._next < self._limit():
                if not (yield from self._give(self._next, closed)):
                    ahead = range(self._next + 1, min(self._limit(), self._next + LOOK_AHEAD))
                    later = next((index for index in ahead if self._there(index, closed)), None)
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

    def end(self, status: EndStatus = EndStatus.COMPLETE) -> ScanEnd:
        """The end of the scan; what is missing stays so. Closes the files."""
        self.release()
        return ScanEnd(self.start.uid, status, announced=self.announced)

    def notes(self) -> Iterator[Note]:
        """What was odd when the scan was found."""
        for text in self.located.notes:
            yield Note(text, self.start.uid)

    def release(self) -> None:
        """Close the files until the next look."""
        for _, stack, file in self._stacks.values():
            stack.close()
            file.close()
        self._stacks.clear()

    _waiting = False

    def _unsure(self) -> bool:
        """True if the number of frames is only what has been seen so far."""
        return self._extensible and not self._told

    def _limit(self) -> int:
        return max((part.first + part.count for parts in self._parts.values() for part in parts), default=0)

    def _find_more(self) -> None:
        """Data files that have appeared beside a master, and frames that a dataset has been extended by."""
        if self._data_files:
            with open_hdf5(self.path, swmr=bool(writer_flags(self.path) & OPEN_FOR_SWMR)) as file:
                group = file[self.located.path]
                for channel, parts in self._parts.items():
                    members = [member for member in natural(group) if DATA_FILE.match(member)]
                    for member in members[len(parts) :]:
                        dataset = opened_link(group, member)
                        if dataset is None:
                            break
                        parts.append(data_file(dataset, parts[-1].first + parts[-1].count if parts else 0))
                        self.sources.add(os.path.realpath(parts[-1].path))
                    self._parts[channel] = parts
        while self._awaited and os.path.exists(self._awaited[0].path):
            next(iter(self._parts.values())).append(self._awaited.pop(0))
        for channel, parts in self._parts.items():
            if parts:
                last = parts[-1]
                count = self._stack(channel, last).refresh() - last.offset
                if self._extensible and count > last.count:
                    parts[-1] = Segment(last.path, last.dataset, last.first, count, last.offset, last.channel)
        if self._unsure():
            self.announced = max(self.announced, self._limit())

    def _give(self, index: int, closed: bool) -> Generator[Frame, None, bool]:
        payloads: dict[str, Payload] = {}
        problem = ""
        try:
            for channel in self._parts:
                payload = self._read(channel, index, closed)
                if payload is None:
                    return False
                payloads[channel] = payload
        except BadMessage as error:
            problem = str(error)
        self._holes.discard(index)
        self.given += 1
        status = FrameStatus.CORRUPT if problem else FrameStatus.RECEIVED
        yield Frame(self.start.uid, index, {} if problem else payloads, time.time(), status=status, problem=problem)
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
        file = open_hdf5(part.path, swmr=bool(writer_flags(part.path) & OPEN_FOR_SWMR))
        try:
            stack = Stack(file[part.dataset], part.channel, live=True)
        except BaseException:
            file.close()
            raise
        self._stacks[channel] = (part, stack, file)
        return stack
