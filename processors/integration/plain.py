"""Plain blocks of a bitshuffled frame, added to their bins without being decoded.

A block is *plain* if its counts are below 256 but for flagged pixels that belong to no bin: its higher byte planes
repeat one row of bits, and all that counts is in the lowest one. Of a plain block only that plane is put in order (2 kB
instead of 8), or, where nearly all pixels are 0, only those of its bits that are set are looked at. A few pixels that
are not so, bright ones or flagged ones, are set apart, and the block is plain without them.
"""

from typing import NamedTuple

import numpy as np

from stream.codec.bits import bit_count, lowest_bit
from stream.codec.blocks import BAD_BLOCK, block_end, next_block, transpose_rows
from stream.codec.compiler import kernel
from stream.codec.lz4 import REPEATED, SLACK, UNKNOWN, decompress
from stream.events import Array

SHIFT = 31
"""Of the sums of plain blocks (see `tally`): a pixel is one 32-bit word, its count and the top bit if that is not 0."""
CHUNK = 256
"""Pixels made into such words at a time, with SIMD: 1 kB of the first-level cache."""
SPARSE = 4
"""A block of which less than one pixel in SPARSE is not 0 is walked from set bit to set bit."""
WORTH_A_LOOK = 5
"""Only a block packed into fewer bytes than pixels / WORTH_A_LOOK can be so empty."""
APART = 4096
"""Pixels that may be set apart before they are tallied."""
FEW = 32
"""A block of which more than one pixel in FEW would be set apart is not plain."""


class Scratch(NamedTuple):
    """Views are made here, once: numba counts the references to those that it makes itself, with atomic operations.

    shuffled, plane: uint8, one block each. rows, words: the eight bit rows of the lowest byte plane of `shuffled`, as
    bytes and as uint64. higher: the other planes, uint64. straight, counts: the beginning of `plane`, one byte per
    pixel, as uint64 and in CHUNKs. found: uint64 (2, pixels / 64). places: uint32. addends: uint32 (CHUNK,).
    planes: all rows of `shuffled`, uint64 (8 * bytes of a pixel, pixels / 64). apart: uint64 (2, APART), number and
    count of the pixels that are set apart; how_many: of them, int64 (1,).
    """

    shuffled: Array
    plane: Array
    rows: Array
    words: Array
    higher: Array
    straight: Array
    counts: Array
    found: Array
    places: Array
    addends: Array
    planes: Array
    apart: Array
    how_many: Array

    @classmethod
    def of(cls, pixels: int, block_bytes: int) -> "Scratch":
        """For blocks of this size; those of less than CHUNK pixels only use `shuffled` and `plane`."""
        shuffled, plane = np.zeros(block_bytes + SLACK, np.uint8)[:block_bytes], np.zeros(block_bytes, np.uint8)
        usable = pixels if pixels % CHUNK == 0 else 0
        rows = shuffled[:usable].reshape(8, usable // 8)
        return cls(
            shuffled,
            plane,
            rows,
            rows.view(np.uint64),
            shuffled[usable : usable and block_bytes].view(np.uint64),
            plane[:usable].view(np.uint64),
            plane[:usable].reshape(usable // CHUNK, CHUNK),
            np.zeros((2, usable // 64), np.uint64),
            np.zeros(usable // SPARSE + 64, np.uint32),
            np.zeros(CHUNK, np.uint32),
            shuffled[: usable and block_bytes].view(np.uint64).reshape(-1, max(usable // 64, 1)),
            np.zeros((2, APART), np.uint64),
            np.zeros(1, np.int64),
        )


@kernel(inline="always")
def list_places(bits, places):  # type: ignore[no-untyped-def]
    """The places of all set bits into `places`, ascending; their number. Four at a time, because a loop that ends
    somewhere else for every word costs more than places that are overwritten: `places` has room for 64 more."""
    listed = np.uint64(0)
    for j in range(bits.size):
        word = bits[j]
        first = np.uint64(64 * j)
        behind = listed + bit_count(word)
        while True:
            for k in range(4):
                places[listed + np.uint64(k)] = np.uint32(first + lowest_bit(word))
                word &= word - np.uint64(1)
            listed += np.uint64(4)
            if listed >= behind:
                break
        listed = behind
    return np.int64(listed)


@kernel
def set_apart(scratch, outside, number, repeated):  # type: ignore[no-untyped-def]
    """Clear the pixels of block `number` that belong to a bin and keep it from being plain; note each in `apart`.

    repeated: all higher rows are as the first of them, the only one that is there. False, and nothing is changed, if
    they are too many.
    """
    planes, apart, odd = scratch.planes, scratch.apart, scratch.found[0]
    bits, row = planes.shape
    many = np.uint64(0)
    for j in range(row):
        odd[j] = planes[0, j] if bits == 8 else planes[8, j]
        many += bit_count(odd[j] & ~outside[number, j])
    if bits > 8 and many * np.uint64(FEW) > np.uint64(64 * row):
        return False
    for r in range(1 if bits == 8 else 9, 9 if repeated else bits):
        for j in range(row):
            odd[j] = odd[j] & planes[r, j] if bits == 8 else odd[j] | planes[r, j]
    many = np.uint64(0)
    for j in range(row):
        odd[j] &= ~outside[number, j]
        many += bit_count(odd[j])
    listed = scratch.how_many[0]
    if many * np.uint64(FEW) > np.uint64(64 * row) or np.uint64(listed) + many > np.uint64(APART):
        return False
    for j in range(row):
        left = odd[j]
        while left:
            bit = lowest_bit(left)
            left &= left - np.uint64(1)
            count = np.uint64(0)
            for r in range(bits):
                count |= ((planes[min(r, 8) if repeated else r, j] >> bit) & np.uint64(1)) << np.uint64(r)
            apart[0, listed] = np.uint64(64 * (number * row + j)) + bit
            apart[1, listed] = count
            listed += 1
        if odd[j]:
            for r in range(8):
                planes[r, j] &= ~odd[j]
    scratch.how_many[0] = listed
    return True


@kernel(inline="always")
def take_plain(source, begin, number, scratch, outside):  # type: ignore[no-untyped-def]
    """Decompress block `number`, beginning at `begin`, into `shuffled`, and set apart what keeps it from being plain.

    Returns the place behind it, or minus the code of what is wrong with it; and True if it is plain. If not, all of it
    is in `shuffled`. outside: as in `tally_plain`.
    """
    higher, row = scratch.higher, outside.shape[1]
    above = higher[row:]
    memory, room = np.uint64(source.ctypes.data), scratch.shuffled.ctypes.data
    sizes = np.uint64(room), np.uint64(scratch.shuffled.size), np.uint64(8 * row), np.uint64(64 * row)
    limit = memory + np.uint64(source.size)
    at, plain, said = block_end(source, begin), True, UNKNOWN
    if at >= 0 and higher.size:
        said = decompress(memory + np.uint64(begin + 4), memory + np.uint64(at), limit, *sizes)
    if at >= 0 and said == UNKNOWN:
        at = next_block(source, begin, scratch.shuffled.size, room)
    if at >= 0:
        # a flagged pixel, or a count above 255 (of uint8: above 254), of a pixel that belongs to a bin?
        wrong = np.uint64(0)
        if higher.size == 0:
            w = scratch.words
            for j in range(row):
                all_set = w[0, j] & w[1, j] & w[2, j] & w[3, j] & w[4, j] & w[5, j] & w[6, j] & w[7, j]
                wrong |= all_set & ~outside[number, j]
        else:
            if said != REPEATED:
                for j in range(above.size):
                    wrong |= higher[j] ^ above[j]
            for j in range(row):
                wrong |= higher[j] & ~outside[number, j]
        if wrong and not set_apart(scratch, outside, number, said == REPEATED):
            plain = False
            if said == REPEATED and next_block(source, begin, scratch.shuffled.size, room) < 0:
                at = -BAD_BLOCK
    return at, plain


@kernel
def tally_plain(source, at, number, scratch, outside, into, four, sums):  # type: ignore[no-untyped-def]
    """Add plain blocks from `number` on until one comes that is not: it is left in `shuffled`, decompressed.

    at: where in `source` the first of them begins. Returns the place behind the last one, or minus the code of what is
    wrong with it, and its number: that of the one left, or how many there are.
    outside: uint64 (blocks, pixels / 64), one bit for each pixel that belongs to no bin. into: (blocks, pixels / CHUNK,
    CHUNK), the bins. four: the same as uint64, of two-byte bins four at once.
    """
    places, addends, counts, words, rows = scratch.places, scratch.addends, scratch.counts, scratch.words, scratch.rows
    chunks, row = into.shape[1], outside.shape[1]
    pixels = chunks * CHUNK
    filled, several = scratch.found[0], scratch.found[1]
    copies = len(sums)
    sums0, sums1, sums2, sums3 = sums[0], sums[1 % copies], sums[2 % copies], sums[3 % copies]
    r0, r1, r2, r3, r4, r5, r6, r7 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    w0, w1, w2, w3, w4, w5, w6, w7 = words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]
    one_32, one_64 = np.uint32(1 << SHIFT), np.uint64(1 << SHIFT)
    for i in range(number, len(into)):
        begin = at
        at, plain = take_plain(source, begin, i, scratch, outside)
        if at < 0 or not plain:
            return at, i
        if (at - begin) * WORTH_A_LOOK < pixels:
            many = np.uint64(0)
            for j in range(row):
                several[j] = (w1[j] | w2[j] | w3[j] | w4[j] | w5[j] | w6[j] | w7[j]) & ~outside[i, j]
                filled[j] = several[j] | (w0[j] & ~outside[i, j])
                many += bit_count(filled[j])
            if many * np.uint64(SPARSE) < np.uint64(pixels):
                for k in range(list_places(filled, places)):
                    listed = places[k]
                    sums0[into[i, listed // np.uint32(CHUNK), listed % np.uint32(CHUNK)]] += one_64 + np.uint64(1)
                for j in range(row):
                    left = several[j]
                    while left:
                        bit = lowest_bit(left)
                        left &= left - np.uint64(1)
                        count = np.uint64(0)
                        for r in range(8):
                            count |= ((words[r, j] >> bit) & np.uint64(1)) << np.uint64(r)
                        place = np.uint64(64 * j) + bit
                        sums0[into[i, place // np.uint64(CHUNK), place % np.uint64(CHUNK)]] += count - np.uint64(1)
                continue
        transpose_rows(r0, r1, r2, r3, r4, r5, r6, r7, scratch.straight)
        for c in range(chunks):
            for j in range(CHUNK):
                pixel = np.uint32(counts[c, j])
                addends[j] = pixel | (one_32 if pixel else np.uint32(0))
            if into.itemsize == 2:  # four bins are loaded at once
                for k in range(CHUNK // 4):
                    each = four[i, c, k]
                    sums0[np.uint16(each)] += addends[4 * k]
                    sums1[np.uint16(each >> np.uint64(16))] += addends[4 * k + 1]
                    sums2[np.uint16(each >> np.uint64(32))] += addends[4 * k + 2]
                    sums3[np.uint16(each >> np.uint64(48))] += addends[4 * k + 3]
            else:
                for j in range(0, CHUNK, 4):
                    sums0[into[i, c, j]] += addends[j]
                    sums1[into[i, c, j + 1]] += addends[j + 1]
                    sums2[into[i, c, j + 2]] += addends[j + 2]
                    sums3[into[i, c, j + 3]] += addends[j + 3]
    return at, len(into)
