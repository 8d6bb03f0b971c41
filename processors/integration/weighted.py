"""Plain blocks (see `plain`) whose counts are added twice: as they are, and times a whole number of their pixel.

Both sums of a bin lie side by side and are made in one step, one SIMD register wide. What for: `squares`, `shares`.
"""

import numpy as np

from processors.integration.plain import CHUNK, SPARSE, list_places, take_plain
from stream.codec.bits import bit_count, lowest_bit
from stream.codec.blocks import transpose_rows
from stream.codec.compiler import kernel
from stream.codec.memory import add_2

WORTH_A_LOOK = 4
"""As in `plain`."""

BITS = 31
"""Of a share that is a whole number."""
SEVERAL = 5
"""If less than one pixel of a block in SEVERAL has more than one count, these alone are looked at for `excess`."""


@kernel(inline="always")
def add_excess(excess, b, more, part, down):  # type: ignore[no-untyped-def]
    """What a pixel with `more` counts than one, and a share of part / 2**BITS, adds to its Poisson variance."""
    rest = np.uint64(1 << BITS) - part
    excess[0, b, 0] += more * (part * part >> down)
    excess[0, b, 1] += more * (rest * rest >> down)


@kernel
def weigh_plain(  # type: ignore[no-untyped-def]
    source, at, number, scratch, outside, into, four,
    factors, shift, squared, addends, sums, excess, others, begins, chosen,
):  # fmt: skip
    """As `tally_plain`. A pixel with the count n adds n, and n * n << shift if `squared`, to the first sum of its bin,
    and n * factor to the second.

    squared: uint64, all bits set or none. factors: uint32, as `into`. addends: uint64 (2, CHUNK). sums: uint64 (1 to 4,
    bins + 1, 2). excess: see `shares`; not empty only if not squared: shift is then its `down`.
    others: uint32, ascending, pixels whose counts go into `chosen`, uint32; begins: (blocks + 1,), from which on they
    are those of each block.
    """
    places, counts, words, rows = scratch.places, scratch.counts, scratch.words, scratch.rows
    chunks, row = into.shape[1], outside.shape[1]
    pixels = chunks * CHUNK
    filled, several = scratch.found[0], scratch.found[1]
    copies, once = len(sums), sums[0]
    sums0, sums1 = np.uint64(sums[0].ctypes.data), np.uint64(sums[1 % copies].ctypes.data)
    sums2, sums3 = np.uint64(sums[2 % copies].ctypes.data), np.uint64(sums[3 % copies].ctypes.data)
    packed, products = addends[0], addends[1]
    of, product_of = np.uint64(packed.ctypes.data), np.uint64(products.ctypes.data)
    word, two = np.uint64(8), np.uint64(16)
    r0, r1, r2, r3, r4, r5, r6, r7 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    w0, w1, w2, w3, w4, w5, w6, w7 = words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]
    one, zero, poisson = np.uint64(1) | np.uint64(1) << shift & squared, np.uint64(0), excess.size > 0
    single, whole = np.uint64(1), np.uint64(1 << BITS)
    more0 = more1 = zero
    if poisson:
        more0, more1 = np.uint64(excess[0].ctypes.data), np.uint64(excess[1 % copies].ctypes.data)
    for i in range(number, len(into)):
        begin = at
        at, plain = take_plain(source, begin, i, scratch, outside)
        if at < 0 or not plain:
            return at, i
        for k in range(begins[i], begins[i + 1]):
            place = np.uint64(others[k]) - np.uint64(i * pixels)
            count, word_of, bit = zero, place // np.uint64(64), place % np.uint64(64)
            for r in range(8):
                count |= ((words[r, word_of] >> bit) & single) << np.uint64(r)
            chosen[k] = count
        if (at - begin) * WORTH_A_LOOK < pixels:
            many = np.uint64(0)
            for j in range(row):
                several[j] = (w1[j] | w2[j] | w3[j] | w4[j] | w5[j] | w6[j] | w7[j]) & ~outside[i, j]
                filled[j] = several[j] | (w0[j] & ~outside[i, j])
                many += bit_count(filled[j])
            if many * np.uint64(SPARSE) < np.uint64(pixels):
                for k in range(list_places(filled, places)):
                    c, j = places[k] // np.uint32(CHUNK), places[k] % np.uint32(CHUNK)
                    b = into[i, c, j]
                    once[b, 0] += one
                    once[b, 1] += np.uint64(factors[i, c, j])
                for j in range(row):
                    left = several[j]
                    while left:
                        bit = lowest_bit(left)
                        left &= left - np.uint64(1)
                        count = np.uint64(0)
                        for r in range(8):
                            count |= ((words[r, j] >> bit) & np.uint64(1)) << np.uint64(r)
                        place = np.uint64(64 * j) + bit
                        c, k = place // np.uint64(CHUNK), place % np.uint64(CHUNK)
                        b = into[i, c, k]
                        once[b, 0] += (count | count * count << shift & squared) - one
                        once[b, 1] += (count - single) * np.uint64(factors[i, c, k])
                        if poisson:
                            add_excess(excess, b, count - single, np.uint64(factors[i, c, k]), shift)
                continue
        transpose_rows(r0, r1, r2, r3, r4, r5, r6, r7, scratch.straight)
        scattered = poisson
        if poisson:
            many = zero
            for j in range(row):
                several[j] = (w1[j] | w2[j] | w3[j] | w4[j] | w5[j] | w6[j] | w7[j]) & ~outside[i, j]
                many += bit_count(several[j])
            scattered = many * np.uint64(SEVERAL) < np.uint64(pixels)
            if scattered:
                for k in range(list_places(several, places)):
                    c, j = places[k] // np.uint32(CHUNK), places[k] % np.uint32(CHUNK)
                    more = np.uint64(counts[c, j]) - single
                    add_excess(excess, into[i, c, j], more, np.uint64(factors[i, c, j]), shift)
        for c in range(chunks):
            for j in range(CHUNK):
                count = np.uint64(counts[c, j])
                packed[j] = count | count * count << shift & squared
                products[j] = count * np.uint64(factors[i, c, j])
            if into.itemsize == 2:  # four bins are loaded at once
                for k in range(CHUNK // 4):
                    each, place = four[i, c, k], word * np.uint64(4 * k)
                    p, q = of + place, product_of + place
                    add_2(sums0 + two * np.uint64(np.uint16(each)), p, q)
                    add_2(sums1 + two * np.uint64(np.uint16(each >> np.uint64(16))), p + word, q + word)
                    add_2(sums2 + two * np.uint64(np.uint16(each >> np.uint64(32))), p + two, q + two)
                    add_2(sums3 + two * np.uint64(each >> np.uint64(48)), p + two + word, q + two + word)
            else:
                for j in range(0, CHUNK, 2):
                    place = word * np.uint64(j)
                    p, q = of + place, product_of + place
                    add_2(sums0 + two * np.uint64(into[i, c, j]), p, q)
                    add_2(sums1 + two * np.uint64(into[i, c, j + 1]), p + word, q + word)
            if poisson and not scattered:
                for j in range(CHUNK):
                    count, part = np.uint64(counts[c, j]), np.uint64(factors[i, c, j])
                    rest = whole - part
                    count -= np.uint64(count != zero)
                    packed[j] = count * (part * part >> shift)
                    products[j] = count * (rest * rest >> shift)
                for j in range(0, CHUNK, 2):
                    place = word * np.uint64(j)
                    p, q = of + place, product_of + place
                    add_2(more0 + two * np.uint64(into[i, c, j]), p, q)
                    add_2(more1 + two * np.uint64(into[i, c, j + 1]), p + word, q + word)
    return at, len(into)
