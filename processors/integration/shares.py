"""Counts of pixels in one or two bins (see `pairs`), with and without Poisson errors, in whole numbers.

A share is a whole multiple of 2**-31, its square one of 2**-42 or so, so that the sums are the same whatever order they
are made in. Pixels with so small a share that this would tell are left out of the pairs. Counts above LARGEST are added
in float64, pixel after pixel, even ones and odd ones apart.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.integration.pairs import Pairs, collect, lose_pair
from processors.integration.plan import Plan
from processors.integration.squares import COPIES_BYTES
from processors.integration.weighted import BITS, add_excess
from stream.codec.compiler import kernel
from stream.codec.memory import add_2
from stream.events import Array

BLOCK = 256
LARGEST = 255
"""Of a byte: the largest count that is added in whole numbers."""
FINE = 42
"""Bits of the square of a share, if there is room for them."""
SOUND = 17
"""Bits that are not 0 of the smallest square: they are off by 4e-6 in an error bar, if a bin has nothing else."""


class Shares(NamedTuple):
    """What follows `raw, first` in a call of `tally_shares`.

    bins, shares: as in `Pairs`. low, span: as in `scatter.tally`. weights, dark: as in `Plan`. factors: uint32
    (pixels,), the shares times 2**BITS. sums: uint64 (copies, bins + 1, 2): sum of n, and of n * factor, of counts up
    to LARGEST. excess: the same size, or empty without errors: sums of (max(n, 1) - 1) times the squares of the
    share, and of what is left of it, shifted by `down`. large: float64 (8, bins + 1), of larger counts the sums that
    `add_pairs` has in `parts`. lost: as in `scatter`. scratch, parts: uint64 and float64 (2, BLOCK), of one thread.
    """

    bins: Array
    shares: NDArray[np.float32]
    low: np.uint64
    span: np.uint64
    down: np.uint64
    weights: NDArray[np.float32]
    dark: NDArray[np.float32]
    factors: NDArray[np.uint32]
    sums: NDArray[np.uint64]
    excess: NDArray[np.uint64]
    large: NDArray[np.float64]
    lost: NDArray[np.float64]
    scratch: NDArray[np.uint64]
    parts: NDArray[np.float64]


def bits_of_squares(entries: int) -> int:
    """How many the square of a share may have, if the largest bin has so many pixels."""
    return min(FINE, 64 - (LARGEST * max(entries, 1)).bit_length())


def least_share(entries: int) -> float:
    """The smallest share that a pixel may have."""
    return float(2.0 ** (-(bits_of_squares(entries) - SOUND) / 2))


def shares_of(
    plan: Plan, pairs: Pairs, limits: tuple[int, int], entries: int, lost: NDArray[np.float64]
) -> Shares | None:
    """For the pairs of a plan, made with `least_share`; None if the sums have no room. limits: the smallest and largest
    valid count."""
    bits = bits_of_squares(entries)
    if bits < BITS:
        return None
    low, high = limits
    factors = np.ldexp(pairs.shares.astype(np.float64), BITS).round().astype(np.uint32)
    copies = next(each for each in (4, 2, 1) if each == 1 or each * 16 * plan.n_bins <= COPIES_BYTES)
    sums = np.zeros((copies, plan.n_bins + 1, 2), np.uint64)
    excess = np.zeros_like(sums) if plan.model == 1 else sums[:0].copy()
    numbers = np.uint64(low), np.uint64(high - low), np.uint64(2 * BITS - bits)
    large, scratch, parts = np.zeros((8, plan.n_bins + 1)), np.zeros((2, BLOCK), np.uint64), np.zeros((2, BLOCK))
    kept = plan.weights, plan.dark
    return Shares(pairs.bins, pairs.shares, *numbers, *kept, factors, sums, excess, large, lost, scratch, parts)


@kernel
def tally_shares(  # type: ignore[no-untyped-def]
    raw, first, bins, shares, low, span, down, weights, dark, factors, sums, excess, large, lost, scratch, parts
):
    """Add the counts of pixels first ... first + raw.size - 1, unsigned views as in `scatter.tally`."""
    n, copies, nowhere, poisson = raw.size, len(sums), lost.shape[0] - 1, excess.size > 0
    bins, factors = bins[first : first + n], factors[first : first + n]
    into0, into1 = np.uint64(sums[0].ctypes.data), np.uint64(sums[1 % copies].ctypes.data)
    more0 = more1 = np.uint64(0)
    if poisson:
        more0, more1 = np.uint64(excess[0].ctypes.data), np.uint64(excess[1 % copies].ctypes.data)
    counts, products = scratch[0], scratch[1]
    of, product_of = np.uint64(counts.ctypes.data), np.uint64(products.ctypes.data)
    zero, word, two, whole = np.uint64(0), np.uint64(8), np.uint64(16), np.uint64(1 << BITS)
    full = n // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        pixels, into, share = raw[start : start + BLOCK], bins[start : start + BLOCK], factors[start : start + BLOCK]
        odd = several = zero
        for j in range(BLOCK):
            count = np.uint64(pixels[j])
            other = ((count - low) > span) | (count > np.uint64(LARGEST))
            odd |= np.uint64(other & (into[j] != nowhere))
            small = zero if other else count
            several |= small
            counts[j] = small
            products[j] = small * np.uint64(share[j])
        for j in range(0, BLOCK, 2):
            at = word * np.uint64(j)
            add_2(into0 + two * np.uint64(into[j]), of + at, product_of + at)
            add_2(into1 + two * np.uint64(into[j + 1]), of + at + word, product_of + at + word)
        if poisson and several > np.uint64(1):
            for j in range(BLOCK):
                count, part = counts[j], np.uint64(share[j])
                rest = whole - part
                count -= np.uint64(count != zero)
                counts[j] = count * (part * part >> down)
                products[j] = count * (rest * rest >> down)
            for j in range(0, BLOCK, 2):
                at = word * np.uint64(j)
                add_2(more0 + two * np.uint64(into[j]), of + at, product_of + at)
                add_2(more1 + two * np.uint64(into[j + 1]), of + at + word, product_of + at + word)
        if odd:
            _add_block(pixels, first + start, into, shares, low, span, weights, dark, poisson, large, lost, parts)
    for j in range(full, n):
        if bins[j] != nowhere:
            i, count = first + j, np.uint64(raw[j])
            offset = np.float64(dark[i]) if dark.size else 0.0
            _add(count, bins[j], low, span, down, np.uint64(factors[j]), sums, excess)
            weight = np.float64(weights[i])
            _add_odd(count, i, bins[j], np.float64(shares[i]), low, span, weight, offset, large, lost)


@kernel
def _add_block(  # type: ignore[no-untyped-def]
    pixels, first, into, shares, low, span, weights, dark, poisson, large, lost, parts
):
    """Those pixels of a BLOCK whose counts are not valid, or above LARGEST."""
    lower, upper, nowhere, flip, many = parts[0], parts[1], lost.shape[0] - 1, first & 1, False
    even, even_next, odd, odd_next = large[2 * flip], large[2 * flip + 1], large[2 - 2 * flip], large[3 - 2 * flip]
    for j in range(BLOCK):
        count, c = np.uint64(pixels[j]), np.float64(shares[first + j])
        value = np.float64(count) if (count - low <= span) & (count > np.uint64(LARGEST)) else 0.0
        many |= value > 0.0
        lower[j] = c * value
        upper[j] = (1.0 - c) * value
    if many:
        for j in range(0, BLOCK, 2):
            even[into[j]] += lower[j]
            even_next[into[j]] += upper[j]
            odd[into[j + 1]] += lower[j + 1]
            odd_next[into[j + 1]] += upper[j + 1]
    if many and poisson:
        even, even_next, odd, odd_next = (
            large[4 + 2 * flip], large[5 + 2 * flip], large[6 - 2 * flip], large[7 - 2 * flip]
        )  # fmt: skip
        for j in range(BLOCK):
            count, c = np.uint64(pixels[j]), np.float64(shares[first + j])
            more = np.float64(count) - 1.0 if (count - low <= span) & (count > np.uint64(LARGEST)) else 0.0
            lower[j] = c * c * more
            upper[j] = (1.0 - c) * (1.0 - c) * more
        for j in range(0, BLOCK, 2):
            even[into[j]] += lower[j]
            even_next[into[j]] += upper[j]
            odd[into[j + 1]] += lower[j + 1]
            odd_next[into[j + 1]] += upper[j + 1]
    for j in range(BLOCK):
        if (np.uint64(pixels[j]) - low) > span and into[j] != nowhere:
            i = first + j
            offset = np.float64(dark[i]) if dark.size else 0.0
            lose_pair(into[j], np.float64(shares[i]), np.float64(weights[i]), offset, lost)


@kernel(inline="always")
def _add(count, b, low, span, down, part, sums, excess):  # type: ignore[no-untyped-def]
    """One pixel, if its count is valid and not above LARGEST."""
    if (count - low <= span) & (count <= np.uint64(LARGEST)):
        sums[0, b, 0] += count
        sums[0, b, 1] += count * part
        if excess.size and count > np.uint64(1):
            add_excess(excess, b, count - np.uint64(1), part, down)


@kernel(inline="always")
def _add_odd(count, i, b, c, low, span, weight, offset, large, lost):  # type: ignore[no-untyped-def]
    """Pixel i, if its count is not valid, or above LARGEST."""
    if (count - low) > span:
        lose_pair(b, c, weight, offset, lost)
    elif count > np.uint64(LARGEST):
        value, rest, row = np.float64(count), 1.0 - c, 2 * (i & 1)
        large[row, b] += c * value
        large[row + 1, b] += rest * value
        large[row + 4, b] += c * c * (value - 1.0)
        large[row + 5, b] += rest * rest * (value - 1.0)


@kernel
def shares_apart(  # type: ignore[no-untyped-def]
    apart, number, others, chosen,
    bins, shares, low, span, down, weights, dark, factors, sums, excess, large, lost, scratch, parts,
):  # fmt: skip
    """As `tally_shares`, for `number` single pixels: `apart` as in `scatter.tally_apart`. The count of one that is
    among `others` goes into `chosen`."""
    nowhere = lost.shape[0] - 1
    for k in range(number):
        i, count = np.int64(apart[0, k]), apart[1, k]
        if bins[i] == nowhere:
            place = np.searchsorted(others, np.uint32(i))
            if place < others.size and others[place] == i:
                chosen[place] = count
            continue
        offset = np.float64(dark[i]) if dark.size else 0.0
        _add(count, bins[i], low, span, down, np.uint64(factors[i]), sums, excess)
        weight = np.float64(weights[i])
        _add_odd(count, i, bins[i], np.float64(shares[i]), low, span, weight, offset, large, lost)


@kernel
def choose(raw: Array, first: int, others: Array, chosen: Array) -> None:
    """The counts of those of `others` that are among the pixels first ... first + raw.size - 1, into `chosen`."""
    place = np.searchsorted(others, np.uint32(first))
    while place < others.size and np.int64(others[place]) < first + raw.size:
        chosen[place] = raw[np.int64(others[place]) - first]
        place += 1


def collect_shares(shares: Shares, sums: NDArray[np.float64]) -> None:
    """Add them to `sums` (bins + 1, 3), as `split.add_split` does."""
    collect(shares.large, sums)
    counts, products = shares.sums.sum(axis=0, dtype=np.uint64).T.astype(np.float64)
    lower = np.ldexp(products, -BITS)
    both = [(lower, counts - lower)]
    if shares.excess.size:
        square, rest = shares.excess.sum(axis=0, dtype=np.uint64).T.astype(np.float64)
        bits = 2 * BITS - int(shares.down)
        both.append((np.ldexp(square, -bits), np.ldexp(rest, -bits)))
    for column, (first, following) in enumerate(both):
        sums[:-1, column] += first[:-1]
        sums[1:-1, column] += following[:-2]
