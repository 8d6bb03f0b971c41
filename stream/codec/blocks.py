"""Compiled block decoders: LZ4 from hdf5plugin's library, the bit transposition ours, GIL released, no allocation.

The transposition skips byte planes that are all zero, which on photon-counting data is nearly all of them: most
counts are below 256, so three of the four byte planes of a uint32 block never need to be touched.
Layout of a bitshuffled block: bitshuffle, Masui et al., Astronomy and Computing 12 (2015) 181; each row of n/8 bytes
holds one bit of n elements, least significant bit first.
"""

from typing import Any

import numpy as np

from stream.codec.compiler import External, kernel
from stream.codec.native import lz4_decompress_address

OK, TRUNCATED, BAD_BLOCK = 0, 1, 2

lz4: Any = External("inbeam_lz4_decompress_safe", lz4_decompress_address, "int32", "uintp", "uintp", "int32", "int32")


@kernel(inline="always")
def big_endian_u32(source, at):  # type: ignore[no-untyped-def]
    """The unsigned number in four bytes, most significant first."""
    return (
        (np.int64(source[at]) << 24)
        | (np.int64(source[at + 1]) << 16)
        | (np.int64(source[at + 2]) << 8)
        | np.int64(source[at + 3])
    )


@kernel(inline="always")
def any_bit(words):  # type: ignore[no-untyped-def]
    """True unless all words are zero. By index: numba's iterator form is not vectorised (95 against 19 ns for 2 kB)."""
    found = np.uint64(0)
    for j in range(words.size):
        found |= words[j]
    return found != np.uint64(0)


@kernel(inline="always")
def all_rows_equal(words, row):  # type: ignore[no-untyped-def]
    """True if each run of `row` words is the same as the one before it."""
    different = np.uint64(0)
    for j in range(words.size - row):
        different |= words[j] ^ words[j + row]
    return different == np.uint64(0)


@kernel(inline="always")
def transpose_rows(r0, r1, r2, r3, r4, r5, r6, r7, words):  # type: ignore[no-untyped-def]
    """Eight bit rows of n/8 bytes each -> n bytes, written as n/8 little-endian uint64."""
    for j in range(words.size):
        x = np.uint64(r0[j]) | (np.uint64(r1[j]) << np.uint64(8))
        x |= (np.uint64(r2[j]) << np.uint64(16)) | (np.uint64(r3[j]) << np.uint64(24))
        x |= (np.uint64(r4[j]) << np.uint64(32)) | (np.uint64(r5[j]) << np.uint64(40))
        x |= (np.uint64(r6[j]) << np.uint64(48)) | (np.uint64(r7[j]) << np.uint64(56))
        t = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
        x ^= t ^ (t << np.uint64(7))
        t = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
        x ^= t ^ (t << np.uint64(14))
        t = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
        words[j] = x ^ t ^ (t << np.uint64(28))


@kernel(inline="always")
def transpose_plane(rows, words):  # type: ignore[no-untyped-def]
    """One byte plane, its eight bit rows one behind the other -> n bytes, written as n/8 little-endian uint64."""
    n = words.size
    r0, r1, r2, r3 = rows[:n], rows[n : 2 * n], rows[2 * n : 3 * n], rows[3 * n : 4 * n]
    r4, r5, r6, r7 = rows[4 * n : 5 * n], rows[5 * n : 6 * n], rows[6 * n : 7 * n], rows[7 * n : 8 * n]
    transpose_rows(r0, r1, r2, r3, r4, r5, r6, r7, words)


@kernel(inline="always")
def untranspose_block(shuffled, planes, out):  # type: ignore[no-untyped-def]
    """One bitshuffled block (uint8) -> its elements in `out` (uint8 ... uint64, a multiple of 8 of them).

    planes: uint8 scratch as large as the block. The higher bytes of photon counts are nearly always those of small
    numbers or of flagged pixels (all bits set), which a third of the work decides.
    """
    n = out.size
    width = out.itemsize
    words = planes.view(np.uint64)
    eighth = n // 8
    transpose_plane(shuffled[:n], words[:eighth])
    byte0 = planes[:n]
    if width == 1 or not any_bit(shuffled[n : n * width].view(np.uint64)):
        for e in range(n):
            out[e] = byte0[e]
        return
    transpose_plane(shuffled[n : 2 * n], words[eighth : 2 * eighth])
    byte1 = planes[n : 2 * n]
    if width == 2:
        for e in range(n):
            out[e] = np.uint16(byte0[e]) | (np.uint16(byte1[e]) << np.uint16(8))
        return
    if width == 4 and n % 64 == 0 and all_rows_equal(shuffled[n : n * width].view(np.uint64), n // 64):
        for e in range(n):
            out[e] = np.uint32(byte0[e]) | (np.uint32(byte1[e]) * np.uint32(0x01010100))
        return
    for k in range(2, width):
        transpose_plane(shuffled[k * n : (k + 1) * n], words[k * eighth : (k + 1) * eighth])
    if width == 4:
        byte2, byte3 = planes[2 * n : 3 * n], planes[3 * n : 4 * n]
        for e in range(n):
            low = np.uint32(byte0[e]) | (np.uint32(byte1[e]) << np.uint32(8))
            high = (np.uint32(byte2[e]) << np.uint32(16)) | (np.uint32(byte3[e]) << np.uint32(24))
            out[e] = low | high
        return
    for e in range(n):
        value = np.uint64(0)
        for k in range(width):
            value |= np.uint64(planes[k * n + e]) << np.uint64(8 * k)
        out[e] = value


@kernel(inline="always")
def block_end(source, at):  # type: ignore[no-untyped-def]
    """The place behind the block whose length stands at `at`, or -TRUNCATED if there are not so many bytes."""
    if at + 4 > source.size:
        return -TRUNCATED
    size = big_endian_u32(source, at)
    return at + 4 + size if size <= source.size - at - 4 else -TRUNCATED


@kernel(inline="always")
def next_block(source, at, want, target):  # type: ignore[no-untyped-def]
    """Decompress the block whose length stands at `at` to the address `target`, where there is room for `want` bytes.

    Returns the place behind it, or -TRUNCATED or -BAD_BLOCK: every length is checked against the bytes that are there.
    """
    end = block_end(source, at)
    if end < 0:
        return end
    if lz4(source.ctypes.data + at + 4, target, np.int32(end - at - 4), np.int32(want)) != want:
        return -BAD_BLOCK
    return end


@kernel
def decode_bslz4(source, block_bytes, shuffled, plane, out):  # type: ignore[no-untyped-def]
    """All blocks behind the 12-byte header -> `out` (flat, unsigned). Returns OK, TRUNCATED or BAD_BLOCK.

    shuffled, plane: uint8 scratch, one block each.

    Blocks of `block_bytes`, a last one rounded down to 8 elements, then up to 7 leftover elements raw, as
    bitshuffle and dectris/compression have it.
    """
    width = out.itemsize
    block = block_bytes // width
    whole = out.size - out.size % 8
    at, start = 0, 0
    while start < whole:
        count = min(block, whole - start)
        at = next_block(source, at, count * width, shuffled.ctypes.data)
        if at < 0:
            return -at
        untranspose_block(shuffled, plane, out[start : start + count])
        start += count
    leftover = (out.size - whole) * width
    if source.size - at != leftover:
        return TRUNCATED
    tail = out[whole:].view(np.uint8)
    for j in range(leftover):
        tail[j] = source[at + j]
    return OK


@kernel
def decode_lz4_blocks(source, block_bytes, out):  # type: ignore[no-untyped-def]
    """HDF5-LZ4 framing behind its 12-byte header -> `out` (uint8). A block as long as its content is stored raw."""
    base, target = source.ctypes.data, out.ctypes.data
    at, start, end = 0, 0, source.size
    while start < out.size:
        want = min(block_bytes, out.size - start)
        if at + 4 > end:
            return TRUNCATED
        size = big_endian_u32(source, at)
        at += 4
        if size > end - at:
            return TRUNCATED
        if size == want:
            out[start : start + want] = source[at : at + want]
        elif lz4(base + at, target + start, np.int32(size), np.int32(want)) != want:
            return BAD_BLOCK
        at += size
        start += want
    return OK if at == end else TRUNCATED


@kernel(nogil=False)
def lengths_add_up(source, nbytes, block_bytes, granule):  # type: ignore[no-untyped-def]
    """True if the chain of block lengths ends exactly at the end of `source`. Keeps the GIL: it takes 2 µs per MB.

    granule: 8 elements in bytes for bitshuffle, whose leftover bytes are stored raw; 1 for plain LZ4.
    """
    whole = nbytes - nbytes % granule
    at, start, end = 0, 0, source.size
    while start < whole:
        if at + 4 > end:
            return False
        at += 4 + big_endian_u32(source, at)
        if at > end:
            return False
        start += min(block_bytes, whole - start)
    return end - at == nbytes - whole


@kernel
def block_places(source, nbytes, block_bytes, granule, places):  # type: ignore[no-untyped-def]
    """Where every block begins, and behind the last one where it ends, into `places` (uint32, one more than blocks).

    As `lengths_add_up`, and without decoding. Returns OK; TRUNCATED; or BAD_BLOCK where a block has more bytes than LZ4
    needs at the worst.
    """
    whole = nbytes - nbytes % granule
    at, start, end = 0, 0, source.size
    for number in range(places.size - 1):
        places[number] = at
        want = min(block_bytes, whole - start)
        if at + 4 > end:
            return TRUNCATED
        size = big_endian_u32(source, at)
        at += 4 + size
        if at > end:
            return TRUNCATED
        if size > want + want // 255 + 16:
            return BAD_BLOCK
        start += want
    places[places.size - 1] = at
    return OK if start == whole and end - at == nbytes - whole else TRUNCATED
