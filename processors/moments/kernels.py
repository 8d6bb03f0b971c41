"""The sums over frames that every pixel keeps, several frames in one pass over them.

A pixel's signal in a frame is (raw - offset) * gain, or 0 where that is below a threshold. Where the raw count is bad
there is none: it adds nothing to the sums, and is never the largest.
Several frames are added in one pass because the sums are larger than the frames, ten float64 beside a uint16; and
because a motor that stands still meanwhile makes half of the sums multiples of others.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array

TOGETHER = 16
"""Frames whose signals are weighed at once; a multiple of 8."""
BLOCK = 128
"""Pixels whose signals, of so many frames, and whose sums stay in the processor's nearest cache."""
ROUNDING = 64 * np.finfo(np.float64).eps
"""What the rounding of some thousand additions may make of a sum, relative to it."""
SURE = 1e-6


@kernel
def _all_good(raw: Array, limits: Array) -> bool:
    lowest, highest, unknown = raw[0], raw[0], 0
    for i in range(raw.size):
        value = raw[i]
        lowest = value if value < lowest else lowest
        highest = value if value > highest else highest
        unknown += value != value  # NaN
    first, last = np.float64(lowest), np.float64(highest)
    return unknown == 0 and first >= limits[0] and last <= limits[1] and (last < limits[2] or first > limits[3])


@kernel
def _net(raw: Array, offset: Array, gain: Array, threshold: float, found: Array) -> None:
    for i in range(raw.size):
        net = (np.float64(raw[i]) - offset[i]) * gain[i]
        found[i] = net if net >= threshold else 0.0


@kernel
def _without_bad(raw: Array, limits: Array, bad: Array, found: Array) -> None:
    low, high, dummy_low, dummy_high = limits[0], limits[1], limits[2], limits[3]
    for i in range(raw.size):
        value = np.float64(raw[i])
        if not (value >= low and value <= high) or (value >= dummy_low and value <= dummy_high):
            found[i] = -np.inf
            bad[i] += 1


@kernel
def _add_nothing(signal: Array) -> None:
    """Bad signals, after the highest was looked for: 0 in the sums."""
    for i in range(signal.size):
        signal[i] = 0.0 if signal[i] == -np.inf else signal[i]


@kernel
def _highest(signal: Array, found: Array) -> None:
    """Of signals (8, n) the first pixels; found (pixels,) becomes the highest of them and of what it was."""
    for i in range(found.size):
        one = max(max(signal[0, i], signal[1, i]), max(signal[2, i], signal[3, i]))
        two = max(max(signal[4, i], signal[5, i]), max(signal[6, i], signal[7, i]))
        found[i] = max(found[i], max(one, two))


@kernel
def _remember(signal: Array, numbers: Array, best: Array, maximum: Array, peak: Array) -> None:
    """Where the highest of these signals is higher than any before: it, and its frame; numbers must ascend."""
    for i in range(maximum.size):
        if best[i] > maximum[i] or (best[i] == maximum[i] and numbers[0] < peak[i]):
            which = 0
            while signal[which, i] < best[i]:
                which += 1
            if best[i] > maximum[i] or numbers[which] < peak[i]:
                maximum[i], peak[i] = best[i], numbers[which]


@kernel(fastmath={"contract"})
def _weigh(s: Array, w: Array, sums: Array) -> None:
    """sums (pixels,) += w (8,) times the first signals of s (8, n): whole rows, since what is cut out of both
    directions is not added in vector code."""
    a, b, c, d, e, f, g, h = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
    w0, w1, w2, w3, w4, w5, w6, w7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
    for i in range(sums.size):
        one = (w0 * a[i] + w1 * b[i]) + (w2 * c[i] + w3 * d[i])
        sums[i] += one + ((w4 * e[i] + w5 * f[i]) + (w6 * g[i] + w7 * h[i]))


@kernel(fastmath={"contract"})
def _multiple(found: Array, factor: float, sums: Array) -> None:
    for i in range(sums.size):
        sums[i] += factor * found[i]


@kernel
def add(
    raw: Array, numbers: Array, bounds: Array, weights: Array, of: Array, factors: Array, offset: Array, gain: Array,
    limits: Array, sums: Array, maximum: Array, peak: Array, bad: Array,
) -> None:  # fmt: skip
    """Add frames, raw (n, pixels), numbers int64 (n,), ascending, in parts: bounds int64 (parts + 1,), of 16 at most.

    weights: float64 (parts, sums, 16), of a frame in each sum, 0 for frames that are not there. of: int64 (parts,
    sums): sum k is factors[part, k] times sum of[part, k] of these frames, so that it need not be made itself; k where
    there is none. offset, gain: float64 (pixels,). limits: low, high, dummy_low, dummy_high of valid raw counts, and
    the threshold of signals. sums: float64 (sums, pixels). maximum float64, peak int64 (pixels,): the largest signal
    and the number of its frame, the lowest if there are several; -inf where the pixel was bad in every frame. bad:
    int32 (pixels,), in how many frames the raw count was.
    """
    signal, made, best = np.zeros((TOGETHER, BLOCK)), np.empty((sums.shape[0], BLOCK)), np.empty(BLOCK)
    good = np.array([_all_good(raw[k], limits) for k in range(numbers.size)])
    for first in range(0, raw.shape[1], BLOCK):
        last = min(first + BLOCK, raw.shape[1])
        shift, factor, size = offset[first:last], gain[first:last], last - first
        highest = best[:size]
        for part in range(bounds.size - 1):
            begin, count = bounds[part], bounds[part + 1] - bounds[part]
            rows, any_bad = 8 * ((count + 7) // 8), False
            for k in range(count):
                line, found = raw[begin + k, first:last], signal[k, :size]
                _net(line, shift, factor, limits[4], found)
                if not good[begin + k] and not _all_good(line, limits):
                    _without_bad(line, limits, bad[first:last], found)
                    any_bad = True
            for k in range(count, rows):
                signal[k, :size] = signal[0, :size]
            highest[:] = -np.inf
            for k in range(0, rows, 8):
                _highest(signal[k : k + 8], highest)
            _remember(signal, numbers[begin : begin + count], highest, maximum[first:last], peak[first:last])
            if any_bad:
                for k in range(rows):
                    _add_nothing(signal[k, :size])
            for j in range(sums.shape[0]):
                if of[part, j] == j:
                    found = made[j, :size]
                    found[:] = 0
                    for k in range(0, rows, 8):
                        _weigh(signal[k : k + 8], weights[part, j, k : k + 8], found)
            for j in range(sums.shape[0]):
                _multiple(made[of[part, j], :size], factors[part, j], sums[j, first:last])


@kernel
def signal_of(raw: Array, offset: Array, gain: Array, limits: Array, bad: Array, found: Array) -> float:
    """The signals of one frame, raw (pixels,), into `found` float64 (pixels,), see `add`. Returns their sum."""
    _net(raw, offset, gain, limits[4], found)
    _without_bad(raw, limits, bad, found)
    _add_nothing(found)
    total = 0.0
    for value in found:
        total += value
    return total


@kernel
def _without_meaning(sums: Array, motors: int, covariance: Array, steps: Array) -> None:
    """NaN for the covariances, (pairs,), of one pixel that no distribution has: |c12| > sigma1 sigma2.

    sums: float64 (sums,), of this pixel. Variances that are negative are NaN already.
    """
    total = sums[0]
    for a in range(motors):
        first = a * motors - a * (a - 1) // 2
        for b in range(a + 1, motors):
            second = b * motors - b * (b - 1) // 2
            pair, scale = first + b - a, (steps[a] * steps[b]) ** 2
            allowed = covariance[first] * covariance[second]
            rounding = ROUNDING * abs(sums[1 + motors + first] * sums[1 + motors + second]) / (total * total) * scale
            if not covariance[pair] ** 2 <= allowed + rounding:
                covariance[pair] = np.nan


@kernel
def derive(
    sums: Array, steps: Array, middles: Array, lowest: float, centre: Array, covariance: Array, skew: Array,
    kurtosis: Array,
) -> None:  # fmt: skip
    """What the sums say of every pixel; NaN where it cannot be had.

    sums: float64 (sums, pixels) in the order of `processors.moments.sums.powers`, of positions (p - middle) / step.
    centre, skew, kurtosis: float64 (motors, pixels); covariance (pairs, pixels). A number that rounding could
    change by more than 1e-6 of itself is NaN: see docs/mosaicity.md. So are covariances that are none, because of
    negative signals: with a motor whose variance is negative, or beyond what two variances allow.
    """
    motors = steps.size
    pairs = motors * (motors + 1) // 2
    for p in range(sums.shape[1]):
        total = sums[0, p]
        if not total > lowest:
            centre[:, p] = np.nan
            covariance[:, p] = np.nan
            skew[:, p] = np.nan
            kurtosis[:, p] = np.nan
            continue
        pair = 0
        for a in range(motors):
            first = sums[1 + a, p] / total
            centre[a, p] = middles[a] + steps[a] * first
            for b in range(a, motors):
                second = sums[1 + motors + pair, p] / total
                value = second - first * (sums[1 + b, p] / total)
                if a == b:
                    third = sums[1 + motors + pairs + a, p] / total
                    fourth = sums[1 + 2 * motors + pairs + a, p] / total
                    if abs(value) <= ROUNDING * abs(second):
                        value = 0.0
                    if value < 0:
                        value = np.nan
                    skew[a, p] = np.nan
                    kurtosis[a, p] = np.nan
                    if value > 0:
                        cube = third - 3.0 * first * second + 2.0 * first * first * first
                        fold = fourth - 4.0 * first * third + 6.0 * first * first * second - 3.0 * first**4
                        scale = value * np.sqrt(value)
                        if ROUNDING * np.sqrt(abs(second * fourth)) < SURE * scale:
                            skew[a, p] = np.sign(steps[a]) * cube / scale
                        if ROUNDING * abs(fourth) < SURE * value * value:
                            kurtosis[a, p] = fold / (value * value) - 3.0
                covariance[pair, p] = value * steps[a] * steps[b]
                pair += 1
        _without_meaning(sums[:, p], motors, covariance[:, p], steps)
