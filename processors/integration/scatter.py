"""One bin per pixel (no splitting): each pixel is added to its bin, in the order of the pixels.

All kernels take a flat range of the image (`raw`, whose first pixel has the number `first`), so that a decoder can call
them block by block while the block is still in the cache. They only ever add: begin a frame with zeroed accumulators.

`bins` (pixels,) unsigned: the bin of every pixel; the number of bins itself stands for "nowhere" (masked pixels).
`lost` (bins + 1, 7) float64: what pixels that are bad in this frame alone take away from the sums over all pixels,
which are the same for every frame: columns as in `totals`.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array

BLOCK = 512
"""Pixels prepared at a time in `scratch`, with SIMD, before they are scattered: 4 kB of the first-level cache."""
COPIES = 4
"""Copies of the accumulator: neighbouring pixels fall into the same bin, and would wait for each other's store."""
ENTRIES, COUNT, NORM, NORM_SQ, DARK, COEF_SQ, DARK_VARIANCE = range(7)
COLUMNS = 7


@kernel
def totals_scatter(bins: Array, weights: Array, dark: Array, totals: Array) -> None:
    """Sums over all usable pixels of each bin into `totals` (bins + 1, 7) float64.

    Columns: entries, count = sum c, sum c*norm, sum (c*norm)^2, sum c*dark, sum c^2, sum c^2*max(dark, 0); here c = 1.
    weights: float32 (pixels,), norm of each pixel. dark: float32 (pixels,), or empty for no dark.
    """
    for i in range(bins.size):
        b = bins[i]
        weight = np.float64(weights[i])
        totals[b, 0] += 1.0
        totals[b, 1] += 1.0
        totals[b, 2] += weight
        totals[b, 3] += weight * weight
        totals[b, 4] += np.float64(dark[i]) if dark.size else 0.0
        totals[b, 5] += 1.0
        totals[b, 6] += max(np.float64(dark[i]), 0.0) if dark.size else 0.0


@kernel
def tally(
    raw: Array,
    first: int,
    bins: Array,
    low: np.uint64,
    span: np.uint64,
    shift: np.uint64,
    weights: Array,
    dark: Array,
    sums: Array,
    lost: Array,
    scratch: Array,
) -> None:
    """Counts of an unsigned integer detector: signal and Poisson variance in one addition per pixel.

    Signed images are passed as unsigned views: their negative flags become counts above every limit. A count is valid
    if count - low <= span in 64-bit arithmetic. A valid count n adds n, and 1 << shift unless it is 0: the lower bits
    of `sums` (1 to COPIES, bins + 1) uint64 hold the sum, the upper ones how many are not 0, which is all that
    sum(max(n, 1)) = sum(n) + zeros needs. Whoever prepares `shift` sees to it that neither can overflow.

    scratch: uint64 (BLOCK,), this thread's own. Measured on EIGER2 4M, 4.5 Mpixel: 2.0 ms, a bare
    `sums[bins[i]] += raw[i]` 2.4 ms (float64) or 1.6 ms (uint64).
    """
    n = raw.size
    bins = bins[first : first + n]
    one = np.uint64(1) << shift
    zero = np.uint64(0)
    copies = len(sums)
    nowhere = lost.shape[0] - 1
    sums0, sums1, sums2, sums3 = sums[0], sums[1 % copies], sums[2 % copies], sums[3 % copies]
    full = n // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        pixels = raw[start : start + BLOCK]
        into = bins[start : start + BLOCK]
        bad = zero
        for j in range(BLOCK):
            count = np.uint64(pixels[j])
            invalid = (count - low) > span
            packed = count + (zero if count == zero else one)
            scratch[j] = zero if invalid else packed
            bad |= np.uint64(invalid and into[j] != nowhere)
        for j in range(0, BLOCK, COPIES):
            sums0[into[j]] += scratch[j]
            sums1[into[j + 1]] += scratch[j + 1]
            sums2[into[j + 2]] += scratch[j + 2]
            sums3[into[j + 3]] += scratch[j + 3]
        if bad:
            _lose(pixels, into, low, span, first + start, weights, dark, lost)
    for j in range(full, n):
        count = np.uint64(raw[j])
        if (count - low) <= span:
            sums0[bins[j]] += count + (zero if count == zero else one)
    _lose(raw[full:], bins[full:], low, span, first + full, weights, dark, lost)


@kernel
def _lose(
    raw: Array, into: Array, low: np.uint64, span: np.uint64, first: int, weights: Array, dark: Array, lost: Array
) -> None:
    nowhere = lost.shape[0] - 1
    for j in range(raw.size):
        b = into[j]
        if (np.uint64(raw[j]) - low) > span and b != nowhere:
            weight = np.float64(weights[first + j])
            lost[b, 0] += 1.0
            lost[b, 1] += 1.0
            lost[b, 2] += weight
            lost[b, 3] += weight * weight
            lost[b, 4] += np.float64(dark[first + j]) if dark.size else 0.0
            lost[b, 5] += 1.0
            lost[b, 6] += max(np.float64(dark[first + j]), 0.0) if dark.size else 0.0


@kernel
def tally_apart(
    apart: Array,
    number: int,
    bins: Array,
    low: np.uint64,
    span: np.uint64,
    shift: np.uint64,
    weights: Array,
    dark: Array,
    sums: Array,
    lost: Array,
) -> None:
    """As `tally`, for `number` single pixels: `apart` uint64 (2, ...) has their places, ascending, and their counts."""
    one, zero = np.uint64(1) << shift, np.uint64(0)
    for k in range(number):
        place, count = np.int64(apart[0, k]), apart[1, k]
        if (count - low) <= span:
            sums[0, bins[place]] += count + (zero if count == zero else one)
        else:
            _lose(apart[1, k : k + 1], bins[place : place + 1], low, span, place, weights, dark, lost)


@kernel
def add(
    raw: Array,
    first: int,
    bins: Array,
    low: float,
    high: float,
    dummy_low: float,
    dummy_high: float,
    model: int,
    weights: Array,
    dark: Array,
    sums: Array,
    lost: Array,
) -> None:
    """Any type of pixel, any rule for valid ones: low <= raw <= high, and not in [dummy_low, dummy_high].
    (low and high are finite, so that NaN and infinite values never pass.)

    sums (bins + 1, 3) float64: sum of raw; and for model 1 (poisson) sum of max(raw, 1), for model 2 (exact
    azimuthal) sum of signal^2 and of signal*norm, with signal = raw - dark.
    """
    nowhere = lost.shape[0] - 1
    for j in range(raw.size):
        b = bins[first + j]
        if b == nowhere:
            continue
        value = np.float64(raw[j])
        if not (low <= value <= high) or (dummy_low <= value <= dummy_high):
            weight = np.float64(weights[first + j])
            lost[b, 0] += 1.0
            lost[b, 1] += 1.0
            lost[b, 2] += weight
            lost[b, 3] += weight * weight
            lost[b, 4] += np.float64(dark[first + j]) if dark.size else 0.0
            lost[b, 5] += 1.0
            lost[b, 6] += max(np.float64(dark[first + j]), 0.0) if dark.size else 0.0
            continue
        sums[b, 0] += value
        if model == 1:
            sums[b, 1] += max(value, 1.0)
        elif model == 2:
            signal = value - np.float64(dark[first + j]) if dark.size else value
            sums[b, 1] += signal * signal
            sums[b, 2] += signal * np.float64(weights[first + j])


@kernel
def unpack(
    sums: Array, shift: np.uint64, other: Array, other_shift: np.uint64, totals: Array, lost: Array, out: Array
) -> None:
    """From the packed sums of `tally` (copies, bins + 1), twice, to those of `add` with model 1, `out` (bins, 3)."""
    mask, other_mask = (np.uint64(1) << shift) - np.uint64(1), (np.uint64(1) << other_shift) - np.uint64(1)
    for b in range(out.shape[0]):
        packed, other_packed = np.uint64(0), np.uint64(0)
        for copy in range(sums.shape[0]):
            packed += sums[copy, b]
        for copy in range(other.shape[0]):
            other_packed += other[copy, b]
        total = (packed & mask) + (other_packed & other_mask)
        filled = (packed >> shift) + (other_packed >> other_shift)
        out[b, 0] = np.float64(total)
        out[b, 1] = np.float64(total + np.uint64(totals[b, 0] - lost[b, 0]) - filled)
