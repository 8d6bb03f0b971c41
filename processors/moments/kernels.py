"""The sums over frames that every pixel keeps, several frames in one pass over them.

A pixel's signal in a frame is (raw - offset) * gain; where it is below a threshold, or the raw count is bad, it is 0.
Several frames are added in one pass because the sums are larger than the frames: ten float64 beside a uint16.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array

TOGETHER = 8
"""Frames in one pass; a multiple of 4."""
BLOCK = 512
"""Pixels whose signals stay in the processor's nearest cache."""
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
            found[i] = 0.0
            bad[i] += 1


@kernel
def _largest(signal: Array, number: int, maximum: Array, peak: Array) -> None:
    for i in range(signal.size):
        higher = (signal[i] > maximum[i]) | ((signal[i] == maximum[i]) & (number < peak[i]))
        maximum[i] = signal[i] if higher else maximum[i]
        peak[i] = number if higher else peak[i]


@kernel
def _net_and_largest(
    raw: Array, offset: Array, gain: Array, threshold: float, number: int, maximum: Array, peak: Array, found: Array
) -> None:
    for i in range(raw.size):
        net = (np.float64(raw[i]) - offset[i]) * gain[i]
        net = net if net >= threshold else 0.0
        found[i] = net
        higher = (net > maximum[i]) | ((net == maximum[i]) & (number < peak[i]))
        maximum[i] = net if higher else maximum[i]
        peak[i] = number if higher else peak[i]


@kernel(fastmath={"contract"})
def _weigh(
    one: Array, two: Array, three: Array, four: Array, w1: float, w2: float, w3: float, w4: float, sums: Array
) -> None:
    for i in range(sums.size):
        sums[i] += (w1 * one[i] + w2 * two[i]) + (w3 * three[i] + w4 * four[i])


@kernel
def add(
    raw: Array, numbers: Array, weights: Array, offset: Array, gain: Array, limits: Array, sums: Array, maximum: Array,
    peak: Array, bad: Array,
) -> None:  # fmt: skip
    """Add n <= 8 frames, raw (8, pixels), of which numbers int64 (n,) are given.

    weights: float64 (sums, 8), of a frame in each sum, 0 for frames that are not there. offset, gain: float64
    (pixels,). limits: low, high, dummy_low, dummy_high of valid raw counts, and the threshold of signals. sums: float64
    (sums, pixels). maximum float64, peak int64 (pixels,): the largest signal and the number of its frame, the lowest
    if there are several. bad: int32 (pixels,), in how many frames the raw count was.
    """
    signal = np.zeros((TOGETHER, BLOCK), np.float64)
    for first in range(0, raw.shape[1], BLOCK):
        last = min(first + BLOCK, raw.shape[1])
        shift, factor, most, where = offset[first:last], gain[first:last], maximum[first:last], peak[first:last]
        for k in range(numbers.size):
            line, found = raw[k, first:last], signal[k, : last - first]
            if _all_good(line, limits):
                _net_and_largest(line, shift, factor, limits[4], numbers[k], most, where, found)
            else:
                _net(line, shift, factor, limits[4], found)
                _without_bad(line, limits, bad[first:last], found)
                _largest(found, numbers[k], most, where)
        for k in range(0, numbers.size, 4):
            one, two, three, four = signal[k], signal[k + 1], signal[k + 2], signal[k + 3]
            for j in range(sums.shape[0]):
                w1, w2, w3, w4 = weights[j, k], weights[j, k + 1], weights[j, k + 2], weights[j, k + 3]
                _weigh(one, two, three, four, w1, w2, w3, w4, sums[j, first:last])


@kernel
def signal_of(raw: Array, offset: Array, gain: Array, limits: Array, bad: Array, found: Array) -> float:
    """The signals of one frame, raw (pixels,), into `found` float64 (pixels,), see `add`. Returns their sum."""
    _net(raw, offset, gain, limits[4], found)
    _without_bad(raw, limits, bad, found)
    total = 0.0
    for value in found:
        total += value
    return total


@kernel
def derive(
    sums: Array, steps: Array, middles: Array, lowest: float, centre: Array, covariance: Array, skew: Array,
    kurtosis: Array,
) -> None:  # fmt: skip
    """What the sums say of every pixel; NaN where it cannot be had.

    sums: float64 (sums, pixels) in the order of `processors.moments.sums.powers`, of positions (p - middle) / step.
    centre, skew, kurtosis: float64 (motors, pixels); covariance (pairs, pixels). A number that rounding could
    change by more than 1e-6 of itself is NaN: see docs/mosaicity.md.
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
