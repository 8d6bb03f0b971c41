"""Bitshuffled counts as one byte per pixel, and a list of the pixels that need more: a quarter of the memory.

Photon counts are nearly all below 255. The higher byte planes of their blocks repeat one row of bits, zeros or those of
pixels that nobody asks for, and are not put in order, nor even written where LZ4 repeats them (see `lz4`).
"""

from typing import Any, NamedTuple

import numpy as np

from stream.codec import payload
from stream.codec.bits import bit_count, lowest_bit
from stream.codec.blocks import BAD_BLOCK, TRUNCATED, block_end, next_block, transpose_rows, untranspose_block
from stream.codec.compiler import kernel
from stream.codec.lz4 import REPEATED, SLACK, UNKNOWN, decompress
from stream.errors import CorruptPayload
from stream.events import Array, Payload

MARK = 255
"""In place of a count that is not below it: it stands in the list."""
FULL = 3
"""Code: more pixels need more than a byte than there is room for in the list."""
FEW = 32
"""A block of which more than one pixel in FEW goes to the list is decoded whole."""
ROOM = 16
"""One pixel in ROOM may go to the list."""


class Scratch(NamedTuple):
    """One block: views are made here, once, because numba counts the references to those that it makes itself.

    shuffled, plane: uint8. rows, words: the eight bit rows of the lowest byte plane of `shuffled`, as bytes and uint64;
    higher: the rows of the other planes, uint64 (rows, pixels / 64). Those three are empty unless a block has a
    multiple of 64 pixels. odd: uint64 (pixels / 64,). pixels: unsigned.
    """

    shuffled: Array
    plane: Array
    rows: Array
    words: Array
    higher: Array
    odd: Array
    pixels: Array

    @classmethod
    def of(cls, block_bytes: int, width: int) -> "Scratch":
        """For pixels of `width` bytes."""
        pixels = block_bytes // width
        shuffled, plane = np.zeros(block_bytes + SLACK, np.uint8)[:block_bytes], np.zeros(block_bytes, np.uint8)
        usable = pixels if pixels % 64 == 0 else 0
        rows = shuffled[:usable].reshape(8, usable // 8)
        higher = shuffled[usable : usable and block_bytes].view(np.uint64)
        words = max(usable // 64, 1)
        return cls(
            shuffled,
            plane,
            rows,
            rows.view(np.uint64),
            higher.reshape(-1, words),
            np.zeros(words, np.uint64),
            np.zeros(pixels, f"u{width}"),
        )


class LowBytes:
    """One worker's, for frames of one shape and type, unsigned or of more than one byte."""

    def __init__(self, wanted: Array, dtype: np.dtype[Any]) -> None:
        """wanted: bool (pixels,); of the others nothing is kept."""
        pixels = wanted.size
        self._dtype = dtype
        padded = np.zeros(-(-pixels // 64) * 64, np.uint8)
        self.words = padded.view(np.uint64)
        """uint64: the same as `low`, eight pixels at once, and zeros behind the last one."""
        self.low = padded[:pixels]
        """uint8 (pixels,): the counts, MARK where `listed` has more, 0 where they are not wanted."""
        self._wanted = _bits(wanted)
        self.filled = np.zeros_like(self._wanted)
        """uint64 (pixels / 64,): a bit for each pixel that is not 0 in `low`."""
        self._places, self._counts = np.empty(0, np.int32), np.empty(0, np.int64)
        self._number = 0
        self._block_bytes = 0
        self._scratch = self._resize(payload.default_block_bytes(dtype.itemsize))

    @property
    def listed(self) -> tuple[Array, Array]:
        """The pixels marked in `low`: their flat places, int32, ascending, and their counts, int64."""
        return self._places[: self._number], self._counts[: self._number]

    @staticmethod
    def suits(dtype: np.dtype[Any]) -> bool:
        """True for integers of at most four bytes, unless a byte may be negative."""
        return dtype.kind in "iu" and dtype.itemsize <= 4 and dtype != np.int8

    def takes(self, frame: Payload) -> bool:
        """True if `read` can do this one, whose shape is the scan's: bitshuffled, of this type."""
        return frame.dtype == self._dtype and frame.encoding in payload.SHUFFLED

    def read(self, frame: Payload) -> bool:
        """Decode a frame; False, and nothing is known of it, if too many pixels need more than a byte.

        Raises CorruptPayload, as `payload.decode` would.
        """
        source, block_bytes = payload.shuffled_blocks(frame)
        if block_bytes != self._block_bytes:
            self._scratch = self._resize(block_bytes)
        into = (self.low, self.filled, self._places, self._counts)
        signed = self._dtype.kind == "i"
        code = int(decode_low(source, block_bytes, signed, self._scratch, self._wanted, *into))
        if code == -FULL:
            return False
        if code < 0:
            raise CorruptPayload(payload.complain(frame, -code))
        self._number = code
        return True

    def _resize(self, block_bytes: int) -> Scratch:
        self._block_bytes = block_bytes
        room = self.low.size // ROOM + max(block_bytes // self._dtype.itemsize, 8)
        if room > self._places.size:
            self._places, self._counts = np.zeros(room, np.int32), np.zeros(room, np.int64)
        return Scratch.of(block_bytes, self._dtype.itemsize)


def _bits(chosen: Array) -> Array:
    """bool (pixels,) -> uint64 (pixels / 64,), the first pixel in the lowest bit."""
    packed = np.packbits(chosen, bitorder="little")
    words = np.zeros(-(-chosen.size // 64), np.uint64)
    words.view(np.uint8)[: packed.size] = packed
    return words


@kernel
def _list_odd(scratch, repeated, signed, start, found, places, counts):  # type: ignore[no-untyped-def]
    """The pixels of a block that are set in `odd` to the list, of which `found` are there; how many are there then.

    repeated: of the higher rows only the first is there, the others are alike.
    """
    words, higher, odd = scratch.words, scratch.higher, scratch.odd
    rows = higher.shape[0]
    for j in range(odd.size):
        left = odd[j]
        while left:
            bit = lowest_bit(left)
            left &= left - np.uint64(1)
            count = np.uint64(0)
            for r in range(8):
                count |= ((words[r, j] >> bit) & np.uint64(1)) << np.uint64(r)
            for r in range(rows):
                count |= ((higher[0 if repeated else r, j] >> bit) & np.uint64(1)) << np.uint64(8 + r)
            places[found] = start + 64 * j + np.int64(bit)
            counts[found] = _signed(np.int64(count), signed, scratch.pixels.itemsize)
            found += 1
    return found


@kernel(inline="always")
def _signed(count, signed, width):  # type: ignore[no-untyped-def]
    return count - (np.int64(1) << (8 * width)) if signed and count >> (8 * width - 1) else count


@kernel
def decode_low(source, block_bytes, signed, scratch, wanted, low, filled, places, counts):  # type: ignore[no-untyped-def]
    """All blocks of a frame, as `blocks.decode_bslz4` goes through them. See LowBytes.

    Returns how many pixels are in the list, or minus the code of what is wrong: TRUNCATED, BAD_BLOCK or FULL.
    """
    shuffled, pixels, odd = scratch.shuffled, scratch.pixels, scratch.odd
    words, higher, rows = scratch.words, scratch.higher, scratch.rows
    width, row = pixels.itemsize, words.shape[1]
    block = block_bytes // width
    r0, r1, r2, r3, r4, r5, r6, r7 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    w0, w1, w2, w3, w4, w5, w6, w7 = words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]
    memory, target = np.uint64(source.ctypes.data), np.uint64(shuffled.ctypes.data)
    limit = memory + np.uint64(source.size)
    sizes = np.uint64(block_bytes), np.uint64(block // 8), np.uint64(block)
    whole = low.size - low.size % 8
    found = at = start = np.int64(0)
    while start < whole:
        count = min(block, whole - start)
        begin, at = at, block_end(source, at)
        if at < 0:
            return at
        straight = count == block and row > 0
        said = UNKNOWN
        if straight and width > 1:
            said = decompress(memory + np.uint64(begin + 4), memory + np.uint64(at), limit, target, *sizes)
        if said == UNKNOWN and next_block(source, begin, count * width, shuffled.ctypes.data) < 0:
            return np.int64(-BAD_BLOCK)
        if found + block > places.size:
            return np.int64(-FULL)
        if straight:
            first = start // 64
            for j in range(row):
                odd[j] = w0[j] & w1[j] & w2[j] & w3[j] & w4[j] & w5[j] & w6[j] & w7[j]
            for r in range(min(higher.shape[0], 1) if said == REPEATED else higher.shape[0]):
                for j in range(row):
                    odd[j] |= higher[r, j]
            many = np.uint64(0)
            for j in range(row):
                odd[j] &= wanted[first + j]
                many += bit_count(odd[j])
            if many * np.uint64(FEW) <= np.uint64(block):
                if many:
                    found = _list_odd(scratch, said == REPEATED, signed, start, found, places, counts)
                for j in range(row):
                    keep, mark = wanted[first + j], odd[j]
                    w0[j], w1[j] = (w0[j] & keep) | mark, (w1[j] & keep) | mark
                    w2[j], w3[j] = (w2[j] & keep) | mark, (w3[j] & keep) | mark
                    w4[j], w5[j] = (w4[j] & keep) | mark, (w5[j] & keep) | mark
                    w6[j], w7[j] = (w6[j] & keep) | mark, (w7[j] & keep) | mark
                    filled[first + j] = w0[j] | w1[j] | w2[j] | w3[j] | w4[j] | w5[j] | w6[j] | w7[j]
                transpose_rows(r0, r1, r2, r3, r4, r5, r6, r7, low[start : start + block].view(np.uint64))
                start += count
                continue
            if said == REPEATED and next_block(source, begin, block_bytes, shuffled.ctypes.data) < 0:
                return np.int64(-BAD_BLOCK)
        untranspose_block(shuffled, scratch.plane, pixels[:count])
        found = _take(pixels, count, signed, start, wanted, low, filled, found, places, counts)
        start += count
    leftover = low.size - whole
    if source.size - at != leftover * width:
        return np.int64(-TRUNCATED)
    if leftover:
        if found + leftover > places.size:
            return np.int64(-FULL)
        tail = pixels.view(np.uint8)
        for j in range(source.size - at):
            tail[j] = source[at + j]
        found = _take(pixels, leftover, signed, whole, wanted, low, filled, found, places, counts)
    return found


@kernel
def _take(pixels, count, signed, start, wanted, low, filled, found, places, counts):  # type: ignore[no-untyped-def]
    """The first `count` pixels, decoded, to their place; how many are in the list then."""
    for k in range(count):
        i = start + k
        bit = np.uint64(1) << np.uint64(i % 64)
        value = np.int64(pixels[k]) if wanted[i // 64] & bit else np.int64(0)
        if value >= MARK:
            places[found], counts[found] = i, _signed(value, signed, pixels.itemsize)
            found += 1
            value = np.int64(MARK)
        low[i] = value
        filled[i // 64] = (filled[i // 64] & ~bit) | (bit if value else np.uint64(0))
    return found
