"""Recorded scans in HDF5 files as events: the frames keep the bytes that were written."""

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import h5py
from numpy.typing import NDArray

from stream.errors import BadMessage
from stream.events import EMPTY, MONITOR, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.fingerprint import of_files
from stream.formats.hdf5.cursor import Cursor, read_channels
from stream.formats.hdf5.detector import announced, describe, frame_times
from stream.formats.hdf5.lima import joined
from stream.formats.hdf5.locate import Located, locate
from stream.formats.hdf5.monitor import Beam, check_length, of_scan
from stream.formats.hdf5.opening import intact, open_hdf5, split
from stream.formats.natural import stem


def scans(name: str, dataset: str | None = None, monitor: str | None = None, scan: str | None = None) -> "Scans":
    """Every scan in a file. `name` may carry `::path`, which goes before `dataset`. Raises BadMessage."""
    path, inside = split(name)
    with open_hdf5(path) as file, intact(path):
        found = locate(file, inside or dataset)
        whole = [joined(file, located) if located.file == path else located for located in found.scans]
    entries = frozenset(located.entry for located in whole)
    return Scans(tuple(Scan(path, located, monitor, scan, entries) for located in whole), found.lost)


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
    ) -> None:
        self.located = located
        self._path = os.path.abspath(path)
        self._monitor = monitor
        self._entries = entries
        self._name = name or "_".join(part for part in (stem(path), located.suffix) if part)
        self._uid = f"file:{self._path}" + (f"::/{located.identity}" if located.identity else "")
        self._expected = located.declared

    def events(self) -> Iterator[ScanStart | Frame | Note | ScanEnd]:
        """ScanStart, the frames in order, ScanEnd; damaged frames are CORRUPT, unwritten ones left out."""
        notes = [*self.located.lost, *self.located.notes]
        wanted = self._monitor or self.located.monitor
        beam: Beam | None = None
        with open_hdf5(self.located.file) as file, intact(self.located.file):
            start = self.start(file)
            start = replace(start, fingerprint=of_files(start.files))
            times = frame_times(file, self.located)
            if wanted:
                try:
                    beam = of_scan(file, self.located, wanted, self._entries)
                    check_length(beam, self._expected, self._written)
                except BadMessage as error:
                    beam = None
                    notes.append(str(error))
        yield start if beam is None else replace(start, readings={MONITOR: beam.unit})
        for text in notes:
            yield Note(text, start.uid)
        yield from self._frames(start, times, beam)
        yield ScanEnd(start.uid, announced=self._expected, notes=())

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
        return ScanStart(
            uid=self._uid,
            name=self._name,
            shape=located.shape,
            dtype=located.dtype,
            channels=tuple(located.channels),
            expected=self._expected,
            detector=describe(file, located),
            received=time.time(),
            source=f"{os.path.abspath(located.file)}::{located.path}",
            files=tuple(dict.fromkeys([self._path, located.file, *located.files])),
        )

    def _frames(self, start: ScanStart, times: NDArray[Any] | None, beam: Beam | None) -> Iterator[Frame]:
        exposure = start.detector.count_time_s
        cursors = {channel: Cursor(parts) for channel, parts in self.located.channels.items()}
        try:
            for index in range(min(self.located.declared, self._expected)):
                payloads, problem = read_channels(cursors, index)
                if payloads or problem:
                    yield Frame(
                        scan=start.uid,
                        index=index,
                        payloads={} if problem else payloads,
                        received=time.time(),
                        detector_time=_reading(times, index),
                        exposure_s=float("nan") if exposure is None else exposure,
                        readings=EMPTY if beam is None else {MONITOR: beam.at(index)},
                        status=FrameStatus.CORRUPT if problem else FrameStatus.RECEIVED,
                        problem=problem,
                    )
        finally:
            for cursor in cursors.values():
                cursor.close()


def _reading(values: NDArray[Any] | None, index: int) -> float:
    return float(values[index]) if values is not None and index < len(values) else float("nan")
