"""Between the sink and the process that serves the page: a socket for short messages, and one slot of shared memory.

A message is a u32 length and msgpack. What is large (a frame's encoded bytes, patterns, images) lies in the slot, which
has one writer, the sink, and is written only after the reader said that it is ready: so nothing is queued, and a reader
that is stuck costs the writer nothing.
"""

import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from stream.events import Array, Buffer

LENGTH = struct.Struct("<I")
LONGEST = 1 << 20
"""Bytes of one message on the socket, in either direction."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the parts of what was put into the slot lie: their lengths in bytes, one behind the other."""

    lengths: tuple[int, ...]


def make_slot() -> int:
    """A file in memory that has no name (descriptor); elsewhere than on Linux an unlinked temporary file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("inbeam-page", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def put(slot: int, parts: Sequence[Buffer]) -> Place:
    """Write the parts one behind the other."""
    views = [memoryview(part).cast("B") for part in parts]
    at = 0
    for view in views:
        done = 0
        while done < view.nbytes:
            done += os.pwrite(slot, view[done:], at + done)
        at += view.nbytes
    return Place(tuple(view.nbytes for view in views))


def take(slot: int, place: Place) -> list[bytes]:
    """Read them again."""
    found, at = [], 0
    for length in place.lengths:
        part = b""
        while len(part) < length:
            more = os.pread(slot, length - len(part), at + len(part))
            if not more:
                raise EOFError("the slot is shorter than it was said to be")
            part = part + more if part else more
        found.append(part)
        at += length
    return found


def pack(message: Any) -> bytes:
    """Anything made of dicts, lists, text, bytes, numbers, None and arrays of numbers."""
    return bytes(msgpack.packb(message, default=_default, use_bin_type=True))


def unpack(data: bytes) -> Any:
    """The same again; arrays are read-only."""
    return msgpack.unpackb(data, object_hook=_object, raw=False, strict_map_key=False)


def framed(message: Any) -> bytes:
    """A message for the socket."""
    body = pack(message)
    if len(body) > LONGEST:
        raise ValueError(f"a message of {len(body)} bytes is longer than {LONGEST}")
    return LENGTH.pack(len(body)) + body


class Reader:
    """Puts messages together again out of what the socket gives."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are complete now. Raises ValueError for one that is too long or no message."""
        self._data += data
        found = []
        while len(self._data) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._data)
            if length > LONGEST:
                raise ValueError(f"a message of {length} bytes")
            if len(self._data) < LENGTH.size + length:
                break
            found.append(unpack(bytes(self._data[LENGTH.size : LENGTH.size + length])))
            del self._data[: LENGTH.size + length]
        return found


def _default(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"\0dtype": value.dtype.str, "shape": value.shape, "data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def _object(value: dict[str, Any]) -> Any:
    if "\0dtype" in value:
        made: Array = np.frombuffer(value["data"], np.dtype(value["\0dtype"])).reshape(value["shape"])
        return made
    return value
