"""Source `watch`: follows a folder and takes images as they are completed and HDF5 files as they grow.

One scan is open at a time; others wait, in files that lose nothing by it. A scan of image files is a series: the files
of one folder that differ only by the number in their names (`series: prefix`), or all of them (`series: folder`). It
ends with its `scan_files`-th file, after `scan_idle_s` without a file, or when files of another series wait and none of
its own has come for much longer than between two. A file of a series that has ended begins a further part (`name_2`);
so does, in the end, a file that is written again with other content. Images wait while an HDF5 scan is open.

Each scan in an HDF5 file, and each detector of it, is taken when its turn comes. It ends when all announced frames are
there, when its SWMR writer has closed it, or after `scan_idle_s` without a frame; while another scan waits also when
nothing has come for much longer than between two frames, or soon if the file has an `end_time`. What is added after
that is a scan of its own (`name_from_40`).
"""

import fnmatch
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from stream.context import ALONE, Context
from stream.errors import ConfigError, SourceLost
from stream.events import EndStatus, Event, Frame, Note
from stream.formats.folder.changes import NET_S, Change, Folder
from stream.formats.folder.incoming import Incoming
from stream.formats.folder.names import may_match
from stream.formats.folder.pictures import Naming, Pictures
from stream.formats.folder.recordings import Pace, Recordings, Wanted
from stream.formats.folder.scans import GrowingScan, ImageSeries
from stream.formats.folder.taken import state_of
from stream.formats.monitor import Monitor, is_path
from stream.formats.natural import LAST_NUMBER, check_pattern, natural_key
from stream.preflight import Known, Problem
from stream.registry import Options
from stream.sources.readers import is_input, readers


class Config(Options):
    """Options of the source `watch`."""

    type: Literal["watch"] = "watch"
    folder: str = Field(description="Folder to follow, with all its sub-folders")
    include: tuple[str, ...] = Field(
        ("*",), description="Take only files whose name, or path below the folder, matches one of these patterns"
    )
    existing: bool = Field(True, description="Take the files that are there already")
    events: Literal["auto", "native", "poll"] = Field(
        "auto", description="How changes are noticed; auto: natively on local file systems, by polling on remote ones"
    )
    poll_s: float = Field(0.5, gt=0, description="Time between two looks when polling, and at a growing file, s")
    settle_s: float = Field(
        0.5,
        gt=0,
        description="An image counts as whole after this long without change if nobody saw it being closed, s",
    )
    give_up_s: float = Field(30.0, gt=0, description="Set a file aside that cannot be read and no longer changes, s")
    scan_files: int | None = Field(None, ge=1, description="Image files of one scan; null: not known beforehand")
    scan_idle_s: float | None = Field(
        60.0, gt=0, description="End a scan after this long without a new frame, s; null: only when another begins"
    )
    series: Literal["prefix", "folder"] = Field(
        "prefix", description="Images of one scan: those that differ in their number alone, or all of a folder"
    )
    pattern: str = Field(LAST_NUMBER, description="Regular expression whose first group is the number in a file name")
    first_number: int | None = Field(
        None, description="Number in the name of frame 0; null: the lowest there is when the scan begins"
    )
    dataset: str | None = Field(None, description="Path of the frames inside the HDF5 files; null: found by itself")

    monitor: str | float | None = Field(
        None, description="Incident-beam reading per frame: name of a reading (a key of the image headers), or a number"
    )
    monitor_per_second: bool = Field(
        False, description="The monitor is a rate: multiply it by the exposure time of each frame"
    )

    readings: tuple[str, ...] | None = Field(
        None,
        description="Readings to take from HDF5 files, by name or pattern, also those with one value for the scan; "
        "null: all that have a value per frame",
    )
    max_frame_mb: float = Field(
        1000.0, gt=0, description="Refuse HDF5 frames that are larger than this when they are decoded, MB (10^6 bytes)"
    )

    _pattern = field_validator("pattern")(check_pattern)

    @model_validator(mode="after")
    def _monitor_of_a_folder(self) -> Self:
        if self.monitor_per_second and self.monitor is None:
            raise ValueError("monitor_per_second without a monitor: say which it is with `monitor`")
        if isinstance(self.monitor, str) and is_path(self.monitor):
            raise ValueError(f"monitor: {self.monitor} is a path: give the name of a reading, or a number")
        return self

    def preflight(self, known: Known) -> Iterator[Problem]:
        """A folder that is not there, or that may not be read."""
        if problem := _unusable(self.folder):
            yield "folder", problem

    def follows(self, path: str) -> bool:
        """True if a file of this name may be taken for input; NUL in it stands for text without a slash."""
        root = os.path.realpath(os.path.expanduser(self.folder))
        folder = os.path.dirname(path.partition("\0")[0])
        place = os.path.join(os.path.realpath(folder), path[len(folder) :].lstrip(os.sep))
        name = os.path.basename(place)
        if not place.startswith(os.path.join(root, "")) or not is_input(name, readers()):
            return False
        inside = place[len(os.path.join(root, "")) :]
        return any(may_match(text, item) for text in (name, inside) for item in self.include)


def create(config: Config, context: Context = ALONE) -> "Watch":
    """The source. Raises ConfigError if there is no such folder, or none that may be read."""
    if problem := _unusable(config.folder):
        raise ConfigError([("stream.folder", problem)])
    return Watch(config)


def _unusable(name: str) -> str:
    """Why a folder cannot be followed, in words, or ""."""
    folder = os.path.expanduser(name)
    if not os.path.isdir(folder):
        return f"{name} is not a folder: create it or correct the path"
    try:
        os.scandir(folder).close()
    except OSError as error:
        return f"{name} may not be read: {error.strerror}"
    return ""


class Watch:
    """The state of one watched folder. `step` does the work and reads no clock, so that it can be tested as it is."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._root = os.path.abspath(os.path.expanduser(config.folder))
        self._closed = False
        self.folder = Folder(self._root, config.events, config.poll_s)
        settle_s = config.settle_s * (4 if self.folder.native else 1)  # closing is seen natively: only a fallback there
        self._readers = readers()
        self.incoming = Incoming(settle_s, config.give_up_s, config.poll_s, self._grows)
        # Without the files that are there already a series begins at another number after every start.
        session = "" if config.existing or config.first_number is not None else f"@{uuid.uuid4()}"
        self.pictures = Pictures(
            Naming(self._root, config.series, config.pattern, config.scan_files, config.first_number, session),
            self.incoming,
        )
        pace = Pace(config.poll_s, config.settle_s, config.give_up_s, config.scan_idle_s, native=self.folder.native)
        wanted = Wanted(config.dataset, config.readings, int(config.max_frame_mb * 1e6))
        self.recordings = Recordings(pace, wanted, self.incoming)
        self._looked_at_pictures = float("-inf")

    def events(self) -> Iterator[Event]:
        """Until `close`. Raises SourceLost when the folder is gone."""
        monitor = Monitor(self._config.monitor, per_second=self._config.monitor_per_second)
        return monitor.applied(self._events())

    def _events(self) -> Iterator[Event]:
        try:
            odd = self.folder.start()
            if odd:
                yield Note(odd, harmless=True)
            yield from self._until_closed(self.begin(self.folder.look(), self._clock()))
            while not self._closed:
                yield from self._until_closed(self.step(self.folder.wait(self._patience()), self._clock()))
            yield from self._end(EndStatus.STOPPED)
            for _, problem in self.incoming.unreadable():
                yield Note(f"not taken before the watch was stopped: {problem}")
        except OSError as error:
            if os.path.isdir(self._root):
                raise
            self.recordings.scan = self.pictures.scan = None
            raise SourceLost(f"the watched folder {self._root} is gone ({error}): waiting for it") from error
        finally:
            self.folder.stop()
            self.recordings.release()

    def close(self) -> None:
        """End soon."""
        self._closed = True
        self.folder.wake()

    def _until_closed(self, events: Iterator[Event]) -> Iterator[Event]:
        """A file that was complete when it was found may have hours of frames: they are left for the next start."""
        for event in events:
            yield event
            if self._closed and isinstance(event, Frame):
                return

    def begin(self, changes: Sequence[Change], now: float) -> Iterator[Event]:
        """What was in the folder at the start: files older than `settle_s` count as whole."""
        if not self._config.existing:
            for change in changes:
                self.pictures.taken.add(change.path, state_of(change.path))
            return
        wall = time.time()
        for change in changes:
            if self._wanted(change.path) and change.path not in self.pictures.taken:
                try:
                    old = wall - os.stat(change.path).st_mtime >= self._config.settle_s
                except FileNotFoundError:
                    continue
                except OSError:  # what it is will be said when it cannot be read
                    old = True
                self.incoming.note(change, now, whole=old)
        yield from self.step([], now)

    def step(self, changes: Sequence[Change], now: float) -> Iterator[Event]:
        """Take notice of changes, give what has become ready by `now` (seconds of any clock that only goes forward)."""
        for change in changes:
            if not self._wanted(change.path):
                continue
            if not self.recordings.noticed(change, now):
                self.pictures.noticed(change, now)
        for problem in self.folder.untold():
            yield Note(problem)
        if now - self._looked_at_pictures >= (NET_S if self.folder.native else self._config.poll_s):
            self._looked_at_pictures = now
            self.pictures.look(now)
        current = self._scan.key if self._scan is not None else None
        ready = self.incoming.ready(now)
        yield from self.recordings.look(now, ready)
        for path in sorted(
            ready, key=lambda path: (self.pictures.key(path) != current, not self._leads(path), natural_key(path))
        ):
            if self._closed:
                return
            if self._grows(path):
                yield from self._safely(path, self.recordings.take(path, now))
                yield from self._follow(now)
            elif not self.recordings.busy:  # else its turn comes when the HDF5 scan has ended
                yield from self._safely(path, self.pictures.take(path, now))
        yield from self._follow(now)
        for path, problem in self.incoming.given_up(now):
            files = self.recordings if self._grows(path) else self.pictures
            yield from files.set_aside(path, problem or path)
        idle_s, scan = self._config.scan_idle_s, self._scan
        if scan is not None and idle_s is not None and now - scan.active >= idle_s:
            yield from self._end(EndStatus.COMPLETE, now)

    @property
    def _scan(self) -> GrowingScan | ImageSeries | None:
        return self.recordings.scan or self.pictures.scan

    def _follow(self, now: float) -> Iterator[Event]:
        """Go on with the HDF5 scan in hand, and with the next one where nothing is open, or nothing more is coming."""
        while not self._closed:
            yield from self.recordings.advance(now)
            if self.recordings.scan is not None or not self.recordings.busy:
                return
            if self.pictures.scan is not None:
                if not self.pictures.scan.over(now, self._config.settle_s):
                    return
                yield from self.pictures.end_all(EndStatus.COMPLETE, now)
            before = len(self.recordings.queue)
            yield from self.recordings.begin(now)
            if len(self.recordings.queue) == before:
                return

    def _end(self, status: EndStatus, now: float = 0.0) -> Iterator[Event]:
        """End the scan that is open, of whichever kind, if there is one."""
        if self.pictures.scan is not None:
            yield from self.pictures.end(status, now)
        elif self.recordings.scan is not None:
            yield from self.recordings.end(status)

    def _grows(self, path: str) -> bool:
        return any(reader.grows and reader.named(path) for reader in self._readers)

    def _leads(self, path: str) -> bool:
        return any(reader.leads(path) for reader in self._readers)

    def _safely(self, path: str, events: Iterator[Event]) -> Iterator[Event]:
        """Whatever a reader raises costs the file that it read, not the run."""
        try:
            yield from events
        except Exception as error:
            if not os.path.isdir(self._root):
                raise
            self.incoming.done(path)
            yield Note(f"set aside: {path} cannot be read: {str(error) or type(error).__name__}")

    def _wanted(self, path: str) -> bool:
        name = os.path.basename(path)
        if not is_input(name, self._readers):
            return False
        inside = os.path.relpath(path, self._root)
        return any(fnmatch.fnmatch(name, item) or fnmatch.fnmatch(inside, item) for item in self._config.include)

    def _patience(self) -> float:
        """How long to wait for a change before looking by ourselves, s."""
        busy = len(self.incoming) or self.recordings.busy
        return min(self._config.settle_s, self._config.poll_s) / 2 if busy else 1.0
