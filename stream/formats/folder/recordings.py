"""The HDF5 files of a watched folder: their scans, one after another, while their files grow."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stream.events import EndStatus, Event, Note
from stream.formats.folder.changes import Change
from stream.formats.folder.incoming import Incoming
from stream.formats.folder.library import Library, Waiting
from stream.formats.folder.scans import GrowingScan
from stream.formats.hdf5.growing import Growing
from stream.formats.hdf5.live import UNREADY
from stream.formats.hdf5.names import is_hdf5_name, master_of


@dataclass(frozen=True, slots=True)
class Pace:
    """Times, in seconds: options of the source `watch`. native: changes are seen as they happen."""

    poll_s: float
    settle_s: float
    give_up_s: float
    scan_idle_s: float | None
    native: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken of an HDF5 file: options of the source `watch`."""

    dataset: str | None
    readings: Sequence[str] | None
    frame_bytes: int


class Recordings:
    """The HDF5 files of one folder. Times are of the watcher's clock, s."""

    def __init__(self, pace: Pace, wanted: Wanted, incoming: Incoming) -> None:
        self.scan: GrowingScan | None = None
        self.queue: list[Waiting] = []
        """Scans that await their turn."""
        self._pace, self._wanted = pace, wanted
        self._incoming = incoming
        self._library = Library(wanted.dataset, pace.give_up_s, wanted.frame_bytes)
        self._looked = float("-inf")

    @property
    def busy(self) -> bool:
        """True while a scan is open or awaits its turn."""
        return self.scan is not None or bool(self.queue)

    def noticed(self, change: Change, now: float) -> bool:
        """A file has changed; False if it is none that is known here."""
        if self.scan is not None:
            self.scan.noticed(change, now)
        if change.path not in self._library:
            return False
        self._library.gone(change.path) if change.kind == "gone" else self._library.changed(change.path, now)
        return True

    def look(self, now: float, ready: Sequence[str]) -> Iterator[Event]:
        """What has been added to known files, if it is time; ready: files that have come in."""
        awaited = any(is_hdf5_name(path) for path in ready)  # perhaps by a virtual dataset, which goes before
        if self._pace.native or awaited or now - self._looked >= self._pace.poll_s:
            self._looked = now
            yield from self._found(self._library.look(now, native=self._pace.native), now)

    def take(self, path: str, now: float) -> Iterator[Event]:
        """A file that has come in: its scans await their turn from now on."""
        master = master_of(path)
        if master and os.path.exists(master):
            self._incoming.done(path)
            if master not in self._library and master not in self._incoming:
                self._incoming.note(Change("seen", master), now)
            return
        if master and self._incoming.age(path, now) < self._pace.give_up_s:
            return  # its master may still come
        try:
            found = self._library.add(path, now)
        except UNREADY as error:
            self._incoming.failed(path, str(error), now)
            return
        self._incoming.done(path)
        yield from self._found(found, now)

    def advance(self, now: float) -> Iterator[Event]:
        """The new frames of the open scan, and its end."""
        if self.scan is None:
            return
        try:
            yield from self.scan.advance(now, self._pace.poll_s)
        except Exception as error:  # whatever HDF5 or a file raises costs this scan, not the run
            scan, self.scan = self.scan, None
            yield Note(f"{scan.growing.path} cannot be read any further: {error}", scan.uid)
            yield from scan.end(EndStatus.ABORTED)
            return
        self._library.claim(self.scan.growing.path, self.scan.growing.located)
        if self.scan.over(bool(self.queue), now, self._pace.settle_s):
            yield from self.end(EndStatus.COMPLETE)
            yield from self._found(self._library.look(now, native=self._pace.native), now)
        else:
            yield from self._tell_of_waiting(self.scan)

    def begin(self, now: float) -> Iterator[Event]:
        """The scan whose turn it is; if its file cannot be read it keeps its turn until it is given up."""
        waiting = self.queue[0]
        try:
            growing = Growing(waiting.path, waiting.located, waiting.first, self._wanted.readings)
        except UNREADY as error:
            waiting.failing_since = now if waiting.failing_since is None else waiting.failing_since
            if now - waiting.failing_since >= self._pace.give_up_s:
                self.queue.pop(0)
                yield Note(f"set aside: {waiting.path}: {error}")
            return
        self.queue.pop(0)
        idle_s = self._pace.scan_idle_s
        self.scan = GrowingScan(growing, now, old=idle_s is not None and time.time() - growing.state()[1] >= idle_s)
        yield from self.scan.begin()

    def end(self, status: EndStatus) -> Iterator[Event]:
        """End the open scan."""
        assert self.scan is not None
        scan, self.scan = self.scan, None
        yield from scan.end(status)
        self._library.ended(scan.growing)

    def set_aside(self, path: str, problem: str) -> Iterator[Event]:
        """A file that cannot be read and never will be."""
        yield Note(f"set aside: {problem}", self.scan.uid if self.scan is not None else None)

    def release(self) -> None:
        """Close the file of a scan that was not ended."""
        if self.scan is not None:
            self.scan.growing.release()

    def _found(self, found: Iterable[Waiting | Note], now: float) -> Iterator[Event]:
        for one in found:
            if isinstance(one, Note):
                yield one
            else:
                one.since = now
                self.queue.append(one)

    def _tell_of_waiting(self, scan: GrowingScan) -> Iterator[Note]:
        """Once for each file that is written at the same time as the one in hand."""
        for waiting in self.queue:
            if not waiting.told and waiting.path != scan.growing.path and scan.active > waiting.since:
                waiting.told = True
                yield Note(
                    f"{waiting.path} waits, as {scan.growing.path} is still being written: one scan is taken at a "
                    "time; to see both live run a second inbeam, each with its own `include`",
                    harmless=True,
                )
