"""A detector's encoded bytes as an HDF5 chunk: which filter reads them, and the few bytes that some of them lack."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hdf5plugin
import numpy as np

from sinks.file.swmr import BITSHUFFLE
from stream.codec.payload import decode
from stream.errors import CorruptPayload
from stream.events import Buffer, Encoding, Payload

BITSHUFFLED = (Encoding.BSLZ4, Encoding.BSLZ4_BARE)
LZ4 = (Encoding.LZ4_HDF5, Encoding.LZ4_BLOCK)
NO_FILTER = 1
"""Filter mask of a chunk whose (only) filter was skipped."""


@dataclass(frozen=True, slots=True)
class Framed:
    """The bytes of one chunk and its HDF5 filter mask."""

    data: Buffer
    filter_mask: int


def filter_of(encoding: Encoding) -> Mapping[str, Any]:
    """Keywords of `create_dataset` for frames packed like this: 32008, 32004 or none."""
    if encoding in BITSHUFFLED:
        return BITSHUFFLE
    if encoding in LZ4:
        return dict(hdf5plugin.LZ4())
    return {}


def frame_bytes(payload: Payload, declared: Encoding, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Framed | str:
    """The chunk for a payload in a dataset made for `declared`, or what is wrong with it, in words.

    A payload packed otherwise than declared, or of another type, is decoded and stored without a filter.
    """
    if payload.shape != shape:
        return f"is {payload.shape[0]} x {payload.shape[1]} pixels, the scan has {shape[0]} x {shape[1]}"
    if payload.dtype == dtype:
        if payload.encoding is Encoding.RAW:
            wanted = shape[0] * shape[1] * dtype.itemsize
            if payload.nbytes != wanted:
                return f"has {payload.nbytes} bytes instead of {wanted}"
            return Framed(payload.data, 0 if declared is Encoding.RAW else NO_FILTER)
        if _family(payload.encoding) == _family(declared):
            return _packed(payload)
    return _unpacked(payload, dtype, declared)


def _family(encoding: Encoding) -> int:
    return 1 if encoding in BITSHUFFLED else 2 if encoding in LZ4 else 0


def _packed(payload: Payload) -> Framed | str:
    nbytes = payload.shape[0] * payload.shape[1] * payload.dtype.itemsize
    if payload.encoding in (Encoding.BSLZ4, Encoding.LZ4_HDF5):
        if payload.nbytes < 12:
            return f"has only {payload.nbytes} bytes"
        (claimed,) = struct.unpack_from(">Q", payload.data)
        if claimed != nbytes:
            return f"decodes to {claimed} bytes, not to the {nbytes} of its shape and type"
        return Framed(payload.data, 0)
    if payload.encoding is Encoding.BSLZ4_BARE:
        return Framed(struct.pack(">QI", nbytes, _default_block_bytes(payload.dtype.itemsize)) + payload.data, 0)
    if payload.nbytes == nbytes:
        # HDF5's LZ4 filter takes a block as long as its content for a raw one
        return _unpacked(payload, payload.dtype, payload.encoding)
    return Framed(struct.pack(">QII", nbytes, nbytes, payload.nbytes) + payload.data, 0)


def _unpacked(payload: Payload, dtype: np.dtype[Any], declared: Encoding) -> Framed | str:
    try:
        image = decode(payload)
    except CorruptPayload as error:
        return str(error)
    if not np.can_cast(image.dtype, dtype.newbyteorder("="), "safe"):
        return f"has type {image.dtype}, the scan has {dtype}"
    return Framed(np.ascontiguousarray(image, dtype).tobytes(), 0 if declared is Encoding.RAW else NO_FILTER)


def _default_block_bytes(itemsize: int) -> int:
    """bshuf_default_block_size of bitshuffle, in bytes: 8192, in elements a multiple of 8 and at least 128."""
    elements: int = max(8192 // itemsize // 8 * 8, 128)
    return elements * itemsize


def came_as(data: bytes, nbytes: int) -> Buffer | None:
    """The payload as it came, from its chunk: what was put before it is taken off again. nbytes: its length then.

    None where the chunk holds the decoded pixels of a payload that was packed otherwise.
    """
    added = len(data) - nbytes
    return memoryview(data)[added:] if added in (0, 12, 16) else None
