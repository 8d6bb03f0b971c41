"""Most pixels of a split pattern lie in one bin, or in two that follow each other, with shares that sum to 1: a bin and
a share say all of them. Without branches, and with half of the memory, they cost a third of what `split` takes.

What is different (a corner in three bins, the edge of the range, most of a cake) is left to `split`, pixel by pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.integration.plan import Plan
from stream.codec.compiler import kernel
from stream.events import Array

BLOCK = 512
WORTH_WHILE = 0.8
"""Share of the pixels that have to be of this kind."""
CLOSE = 1e-6
"""How far a sum of float32 shares may be from 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """bins: (pixels,), the lower bin, `n_bins` for pixels that are nowhere, or left to `split`. shares: float32
    (pixels,), how much of the pixel is in it; the rest is in the next bin.

    others: uint32 (n,), numbers of the pixels that are left; starts, chosen, coefs, weights, dark: of them, as in
    `Plan`.
    """

    bins: Array
    shares: NDArray[np.float32]
    others: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    chosen: Array
    coefs: NDArray[np.float32]
    weights: NDArray[np.float32]
    dark: NDArray[np.float32]


def pairs_of(plan: Plan, least: float = 0.0) -> Pairs | None:
    """Of a plan with split pixels, None if too few of them are of the kind. Who has a share below `least` is not."""
    pixels = len(plan.starts) - 1
    bins = np.full(pixels, plan.n_bins, plan.bins.dtype)
    shares = np.ones(pixels, np.float32)
    others = np.empty(pixels, np.uint32)
    most = int((1.0 - WORTH_WHILE) * pixels)
    count = _sort_out(plan.starts, plan.bins, plan.coefs, most, least, bins, shares, others)
    if count > most:
        return None
    others = others[:count].copy()
    begins, ends = plan.starts[others].astype(np.int64), plan.starts[others + 1].astype(np.int64)
    lengths = ends - begins
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.uint32)
    kept = np.repeat(begins - starts[:-1], lengths) + np.arange(lengths.sum())
    dark = plan.dark[others] if plan.dark.size else plan.dark
    return Pairs(bins, shares, others, starts, plan.bins[kept], plan.coefs[kept], plan.weights[others], dark)


@kernel
def _sort_out(
    starts: Array, bins: Array, coefs: Array, most: int, least: float, lower: Array, shares: Array, others: Array
) -> int:
    """Fill lower and shares for pixels of the kind, others with the rest; returns how many of these, if not > most."""
    count = 0
    for i in range(starts.size - 1):
        begin, entries = np.int64(starts[i]), np.int64(starts[i + 1]) - np.int64(starts[i])
        if entries == 0:
            continue
        c = np.float64(coefs[begin])
        if entries == 1 and abs(c - 1.0) <= CLOSE:
            lower[i] = bins[begin]
            continue
        if entries == 2 and np.int64(bins[begin + 1]) == np.int64(bins[begin]) + 1 and 0.0 < c < 1.0:
            rest = np.float64(coefs[begin + 1])
            if abs(c + rest - 1.0) <= CLOSE and min(c, rest) >= least:
                lower[i] = bins[begin]
                shares[i] = coefs[begin]
                continue
        if count == most:
            return most + 1
        others[count] = i
        count += 1
    return count


@kernel
def add_pairs(
    raw: Array,
    first: int,
    bins: Array,
    shares: Array,
    low: float,
    high: float,
    dummy_low: float,
    dummy_high: float,
    poisson: bool,
    weights: Array,
    dark: Array,
    parts: Array,
    lost: Array,
    lower: Array,
    upper: Array,
) -> None:
    """Add the pixels first ... first + raw.size - 1 of one frame, as `add_split` does: of any type, by any rule for
    valid ones. Counts are added by `shares`.

    parts: float64 (8, bins + 1): rows 0 to 3 sum of c*raw, and for `poisson` 4 to 7 of c^2*(max(raw, 1) - 1), of even
    pixels, of what they have in the next bin, and the same of odd ones: neighbours do not wait for each other.
    lower, upper: (BLOCK,), this thread's own.
    """
    n = raw.size
    bins = bins[first : first + n]
    shares = shares[first : first + n]
    nowhere = lost.shape[0] - 1
    even, even_next, odd, odd_next = parts[0], parts[1], parts[2], parts[3]
    even_sq, even_next_sq, odd_sq, odd_next_sq = parts[4], parts[5], parts[6], parts[7]
    full = n // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        pixels = raw[start : start + BLOCK]
        into = bins[start : start + BLOCK]
        share = shares[start : start + BLOCK]
        bad = np.int64(0)
        for j in range(BLOCK):
            value = np.float64(pixels[j])
            valid = (value >= low) & (value <= high) & ((value < dummy_low) | (value > dummy_high))
            good = value if valid else 0.0
            part = good * np.float64(share[j])
            lower[j] = part
            upper[j] = good - part
            bad |= np.int64((not valid) & (into[j] != nowhere))
        for j in range(0, BLOCK, 2):
            b, other = into[j], into[j + 1]
            even[b] += lower[j]
            even_next[b] += upper[j]
            odd[other] += lower[j + 1]
            odd_next[other] += upper[j + 1]
        if poisson:
            for j in range(BLOCK):
                value = np.float64(pixels[j])
                valid = (value >= low) & (value <= high) & ((value < dummy_low) | (value > dummy_high))
                excess = max(value, 1.0) - 1.0 if valid else 0.0
                c = np.float64(share[j])
                lower[j] = c * c * excess
                upper[j] = (1.0 - c) * (1.0 - c) * excess
            for j in range(0, BLOCK, 2):
                b, other = into[j], into[j + 1]
                even_sq[b] += lower[j]
                even_next_sq[b] += upper[j]
                odd_sq[other] += lower[j + 1]
                odd_next_sq[other] += upper[j + 1]
        if bad:
            _lose(pixels, into, share, low, high, dummy_low, dummy_high, first + start, weights, dark, lost)
    for j in range(full, n):
        value = np.float64(raw[j])
        if value >= low and value <= high and not (dummy_low <= value and value <= dummy_high):
            b = bins[j]
            c = np.float64(shares[j])
            even[b] += c * value
            even_next[b] += (1.0 - c) * value
            even_sq[b] += c * c * (max(value, 1.0) - 1.0)
            even_next_sq[b] += (1.0 - c) * (1.0 - c) * (max(value, 1.0) - 1.0)
    tail, places, last = raw[full:], bins[full:], shares[full:]
    _lose(tail, places, last, low, high, dummy_low, dummy_high, first + full, weights, dark, lost)


@kernel
def _lose(
    raw: Array,
    into: Array,
    shares: Array,
    low: float,
    high: float,
    dummy_low: float,
    dummy_high: float,
    first: int,
    weights: Array,
    dark: Array,
    lost: Array,
) -> None:
    nowhere = lost.shape[0] - 1
    for j in range(raw.size):
        value = np.float64(raw[j])
        invalid = not (value >= low and value <= high) or (dummy_low <= value and value <= dummy_high)
        if not invalid or into[j] == nowhere:
            continue
        offset = np.float64(dark[first + j]) if dark.size else 0.0
        lose_pair(into[j], np.float64(shares[j]), np.float64(weights[first + j]), offset, lost)


@kernel(inline="always")
def lose_pair(b, c, weight, offset, lost):  # type: ignore[no-untyped-def]
    """One pixel that is bad in this frame alone, with the share c in bin b and the rest in the next."""
    for _ in range(1 if c == 1.0 else 2):
        lost[b, 0] += 1.0
        lost[b, 1] += c
        lost[b, 2] += c * weight
        lost[b, 3] += c * weight * c * weight
        lost[b, 4] += c * offset
        lost[b, 5] += c * c
        lost[b, 6] += c * c * max(offset, 0.0)
        b += 1
        c = 1.0 - c


def collect(parts: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """Add the copies of `add_pairs` to `sums` (bins + 1, 3)."""
    for column in (0, 1):
        even, even_next, odd, odd_next = parts[4 * column : 4 * column + 4, :-1]
        sums[:-1, column] += even + odd
        sums[1:-1, column] += even_next[:-1] + odd_next[:-1]
