"""A frame of several modules: each packed as its own file has it, put into its place when the frame is decoded.

The bytes: for every module a head (row, column, rows, columns, packing, type, bytes), then all the packed modules.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.errors import CorruptPayload
from stream.events import Array, Encoding, Payload

COUNT = struct.Struct("<I")
HEAD = struct.Struct("<4I16s8sQ")


def pack(pieces: Sequence[tuple[int, int, Payload]], shape: tuple[int, int], dtype: np.dtype[Any]) -> Payload:
    """One payload of several: (row, column) of the first pixel of each, and its packed pixels."""
    heads = [
        HEAD.pack(row, column, *piece.shape, piece.encoding.value.encode(), piece.dtype.str.encode(), piece.nbytes)
        for row, column, piece in pieces
    ]
    data = b"".join((COUNT.pack(len(pieces)), *heads, *(piece.data for _, _, piece in pieces)))
    return Payload(data, Encoding.TILES, shape, dtype)


def unpack(payload: Payload) -> list[tuple[int, int, Payload]]:
    """The modules of a payload. Raises CorruptPayload if its bytes are not what `pack` makes."""
    data = memoryview(payload.data)
    found: list[tuple[int, int, Payload]] = []
    try:
        (count,) = COUNT.unpack_from(data)
        place = COUNT.size + count * HEAD.size
        for number in range(count):
            row, column, rows, columns, encoding, dtype, size = HEAD.unpack_from(data, COUNT.size + number * HEAD.size)
            kind = np.dtype(dtype.rstrip(b"\0").decode())
            if row + rows > payload.shape[0] or column + columns > payload.shape[1] or place + size > len(data):
                raise ValueError("a module reaches beyond the frame")
            packing = Encoding(encoding.rstrip(b"\0").decode())
            if packing is Encoding.TILES or kind.newbyteorder("=") != payload.dtype.newbyteorder("="):
                raise ValueError(f"a module is {packing.value} of {kind}")
            found.append((row, column, Payload(data[place : place + size], packing, (rows, columns), kind)))
            place += size
        if place != len(data):
            raise ValueError("there are bytes behind the last module")
    except (struct.error, ValueError, TypeError, UnicodeDecodeError) as error:
        raise CorruptPayload(f"a frame of modules cannot be taken apart: {error}") from error
    return found


def gap(dtype: np.dtype[Any]) -> float | int:
    """What pixels have that no module covers: the detectors' own flag for such, the largest value, or NaN."""
    return np.nan if dtype.kind == "f" else int(np.iinfo(dtype).max)


def canvas(shape: tuple[int, int], dtype: np.dtype[Any], out: Array | None) -> Array:
    """A frame of nothing but gaps."""
    if out is None:
        out = np.empty(shape, dtype.newbyteorder("="))
    out[...] = gap(dtype)
    return out
