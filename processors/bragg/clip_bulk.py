# mypy: disable-error-code="untyped-decorator,misc"
"""Sigma clipping of corrected counts where nearly all pixels are never corrected.

What is kept by clipping is an interval of x = (raw - dark) / norm, and hardly a pixel lies near its ends. So a range of
x is chosen for each bin that lies well inside, from the frame before, and turned into a range of counts for each pixel:
the bulk, those within, need no more than to be added up, as whole numbers. The others are set apart, some in a hundred:
they are corrected, clipped one by one and looked at as candidates. At the end it is known whether the ranges did lie
inside; where not, the answer is not used. Decisions and sums are those of clip_values.

Sums over the bulk are those over all pixels of a bin, the same for every frame, less those of the pixels set apart.
"""

from math import isfinite

import numpy as np

from processors.bragg.bulk_sums import COUNTS, CROSS, FILLED, POWER
from processors.bragg.clip_counts import AZIMUTHAL, HYBRID, chauvenet
from stream.codec.compiler import kernel

SUMS = {"reassoc", "contract", "nsz"}
"""fastmath flags that let sums be vectorised; NaN and infinity keep their meaning."""
NUMBER, NORM, SQUARE, DARK = range(4)
"""Columns of the sums over all pixels of a bin: pixels, norm, norm^2, dark."""


@kernel
def correct_apart(apart, counts, own, number, most, limits, dark, norm, out, start, values):  # type: ignore[no-untyped-def]
    """Correct the pixels set apart: x, norm and variance of the raw counts (Poisson) into `values` float32 (3, ...), x
    NaN for bad ones. `out` (bins, 4): what they take away from the sums over all pixels; start (bins + 1,): in
    start[b + 1] how many of bin b are not bad. counts: int64, see `_meant`."""
    low, high, dummy_low, dummy_high = limits
    out[:] = 0.0
    start[:] = 0
    value, weights, offsets = values[0], values[1], values[2]
    for k in range(number):  # by themselves: pixels that are not in the cache are waited for together
        weights[k] = norm[apart[k]] if norm.size else np.float32(1.0)
    for k in range(number):
        offsets[k] = dark[apart[k]] if dark.size else np.float32(0.0)
    for k in range(number):
        raw = _meant(counts[k], most)
        good = low <= raw <= high and not dummy_low <= raw <= dummy_high
        value[k] = (np.float32(raw) - offsets[k]) / weights[k] if good else np.float32(np.nan)
    for k in range(number):
        b = np.uint64(own[k])
        weight = np.float64(weights[k])
        out[b, 0] += 1.0
        out[b, 1] += weight
        out[b, 2] += weight * weight
        out[b, 3] += np.float64(offsets[k])
        start[b + np.uint64(1)] += value[k] == value[k]
        offsets[k] = max(np.float32(_meant(counts[k], most)), np.float32(1.0))


@kernel(inline="always")
def _meant(count, most):  # type: ignore[no-untyped-def]
    """A raw count, whose bits mean a negative one beyond `most`, the largest count of the frame's type."""
    return np.float64(count) - (2.0 * np.float64(most) + 2.0 if count > most else 0.0)


@kernel
def sort_apart(number, start, values, own, value, weight, spread):  # type: ignore[no-untyped-def]
    """Sort what `correct_apart` left by bin, without the bad ones: bin b owns start[b]:start[b + 1]."""
    for b in range(start.size - 1):
        start[b + 1] += start[b]
    for k in range(number):
        x, b = values[0, k], own[k]
        if x == x:
            place = start[b]
            value[place], weight[place], spread[place] = x, values[1, k], values[2, k]
            start[b] = place + 1
    for b in range(start.size - 1, 0, -1):
        start[b] = start[b - 1]
    start[0] = 0


@kernel(fastmath=SUMS)
def _keep(value, weight, spread, mean, reach, sums):  # type: ignore[no-untyped-def]
    """Discard what is further than `reach` from the mean: NaN takes its place in `value`. Sums of w x, w, w^2, the
    variances and the number of what is left, into `sums` (5,)."""
    total, norm, square, variance, number = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(value.size):
        x = value[k]
        kept = abs(x - mean) <= reach
        w = np.float64(weight[k]) if kept else 0.0
        value[k] = x if kept else np.float32(np.nan)
        total += w * np.float64(x if kept else np.float32(0.0))
        norm += w
        square += w * w
        variance += np.float64(spread[k]) if kept else 0.0
        number += 1.0 if kept else 0.0
    sums[0], sums[1], sums[2], sums[3], sums[4] = total, norm, square, variance, number


@kernel(fastmath=SUMS)
def _scatter(bulk, value, weight, mean):  # type: ignore[no-untyped-def]
    """Sum of w^2 (x - mean)^2, of the bulk and of what is left of those set apart."""
    total = 0.0
    for k in range(value.size):
        x = value[k]
        distance = np.float64(weight[k]) * (np.float64(x) - mean) if x == x else 0.0
        total += distance * distance
    return total + max(bulk[5] - 2.0 * mean * bulk[4] + mean * mean * bulk[2], 0.0)


@kernel
def _clip_bin(pixels, bulk, value, weight, spread, members, model, cutoff, cycles, empty, within, kept, sums):  # type: ignore[no-untyped-def]
    """As clip_values does it, with a bulk of `pixels`; returns (mean, deviation) in float32 and whether none of the
    bulk, x in within[0] ... within[1], would have been discarded. kept: float32 (2,), what was not, over all cycles.
    value: becomes NaN where it is discarded. sums: float64 (5,), scratch."""
    kept[0], kept[1] = -np.inf, np.inf
    if pixels + value.size == 0:
        return empty, empty, True
    inside = True
    remaining = max(3, members)
    scatter = model == AZIMUTHAL or (model == HYBRID and cycles > 0)
    mean, deviation, reach = np.float32(0.0), np.float32(0.0), np.float32(np.inf)
    size = value.size
    for cycle in range(cycles + 1):
        if cycle:
            if not (isfinite(mean) and isfinite(deviation)):
                break
            reach = deviation * chauvenet(cutoff, remaining)
            kept[0], kept[1] = max(kept[0], mean - reach), min(kept[1], mean + reach)
            if pixels and (abs(within[0] - mean) > reach or abs(within[1] - mean) > reach):
                inside = False
        _keep(value, weight, spread, mean, reach, sums)
        left = np.int64(sums[4])
        discarded, size = size - left, left
        if cycle:
            if discarded == 0 and model != HYBRID:
                break
            if pixels + size == 0:
                return empty, empty, inside
            remaining = max(3, remaining - discarded)
            if model == HYBRID and (discarded == 0 or cycle == cycles):
                scatter = False
        total, norm, square, variance = bulk[0] + sums[0], bulk[1] + sums[1], bulk[2] + sums[2], bulk[3] + sums[3]
        mean = np.float32(total) / np.float32(norm)
        if scatter:
            variance = _scatter(bulk, value, weight, total / norm)
        deviation = np.sqrt(np.float32(variance) / np.float32(square))
        if cycle and discarded == 0:
            break
    return mean, deviation, inside


@kernel
def clip(  # type: ignore[no-untyped-def]
    added, totals, out, start, value, weight, spread, members, model, cutoff, cycles, empty, lower, upper, kept,
    mean, deviation, spoilt,
):  # fmt: skip
    """Clip every bin: writes float32 `mean` and `deviation` (bins,) and `kept` (bins, 2), see `_clip_bin`. `spoilt` is
    set where the bulk of a bin would have been clipped: there they are only near the truth.

    added: float64 (bins, 4), sums over the bulk, see `bulk_sums`. totals: (bins, 4), over all pixels. lower, upper: as
    given to `ranges`. members: pixels per bin, dynamically masked ones included.
    """
    bulk, within, kept_sums = np.zeros(6), np.zeros(2, np.float32), np.zeros(5)
    for b in range(members.size):
        pixels, counts = totals[b, NUMBER] - out[b, NUMBER], added[b, COUNTS]
        bulk[0] = counts - (totals[b, DARK] - out[b, DARK])
        bulk[1] = totals[b, NORM] - out[b, NORM]
        bulk[2] = totals[b, SQUARE] - out[b, SQUARE]
        bulk[3] = counts + pixels - added[b, FILLED]
        bulk[4], bulk[5] = added[b, CROSS], added[b, POWER]
        if pixels == 0.0:
            bulk[:] = 0.0
        within[0], within[1] = lower[b], upper[b]
        own = slice(start[b], start[b + 1])
        mean[b], deviation[b], inside = _clip_bin(
            np.int64(pixels), bulk, value[own], weight[own], spread[own], members[b], model, cutoff, cycles, empty,
            within, kept[b], kept_sums,
        )  # fmt: skip
        spoilt[b] = not inside


@kernel
def candidates(apart, number, values, counts, most, own, bound, found, x, raw):  # type: ignore[no-untyped-def]
    """Those of the pixels set apart that are above their bin's bound go to `found`, their x to `x` (float32), their
    counts to `raw` (int64); returns their number."""
    many = 0
    for k in range(number):
        found[many], x[many], raw[many] = apart[k], values[0, k], np.int64(_meant(counts[k], most))
        many += values[0, k] > bound[own[k]]
    return many
