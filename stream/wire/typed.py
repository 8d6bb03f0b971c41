"""Arrays inside CBOR: typed arrays (RFC 8746, tags 64 to 87), shapes (tags 40, 1040), DECTRIS compression (56500)."""

from typing import Any

import numpy as np

from stream.codec import payload as codec
from stream.errors import BadMessage
from stream.events import Array, Buffer, Encoding, Payload
from stream.wire.cbor import Tag, Value
from stream.wire.limits import Limits

ROW_MAJOR, COLUMN_MAJOR, COMPRESSED = 40, 1040, 56500
UNSIGNED = {64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8"}
SIGNED = {72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8"}
FLOATS = {80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8"}
DTYPES: dict[int, np.dtype[Any]] = {tag: np.dtype(name) for tag, name in (UNSIGNED | SIGNED | FLOATS).items()}
"""Tags 83 and 87 (binary128) have no portable NumPy type."""
ALGORITHMS = {"bslz4": Encoding.BSLZ4, "lz4": Encoding.LZ4_HDF5}


def image(value: Value, limits: Limits) -> Payload:
    """The 2-D array of one channel, still packed. Raises BadMessage if it is none, or is larger than the limit."""
    (rows, columns), typed, column_major = _dimensions(value)
    if not 0 < rows * columns <= limits.pixels:
        raise BadMessage(f"an image of {rows} x {columns} pixels: allowed are 1 to {limits.pixels} pixels")
    dtype, packed = _typed(typed)
    encoding, data = _unpacked(packed, dtype)
    found = Payload(data, encoding, (rows, columns), dtype)
    codec.check_header(found)
    if not column_major:
        return found
    if encoding is not Encoding.RAW:
        raise BadMessage(f"a column-major image (tag {COLUMN_MAJOR}) that is compressed: send it row-major")
    turned = np.frombuffer(data, dtype).reshape((rows, columns), order="F")
    return Payload(turned.tobytes(), encoding, (rows, columns), dtype)


def array(found: Payload) -> Array:
    """A 2-D array of a header (mask, flat field), decoded, native byte order. Raises BadMessage."""
    if found.encoding is Encoding.RAW:
        decoded = np.frombuffer(found.data, found.dtype).reshape(found.shape)
    else:
        decoded = codec.decode(found)
    return decoded.astype(found.dtype.newbyteorder("="), copy=False)


def describe(value: Value) -> str | None:
    """Type and length of a typed array in words, for headers that name a table too large to keep; None for others."""
    if isinstance(value, Tag) and value.number in (ROW_MAJOR, COLUMN_MAJOR):
        try:
            dimensions, typed, _ = _dimensions(value)
            return f"array of {_typed(typed)[0].name}, {dimensions[0]} x {dimensions[1]}"
        except BadMessage:
            return "array"
    if isinstance(value, Tag) and value.number in DTYPES and isinstance(value.value, memoryview):
        dtype = DTYPES[value.number]
        return f"array of {dtype.name}, {len(value.value) // dtype.itemsize}"
    return None


def _dimensions(value: Value) -> tuple[tuple[int, int], Value, bool]:
    if type(value) is Tag and value.number in (ROW_MAJOR, COLUMN_MAJOR):
        content = value.value
        if type(content) is list and len(content) == 2 and type(content[0]) is list and len(content[0]) == 2:
            rows, columns = content[0]
            if type(rows) is int and type(columns) is int and rows > 0 and columns > 0:
                return (rows, columns), content[1], value.number == COLUMN_MAJOR
    raise BadMessage("not a two-dimensional array (tag 40 with [[rows, columns], typed array])")


def _typed(value: Value) -> tuple[np.dtype[Any], Value]:
    dtype = DTYPES.get(value.number) if type(value) is Tag else None
    if dtype is None:
        what = f"tag {value.number}" if type(value) is Tag else type(value).__name__
        raise BadMessage(f"not a typed array of RFC 8746 (tags 64 to 86): {what}")
    return dtype, value.value


def _unpacked(value: Value, dtype: np.dtype[Any]) -> tuple[Encoding, Buffer]:
    """Encoding and bytes of a byte string, or of what stands for one (tag 56500)."""
    if type(value) is memoryview:
        return Encoding.RAW, value
    if type(value) is Tag and value.number == COMPRESSED and type(value.value) is list and len(value.value) == 3:
        algorithm, size, data = value.value
        encoding = ALGORITHMS.get(algorithm) if type(algorithm) is str else None
        if encoding is None:
            raise BadMessage(f"compression {str(algorithm)[:40]!r} is unknown: bslz4, lz4 and none are read")
        if type(data) is not memoryview:
            raise BadMessage("the compressed data are no byte string")
        if encoding is Encoding.BSLZ4 and size != dtype.itemsize:
            raise BadMessage(f"bslz4 of {str(size)[:20]}-byte elements in an array of {dtype.name}")
        return encoding, data
    raise BadMessage("the pixels are neither a byte string nor compressed data (tag 56500)")
