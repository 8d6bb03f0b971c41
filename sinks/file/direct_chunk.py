"""A detector's encoded bytes as an HDF5 chunk: which filter reads them, and the few bytes that some of them lack."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hdf5plugin
import numpy as np

from sinks.file.storage import BITSHUFFLE
from stream.codec.payload import check_header, decode, with_header
from stream.errors import CorruptPayload
from stream.events import Buffer, Encoding, Payload

BITSHUFFLED = (Encoding.BSLZ4, Encoding.BSLZ4_BARE)
LZ4 = (Encoding.LZ4_HDF5, Encoding.LZ4_BLOCK)
DEFLATED = (Encoding.DEFLATE, Encoding.SHUFFLED_DEFLATE)
FAMILIES = (BITSHUFFLED, LZ4, DEFLATED[:1], DEFLATED[1:])
"""Packings that one set of filters reads, first the one that it reads as it is."""
_FAMILY = {encoding: number for number, family in enumerate(FAMILIES, 1) for encoding in family}
NO_FILTER = 1
"""Set in the filter mask of a chunk whose filters were skipped."""


@dataclass(frozen=True, slots=True)
class Framed:
    """The bytes of one chunk and its HDF5 filter mask."""

    data: Buffer
    filter_mask: int


def filter_of(encoding: Encoding) -> Mapping[str, Any]:
    """Keywords of `create_dataset` for frames packed like this: 32008, 32004, gzip, shuffle and gzip, or none."""
    if encoding in BITSHUFFLED:
        return BITSHUFFLE
    if encoding in LZ4:
        return dict(hdf5plugin.LZ4())
    if encoding in DEFLATED:
        return {"compression": "gzip", "shuffle": encoding is Encoding.SHUFFLED_DEFLATE}
    return {}


def frame_bytes(payload: Payload, declared: Encoding, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Framed | str:
    """The chunk for a payload in a dataset made for `declared`, or what is wrong with it, in words.

    A payload packed otherwise than declared, or of another type, is decoded and stored without a filter.
    """
    if payload.shape != shape:
        return f"is {payload.shape[0]} x {payload.shape[1]} pixels, the scan has {shape[0]} x {shape[1]}"
    try:
        if payload.dtype == dtype:
            check_header(payload)
            if payload.encoding is Encoding.RAW:
                return Framed(payload.data, _no_filter(declared))
            headed = with_header(payload) if _family(payload.encoding) == _family(declared) else None
            if headed is not None:
                return Framed(headed.data, 0)
        image = decode(payload)
    except CorruptPayload as error:
        return str(error)
    if not np.can_cast(image.dtype, dtype.newbyteorder("="), "safe"):
        return f"has type {image.dtype}, the scan has {dtype}"
    return Framed(np.ascontiguousarray(image, dtype).tobytes(), _no_filter(declared))


def _family(encoding: Encoding) -> int:
    return _FAMILY.get(encoding, 0)


def _no_filter(declared: Encoding) -> int:
    """The filter mask of pixels as they are, in a dataset made for `declared`."""
    return {Encoding.SHUFFLED_DEFLATE: 3}.get(declared, NO_FILTER if _family(declared) else 0)


def stored_as(declared: Encoding, filter_mask: int) -> Encoding:
    """How the bytes of a chunk are packed that `frame_bytes` made for a dataset declared so."""
    if filter_mask & NO_FILTER or not _family(declared):
        return Encoding.RAW
    return FAMILIES[_family(declared) - 1][0]


def came_as(data: bytes, nbytes: int) -> Buffer | None:
    """The payload as it came, from its chunk: what was put before it is taken off again. nbytes: its length then.

    None where the chunk holds the decoded pixels of a payload that was packed otherwise.
    """
    added = len(data) - nbytes
    return memoryview(data)[added:] if added in (0, 12, 16) else None
