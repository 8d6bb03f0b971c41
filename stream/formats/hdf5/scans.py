"""Recorded scans in HDF5 files as events: the frames keep the bytes that were written."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stream.errors import BadMessage, CorruptPayload
from stream.events import MONITOR, Frame, FrameStatus, Note, Payload, ScanEnd, ScanStart
from stream.formats.hdf5.chunks import Stack
from stream.formats.hdf5.detector import announced, describe, frame_times
from stream.formats.hdf5.lima import joined
from stream.formats.hdf5.locate import Located, locate
from stream.formats.hdf5.segments import Segment
from stream.formats.natural import stem

MAGIC = b"\x89HDF\r\n\x1a\n"
DAMAGED = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError),
    *(IndexError, OverflowError, MemoryError, AssertionError),
)
"""What h5py is seen to raise on files with flipped bytes."""


def is_hdf5(path: str) -> bool:
    """True for an HDF5 file, whatever its name (also behind a user block)."""
    return bool(h5py.is_hdf5(path))


def split(name: str) -> tuple[str, str | None]:
    """`file.h5::/entry/data/data` -> file and path inside it."""
    path, sign, inside = name.partition("::")
    return path, inside if sign else None


def open_hdf5(path: str, *, swmr: bool = False) -> h5py.File:
    """Open for reading, also where the writer is at work or was killed. Raises BadMessage with what to do."""
    problem: Exception | None = None
    for mode in (True, False) if swmr else (False, True):
        try:
            return h5py.File(path, "r", swmr=mode, locking=None if mode else False)
        except FileNotFoundError as error:
            raise BadMessage(f"{path} is not there") from error
        except OSError as error:
            problem = problem or error
    raise BadMessage(f"{path} cannot be opened as HDF5: {problem}")


@contextmanager
def intact(path: str) -> Iterator[None]:
    """Whatever HDF5 raises on a damaged file becomes a BadMessage that names it."""
    try:
        yield
    except BadMessage:
        raise
    except DAMAGED as error:
        raise BadMessage(f"{path} is damaged: {error}") from error


def scans(name: str, dataset: str | None = None, monitor: str | None = None, scan: str | None = None) -> "Scans":
    """Every scan in a file. `name` may carry `::path`, which goes before `dataset`. Raises BadMessage."""
    path, inside = split(name)
    with open_hdf5(path) as file, intact(path):
        found = locate(file, inside or dataset)
        whole = [joined(file, located) if located.file == path else located for located in found.scans]
    return Scans(tuple(Scan(path, located, monitor, scan) for located in whole), found.lost)


@dataclass(frozen=True, slots=True)
class Scans:
    """The scans of a file, in natural order. lost: what should be frames and cannot be reached, one line each."""

    scans: tuple["Scan", ...]
    lost: tuple[str, ...]

    def __iter__(self) -> Iterator["Scan"]:
        return iter(self.scans)


class Scan:
    """One recorded scan: its start, its frames in order, its end."""

    def __init__(self, path: str, located: Located, monitor: str | None = None, name: str | None = None) -> None:
        self.located = located
        self._path = os.path.abspath(path)
        self._monitor = monitor
        self._name = name or "_".join(part for part in (stem(path), located.suffix) if part)
        self._uid = f"file:{self._path}" + (f"::/{located.identity}" if located.identity else "")
        self._expected = located.declared

    def events(self) -> Iterator[ScanStart | Frame | Note | ScanEnd]:
        """ScanStart, the frames in order, ScanEnd; damaged frames are CORRUPT, unwritten ones left out."""
        with open_hdf5(self.located.file) as file, intact(self.located.file):
            start = self.start(file)
            times = frame_times(file, self.located)
        notes = [*self.located.lost, *self.located.notes]
        try:
            wanted = self._monitor or self.located.monitor
            monitor = read_monitor(self.located.file, wanted) if wanted else None
        except BadMessage as error:
            monitor = None
            notes.append(str(error))
        yield start
        for text in notes:
            yield Note(text, start.uid)
        yield from self._frames(start.uid, times, monitor)
        yield ScanEnd(start.uid, announced=self._expected, notes=())

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

    def _frames(self, uid: str, times: NDArray[Any] | None, monitor: NDArray[Any] | None) -> Iterator[Frame]:
        cursors = {channel: Cursor(parts) for channel, parts in self.located.channels.items()}
        try:
            for index in range(min(self.located.declared, self._expected)):
                payloads, problem = read_channels(cursors, index)
                if payloads or problem:
                    yield Frame(
                        scan=uid,
                        index=index,
                        payloads={} if problem else payloads,
                        received=time.time(),
                        detector_time=_reading(times, index),
                        readings={} if monitor is None else {MONITOR: _reading(monitor, index)},
                        status=FrameStatus.CORRUPT if problem else FrameStatus.RECEIVED,
                        problem=problem,
                    )
        finally:
            for cursor in cursors.values():
                cursor.close()


def read_channels(cursors: Mapping[str, "Cursor"], index: int) -> tuple[dict[str, Payload], str]:
    """One frame of every channel that has it, and what is wrong with it; both empty where it was never written."""
    payloads: dict[str, Payload] = {}
    for channel, cursor in cursors.items():
        try:
            payload = cursor.read(index)
        except BadMessage as error:
            return {}, str(error)
        if payload is not None:
            payloads[channel] = payload
    if 0 < len(payloads) < len(cursors):
        lost = ", ".join(channel for channel in cursors if channel not in payloads)
        return payloads, f"frame {index} was written without {lost}"
    return payloads, ""


def _reading(values: NDArray[Any] | None, index: int) -> float:
    return float(values[index]) if values is not None and index < len(values) else float("nan")


class Cursor:
    """Reads one channel's frames in rising order; one file of the series is open at a time."""

    def __init__(self, parts: tuple[Segment, ...]) -> None:
        self._parts = parts
        self._place = 0
        self._file: h5py.File | None = None
        self._stack: Stack | None = None
        self._lost: str = ""

    def read(self, index: int) -> Payload | None:
        """The frame's bytes, None where it was never written. Raises BadMessage."""
        while self._place < len(self._parts) and index >= _after(self._parts[self._place]):
            self.close()
            self._place += 1
        if self._place == len(self._parts) or index < self._parts[self._place].first:
            return None
        part = self._parts[self._place]
        if self._stack is None:
            self._open(part)
        if self._stack is None:
            raise CorruptPayload(self._lost, index=index)
        inside = part.offset + index - part.first
        with intact(part.path):
            return self._stack.read(inside) if inside < self._stack.count else None

    def close(self) -> None:
        """Close the file in hand."""
        if self._stack is not None:
            self._stack.close()
        if self._file is not None:
            self._file.close()
        self._stack = self._file = None
        self._lost = ""

    def _open(self, part: Segment) -> None:
        if self._lost:
            return
        try:
            self._file = open_hdf5(part.path)
            self._stack = Stack(self._file[part.dataset], part.channel)
        except (BadMessage, *DAMAGED) as error:
            self._lost = f"{part.path}::{part.dataset} cannot be read: {error}"


def _after(part: Segment) -> int:
    return part.first + part.count


def read_monitor(path: str, monitor: str) -> NDArray[np.float64]:
    """The per-frame monitor readings, float64 (frames,): a path in the scan's own file, or `other.h5::/path`.

    A path of another file is relative to the scan's file. Raises BadMessage.
    """
    other, inside = split(monitor)
    name = os.path.join(os.path.dirname(path), other) if inside else path
    with open_hdf5(name) as file:
        try:
            values = file[inside or monitor][()]
            return np.asarray(values, np.float64).reshape(-1)
        except (KeyError, OSError, ValueError, TypeError) as error:
            raise BadMessage(f"{name} has no numbers at {inside or monitor}: correct `monitor` ({error})") from error
