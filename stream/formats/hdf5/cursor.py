"""The frames of a recorded scan in rising order, channel by channel, through the files that they lie in."""

from collections.abc import Mapping

import h5py

from stream.errors import BadMessage, CorruptPayload
from stream.events import Payload
from stream.formats.hdf5.chunks import Stack
from stream.formats.hdf5.opening import DAMAGED, intact, open_hdf5
from stream.formats.hdf5.segments import Segment


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
            self._stack = Stack(self._file[part.dataset], part.channel, strip=part.strip)
        except (BadMessage, *DAMAGED) as error:
            self._lost = f"{part.path}::{part.dataset} cannot be read: {error}"


def _after(part: Segment) -> int:
    return part.first + part.count
