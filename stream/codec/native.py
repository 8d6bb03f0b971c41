"""The LZ4 and bitshuffle routines inside hdf5plugin's own libraries, reached without a compiler and without HDF5.

Every call releases the GIL (ctypes does) and writes into a buffer of ours; nothing is checked here: see `payload`.
"""

import ctypes
import struct
from functools import cache
from pathlib import Path

import numpy as np
from hdf5plugin import get_config

from stream.events import Array, Buffer

BLOCK_BYTES = 8192
HEADER = struct.Struct(">QI")
"""Before the blocks of bslz4 and of HDF5's LZ4: bytes of the decoded whole, bytes of one decoded block."""


@cache
def library(name: str) -> ctypes.CDLL:
    """hdf5plugin's filter library `name` ("bshuf", "lz4"), loaded privately."""
    return ctypes.CDLL(str(Path(get_config().registered_filters[name])))


@cache
def lz4_decompress_address() -> int:
    """Address of LZ4_decompress_safe(src, dst, compressed_size, capacity) -> bytes written, or negative."""
    return ctypes.cast(library("bshuf").LZ4_decompress_safe, ctypes.c_void_p).value or 0


def address(buffer: Buffer | Array) -> int:
    """Address of the first byte of a C-contiguous buffer."""
    return int(np.frombuffer(buffer, np.uint8).ctypes.data) if len(buffer) else 0


def lz4_block(source: Buffer, target: Array) -> int:
    """Decompress one bare LZ4 block into the uint8 array `target`; returns bytes written, negative if malformed."""
    function = library("bshuf").LZ4_decompress_safe
    return int(
        function(ctypes.c_void_p(address(source)), ctypes.c_void_p(target.ctypes.data), len(source), target.nbytes)
    )


def bslz4_compress(image: Array, *, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Pack an array as the detectors do: header, bitshuffled LZ4 blocks, leftover elements raw."""
    image = np.ascontiguousarray(image)
    size, block = image.itemsize, block_bytes // image.itemsize
    bshuf = library("bshuf")
    bound, pack = bshuf.bshuf_compress_lz4_bound, bshuf.bshuf_compress_lz4
    bound.argtypes, bound.restype = [ctypes.c_size_t] * 3, ctypes.c_size_t
    pack.argtypes, pack.restype = [ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_size_t] * 3, ctypes.c_int64
    out = np.empty(bound(image.size, size, block) + HEADER.size, np.uint8)
    HEADER.pack_into(out.data, 0, image.nbytes, block_bytes)
    written = pack(image.ctypes.data, out.ctypes.data + HEADER.size, image.size, size, block)
    if written < 0:
        raise ValueError(f"bitshuffle cannot pack {image.size} elements of {size} bytes: error {written}")
    return out[: HEADER.size + written].tobytes()
