"""Decode and integrate at once: a block of 8 kB is added to its bins while it is still in the first-level cache.

The image as a whole is never written: 18 MB less to write and to read again for every frame of an EIGER2 4M, which is
what two workers on one memory bus wait for.
"""

import numpy as np

from processors.kernels.engine import CpuEngine
from processors.kernels.jit import kernel
from processors.kernels.scatter import tally
from stream.errors import CorruptPayload
from stream.events import Array, Encoding, Payload
from stream.wire.blocks import BAD_BLOCK, OK, TRUNCATED, big_endian_u32, lz4, untranspose_block
from stream.wire.payload import check_header, complain


def can_fuse(engine: CpuEngine, payload: Payload) -> bool:
    """True if this payload can be integrated block by block by this engine."""
    return engine.packed and payload.encoding is Encoding.BSLZ4 and payload.dtype == engine.dtype


def integrate_payload(engine: CpuEngine, payload: Payload) -> None:
    """Add a whole payload to the engine, between its `begin` and `result`. Raises CorruptPayload."""
    pixels = payload.shape[0] * payload.shape[1]
    block_bytes = check_header(payload, pixels * payload.dtype.itemsize)
    source = np.frombuffer(payload.data, np.uint8)[12:]
    shuffled, plane = np.empty(block_bytes, np.uint8), np.empty(block_bytes, np.uint8)
    block = np.empty(block_bytes // payload.dtype.itemsize, f"u{payload.dtype.itemsize}")
    code = tally_bslz4(source, pixels, shuffled, plane, block, *engine.tally_arguments())
    if code != OK:
        raise CorruptPayload(complain(payload, code))


@kernel
def tally_bslz4(
    source: Array,
    size: int,
    shuffled: Array,
    plane: Array,
    block: Array,
    bins: Array,
    low: np.uint64,
    span: np.uint64,
    shift: np.uint64,
    weights: Array,
    dark: Array,
    sums: Array,
    lost: Array,
    scratch: Array,
) -> int:
    """`decode_bslz4` and `tally` in one; returns OK, TRUNCATED or BAD_BLOCK. block: one block of decoded pixels."""
    width = block.itemsize
    whole = size - size % 8
    base, target = source.ctypes.data, shuffled.ctypes.data
    at, start, end = 0, 0, source.size
    while start < whole:
        count = min(block.size, whole - start)
        if at + 4 > end:
            return TRUNCATED
        nbytes = big_endian_u32(source, at)
        at += 4
        if nbytes > end - at:
            return TRUNCATED
        want = count * width
        if lz4(base + at, target, np.int32(nbytes), np.int32(want)) != want:
            return BAD_BLOCK
        at += nbytes
        pixels = block[:count]
        untranspose_block(shuffled, plane, pixels)
        tally(pixels, start, bins, low, span, shift, weights, dark, sums, lost, scratch)
        start += count
    leftover = (size - whole) * width
    if end - at != leftover:
        return TRUNCATED
    if leftover:
        pixels = block[: size - whole]
        pixels.view(np.uint8)[:] = source[at:]
        tally(pixels, start, bins, low, span, shift, weights, dark, sums, lost, scratch)
    return OK
