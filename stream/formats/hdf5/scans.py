"""Recorded scans in HDF5 files as events: the frames keep the bytes that were written."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import h5py

from stream.errors import BadMessage
from stream.events import Array, EndStatus, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.fingerprint import of_files
from stream.formats.hdf5 import data_exchange
from stream.formats.hdf5.beside import Beside
from stream.formats.hdf5.clock import clock, moment
from stream.formats.hdf5.cursor import Cursor, read_channels
from stream.formats.hdf5.detector import describe
from stream.formats.hdf5.expected import announced
from stream.formats.hdf5.flags import writer_flags
from stream.formats.hdf5.grid import with_grid
from stream.formats.hdf5.locate import locate
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.monitor import Beam, check_length, of_scan
from stream.formats.hdf5.opening import intact, open_hdf5, split
from stream.formats.hdf5.readings import Column, columns
from stream.formats.hdf5.safe import MOST_FRAME_BYTES
from stream.formats.hdf5.series import joined, one_frame
from stream.formats.hdf5.table import whole
from stream.formats.hdf5.xspectrum import with_images
from stream.formats.natural import stem


def scans(
    name: str,
    dataset: str | None = None,
    monitor: str | None = None,
    scan: str | None = None,
    readings: Sequence[str] | None = None,
    frame_bytes: int = MOST_FRAME_BYTES,
) -> "Scans":
    """Every scan in a file. `name` may carry `::path`, which goes before `dataset`; `scan` is what to call them.

    monitor: a path or the name of a reading (see `monitor.of_scan`); readings: see `readings.columns`. Raises
    BadMessage. frame_bytes: no frame may be larger, decoded.
    """
    path, inside = split(name)
    with open_hdf5(path) as file, intact(path):
        found = locate(file, inside or dataset)
        whole_scans = tuple(data_exchange.completed(file, joined(file, one)) for one in found.scans)
        found = replace(found, scans=whole_scans).bounded(frame_bytes)
    every = found.scans
    entries = frozenset(located.entry for located in every)
    return Scans(tuple(Scan(path, located, monitor, scan, entries, readings) for located in every), found.lost)


@dataclass(frozen=True, slots=True)
class Scans:
    """The scans of a file, in natural order. lost: what should be frames and cannot be reached, one line each."""

    scans: tuple["Scan", ...]
    lost: tuple[str, ...]

    def __iter__(self) -> Iterator["Scan"]:
        return iter(self.scans)


class Scan:
    """One recorded scan: its start, its frames in order, its end."""

    def __init__(
        self,
        path: str,
        located: Located,
        monitor: str | None = None,
        name: str | None = None,
        entries: Collection[str] = (),
        readings: Sequence[str] | None = None,
    ) -> None:
        self.located = located
        self._path = os.path.abspath(path)
        self._monitor = monitor
        self._entries = entries
        self._readings = readings
        self._name = name or "_".join(part for part in (located.called or stem(path), located.suffix) if part)
        self._uid = f"file:{self._path}" + (f"::/{located.identity}" if located.identity else "")
        self._expected = located.declared

    def events(
        self, *, so_far: bool = False, wanted: Callable[[int | None], range | None] = lambda count: None
    ) -> Iterator[ScanStart | Frame | Note | ScanEnd]:
        """ScanStart, the frames in order, ScanEnd; damaged frames are CORRUPT, unwritten ones left out.

        A file that its writer has not closed may be without its last frames: what is there comes, the end is ABORTED.
        so_far: that is all that is wanted. wanted: the numbers of the frames that are, of so many; None: all.
        """
        notes = [*self.located.lost, *self.located.notes]
        unclosed = () if so_far else self._unclosed()
        beam: Beam | None = None
        with open_hdf5(self.located.file) as file, intact(self.located.file):
            start = self.start(file)
            start = replace(start, fingerprint=of_files(start.files))
            ended = moment(file, self.located, "end_time")
            found = columns(file, self.located, self._readings)
            start = with_grid(start, file, self.located, found)
            found |= data_exchange.columns(file, self.located)
            if self._monitor is not None:
                try:
                    beam = of_scan(file, self.located, self._monitor, self._entries, found)
                    check_length(beam, self._expected, self._written)
                except BadMessage as error:
                    notes.append(str(error))
                    beam = Beam.none()
            more = Beside(self.located.file, found, clock(file, self.located, start.detector.count_time_s), beam)
        yield replace(start, readings=more.units, recorded=self._recorded(found))
        for text in notes:
            yield Note(text, start.uid)
        yield from self._frames(start.uid, more, wanted(self._expected))
        for text in more.problems:
            yield Note(text, start.uid)
        status = EndStatus.ABORTED if unclosed else EndStatus.COMPLETE
        yield ScanEnd(start.uid, status, announced=self._expected, ended=ended, notes=unclosed)

    def _recorded(self, found: Mapping[str, Column]) -> Callable[[str], Array | None]:
        path, frames = self.located.file, min(self.located.declared, self._expected)
        return lambda name: whole(path, found[name], frames) if name in found else None

    def _unclosed(self) -> tuple[str, ...]:
        found = dict.fromkeys((self._path, self.located.file, *self.located.files))
        return tuple(
            f"{path} has not been closed by its writer, so that frames may be missing: process it again when it is "
            "finished, or take it with a `watch` stream while it grows. If its writer was killed, `inbeam recover` "
            "closes a file of ours, HDF5's `h5clear -s` any other"
            for path in found
            if _is_open(path)
        )

    def _written(self, index: int) -> bool:
        """True if the frame has been written. Reads it."""
        cursors = {channel: Cursor(parts) for channel, parts in self.located.channels.items()}
        try:
            payloads, problem = read_channels(cursors, index)
        finally:
            for cursor in cursors.values():
                cursor.close()
        return bool(payloads or problem)

    def start(self, file: h5py.File) -> ScanStart:
        """The start of the scan, from the file's header."""
        located = self.located
        self._expected = announced(file, located)
        detector = describe(file, located)
        return ScanStart(
            uid=self._uid,
            name=self._name,
            shape=located.shape,
            dtype=located.dtype,
            channels=located.names,
            expected=self._expected,
            detector=with_images(detector, located) if located.tiles else detector,
            received=time.time(),
            source=f"{os.path.abspath(located.file)}::{located.path}",
            files=tuple(dict.fromkeys([self._path, located.file, *located.files])),
            started=moment(file, located, "start_time"),
        )

    def _frames(self, uid: str, more: Beside, wanted: range | None) -> Iterator[Frame]:
        cursors = {channel: Cursor(parts) for channel, parts in self.located.channels.items()}
        try:
            there = min(self.located.declared, self._expected)
            for index in range(there) if wanted is None else range(wanted.start, min(wanted.stop, there)):
                payloads, problem = read_channels(cursors, index)
                if payloads or problem:
                    yield Frame(
                        scan=uid,
                        index=index,
                        payloads={} if problem else one_frame(self.located, payloads),
                        received=time.time(),
                        status=FrameStatus.CORRUPT if problem else FrameStatus.RECEIVED,
                        problem=problem,
                        **more.recorded(index),
                    )
        finally:
            more.close()
            for cursor in cursors.values():
                cursor.close()


def _is_open(path: str) -> bool:
    try:
        return bool(writer_flags(path))
    except OSError:  # told by who reads it
        return False
