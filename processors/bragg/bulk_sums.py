# mypy: disable-error-code="untyped-decorator,misc"
"""Sums over the bulk of a frame, see `clip_bulk`: one pass over the pixels.

Counts below 255 are narrow: their ranges are bytes, what a count adds to the sums of its bin stands in a table (itself,
its square and one if it is not 0, side by side in one word), and weights are whole numbers. So those sums are exact, in
whatever order they are made.
"""

import numpy as np

from stream.codec.bits import bit_count, lowest_bit
from stream.codec.compiler import kernel
from stream.codec.low_bytes import MARK

SHIFT = 31
"""Of the packed sums: a count, and above it one for every pixel that is not 0."""
EVERY = {1: 255, 2: 65535}
"""As `last`, by its bytes: whatever the count is."""
BLOCK = 512
COPIES = 4
SPARSE = 4
"""A block of which less than one pixel in SPARSE is to be looked at is walked from one to the next."""
WEIGHT = float(2**32 - 1)
"""The largest weight as a whole number."""
COUNTS, FILLED, CROSS, POWER = range(4)
"""Columns of the sums over the bulk of a bin: counts, pixels that are not 0, signal * norm, signal^2."""


@kernel(inline="always")
def list_flags(words, start, apart, found):  # type: ignore[no-untyped-def]
    """The places, from `start` on, of the flags that are 1 and not 0, of eight in each of `words` (uint64,
    (BLOCK / 64, 8)), behind the first `found` of `apart`; how many are there then."""
    for k in range(words.shape[0]):
        bits = np.uint64(0)
        for j in range(8):  # eight bytes that are 0 or 1 become eight bits
            bits |= ((words[k, j] * np.uint64(0x0102040810204080)) >> np.uint64(56)) << np.uint64(8 * j)
        behind = found + int(bit_count(bits))
        while bits:  # two at a time: places too many are overwritten
            apart[found] = start + 64 * k + np.int64(lowest_bit(bits))
            bits &= bits - np.uint64(1)
            apart[found + 1] = start + 64 * k + np.int64(lowest_bit(bits))
            bits &= bits - np.uint64(1)
            found += 2
        found = behind
    return found


@kernel
def add_bulk(raw, bins, first, last, sums, addends, flags, words, apart, counts, own):  # type: ignore[no-untyped-def]
    """Add the counts of the bulk to `sums` (COPIES, bins + 1) uint64; the places of the others that belong to a bin go
    to `apart` (int32), ascending, their counts to `counts` (int64), their bins to `own` (uint16). Returns how many, or
    -1 where there is no room for more.

    raw: unsigned. addends: uint32 (BLOCK,); flags: uint8 (BLOCK,); words: the same as uint64 (BLOCK / 64, 8); scratch.
    """
    one, most_counts = np.uint32(1 << SHIFT), np.uint32(65535)
    sums[:] = 0
    sums0, sums1, sums2, sums3 = sums[0], sums[1], sums[2], sums[3]
    found = 0
    full = raw.size // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        pixels, into = raw[start : start + BLOCK], bins[start : start + BLOCK]
        least, most = first[start : start + BLOCK], last[start : start + BLOCK]
        for j in range(BLOCK):
            count = min(np.uint32(pixels[j]), most_counts)
            inside = (count >= np.uint32(least[j])) & (count <= np.uint32(most[j]))
            addends[j] = (count | (one if count else np.uint32(0))) if inside else np.uint32(0)
            flags[j] = np.uint8(not inside)
        for j in range(0, BLOCK, COPIES):
            sums0[into[j]] += addends[j]
            sums1[into[j + 1]] += addends[j + 1]
            sums2[into[j + 2]] += addends[j + 2]
            sums3[into[j + 3]] += addends[j + 3]
        if found + BLOCK + 64 > apart.size:
            return -1
        before, found = found, list_flags(words, start, apart, found)
        for each in range(before, found):
            j = apart[each] - start
            counts[each], own[each] = pixels[j], into[j]
    if found + BLOCK > apart.size:
        return -1
    for i in range(full, raw.size):
        count = min(np.uint32(raw[i]), most_counts)
        if np.uint32(first[i]) <= count <= np.uint32(last[i]):
            sums0[bins[i]] += count | (one if count else np.uint32(0))
        else:
            apart[found] = i
            counts[found], own[found] = raw[i], bins[i]
            found += 1
    return found


@kernel
def add_scatter(raw, bins, first, last, dark, norm, sums):  # type: ignore[no-untyped-def]
    """What the scatter about a mean needs of the bulk: `sums` (COPIES, bins + 1, 2) float64, see CROSS and POWER."""
    sums[:] = 0.0
    w, d = 1.0, 0.0
    for i in range(raw.size):
        count = np.uint32(raw[i])
        if np.uint32(first[i]) <= count <= np.uint32(last[i]):  # without a bin: to no avail
            if norm.size:
                w = np.float64(norm[i])
            if dark.size:
                d = np.float64(dark[i])
            signal = np.float64(count) - d
            sums[i % COPIES, bins[i], 0] += signal * w
            sums[i % COPIES, bins[i], 1] += signal * signal


@kernel
def add_narrow(  # type: ignore[no-untyped-def]
    raw, bins, four, first, last, weights, table, filled, zeros, sums, cross, kept, flags, apart, counts, own
):  # fmt: skip
    """As `add_bulk`, with ranges of bytes: sums (COPIES, bins + 1) uint64 of what `table` (uint64, 256) has for each
    count; and, unless `weights` (uint32, pixels) is empty, cross: uint64, of counts * weights.

    four: the bins, four at once, uint64. filled, zeros: uint64, bits of the pixels that are not 0, and of those whose
    range has no 0; both empty where it is not known. kept, flags: views of bytes, one by one and as words (uint32 and
    uint64), scratch of BLOCK.
    """
    (kept_1, kept_4), (flags_1, flags_8) = kept, flags
    sums[:] = 0
    cross[:] = 0
    sums0, sums1, sums2, sums3 = sums[0], sums[1], sums[2], sums[3]
    cross0, cross1, cross2, cross3 = cross[0], cross[1], cross[2], cross[3]
    low, three = np.uint32(255), np.uint64(3)
    found = 0
    full = raw.size // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        if found + BLOCK + 64 > apart.size:
            return -1
        pixels, into = raw[start : start + BLOCK], bins[start : start + BLOCK]
        least, most = first[start : start + BLOCK], last[start : start + BLOCK]
        if filled.size:
            word, many = start // 64, np.uint64(0)
            for k in range(BLOCK // 64):
                many += bit_count(filled[word + k] | zeros[word + k])
            if many * np.uint64(SPARSE) < np.uint64(BLOCK):
                for k in range(BLOCK // 64):
                    left = filled[word + k] | zeros[word + k]
                    while left:
                        j = np.uint64(64 * k) + lowest_bit(left)
                        left &= left - np.uint64(1)
                        count = min(np.uint32(pixels[j]), low)
                        if least[j] <= count <= most[j]:
                            sums[j & three, into[j]] += table[count]
                            if weights.size:
                                weight_of = np.uint64(weights[np.uint64(start) + j])
                                cross[j & three, into[j]] += np.uint64(count) * weight_of
                        else:
                            apart[found], counts[found], own[found] = np.uint64(start) + j, pixels[j], into[j]
                            found += 1
                continue
        for j in range(BLOCK):
            count_1 = np.uint8(min(np.uint32(pixels[j]), low))
            outside = (count_1 < least[j]) | (count_1 > most[j])
            flags_1[j] = np.uint8(outside)
            kept_1[j] = np.uint8(0) if outside else count_1
        each = four[start // 4 : (start + BLOCK) // 4]
        if weights.size:
            weight = weights[start : start + BLOCK]
            for j in range(BLOCK // 4):
                b, n = each[j], kept_4[j]
                b0, b1 = np.uint16(b), np.uint16(b >> np.uint64(16))
                b2, b3 = np.uint16(b >> np.uint64(32)), np.uint16(b >> np.uint64(48))
                n0, n1, n2, n3 = n & low, (n >> np.uint32(8)) & low, (n >> np.uint32(16)) & low, n >> np.uint32(24)
                sums0[b0] += table[n0]
                cross0[b0] += np.uint64(n0) * np.uint64(weight[4 * j])
                sums1[b1] += table[n1]
                cross1[b1] += np.uint64(n1) * np.uint64(weight[4 * j + 1])
                sums2[b2] += table[n2]
                cross2[b2] += np.uint64(n2) * np.uint64(weight[4 * j + 2])
                sums3[b3] += table[n3]
                cross3[b3] += np.uint64(n3) * np.uint64(weight[4 * j + 3])
        else:
            for j in range(BLOCK // 4):
                b, n = each[j], kept_4[j]
                sums0[np.uint16(b)] += table[n & low]
                sums1[np.uint16(b >> np.uint64(16))] += table[(n >> np.uint32(8)) & low]
                sums2[np.uint16(b >> np.uint64(32))] += table[(n >> np.uint32(16)) & low]
                sums3[np.uint16(b >> np.uint64(48))] += table[n >> np.uint32(24)]
        before, found = found, list_flags(flags_8, start, apart, found)
        for k in range(before, found):
            j = apart[k] - start
            counts[k], own[k] = pixels[j], into[j]
    if found + BLOCK > apart.size:
        return -1
    for i in range(full, raw.size):
        count = min(np.uint32(raw[i]), low)
        if first[i] <= count <= last[i]:
            sums[i & 3, bins[i]] += table[count]
            if weights.size:
                cross[i & 3, bins[i]] += np.uint64(count) * np.uint64(weights[i])
        else:
            apart[found], counts[found], own[found] = i, raw[i], bins[i]
            found += 1
    return found


@kernel
def fill_marks(apart, counts, number, places, listed):  # type: ignore[no-untyped-def]
    """The counts, of pixels set apart, that are too large for a byte: `listed`, at the `places`, both ascending."""
    at = 0
    for k in range(number):
        if counts[k] == MARK:
            while places[at] < apart[k]:
                at += 1
            counts[k] = listed[at]


@kernel
def unpack(sums, cross, scatter, shifts, unit, bulk):  # type: ignore[no-untyped-def]
    """What the passes have added, to `bulk` (bins, 4) float64.

    shifts: of the number of pixels that are not 0, and of the squares, 0: there are none. cross: in this `unit`, or
    empty; scatter: as `add_scatter` leaves it, or empty.
    """
    filled_shift, square_shift = shifts
    first = square_shift if square_shift else filled_shift
    count_mask, square_mask = (np.uint64(1) << first) - np.uint64(1), (np.uint64(1) << filled_shift) - np.uint64(1)
    bulk[:] = 0.0
    for b in range(bulk.shape[0]):
        for copy in range(COPIES):
            packed = sums[copy, b]
            bulk[b, COUNTS] += np.float64(packed & count_mask)
            bulk[b, FILLED] += np.float64(packed >> filled_shift)
            if cross.shape[1]:
                bulk[b, CROSS] += np.float64(cross[copy, b]) * unit
                bulk[b, POWER] += np.float64((packed & square_mask) >> square_shift)
            elif scatter.size:
                bulk[b, CROSS] += scatter[copy, b, 0]
                bulk[b, POWER] += scatter[copy, b, 1]
