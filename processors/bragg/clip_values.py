# mypy: disable-error-code="untyped-decorator,misc"
"""Sigma clipping of corrected intensities, pixel by pixel: for dark, flat, solid angle, polarization and float frames.

Pixels are gathered once into scratch memory sorted by bin; the cycles run there, in cache, and compact it as they
discard. With weights w the deviation is sqrt(sum w^2 (x - mean)^2 / sum w^2) by two passes: pyFAI's one-pass OpenCL
update is off by 0.3 % where w varies.
"""

from math import isfinite

import numpy as np

from processors.bragg.clip_counts import AZIMUTHAL, HYBRID, chauvenet, is_bad
from stream.codec.compiler import kernel

SUMS = {"reassoc", "contract", "nsz"}
"""fastmath flags that let sums be vectorised; NaN and infinity keep their meaning."""


@kernel
def gather(  # type: ignore[no-untyped-def]
    image, dark, norm, variance, bin_of, start, limits, fill, corrected, value, weight, spread
):
    """Correct every pixel, x = (raw - dark) / norm, and put it at the end of its bin's scratch.

    corrected: float32 (pixels,), x of every pixel, NaN where invalid (no bin, dummy, NaN, norm 0), for the picking.
    value, weight, spread: float32 scratch of bin b from start[b] on, fill[b] of them: x, norm and the variance of the
    raw counts. dark, norm, variance: float32 (pixels,) or empty (0, 1, and max(raw, 1): Poisson, before the dark).
    """
    bins = fill.size
    fill[:] = 0
    for i in range(image.size):
        raw = np.float32(image[i])
        x, w = raw, np.float32(1.0)
        if dark.size:
            x -= dark[i]
        if norm.size:
            w = norm[i]
            x = x / w if w != 0 else np.float32(np.nan)
        v = variance[i] if variance.size else max(raw, np.float32(1.0))
        if is_bad(np.float64(image[i]), limits) or not isfinite(x):
            x = np.float32(np.nan)
        corrected[i] = x
        b = bin_of[i]
        if b < bins and x == x and isfinite(v):
            k = start[b] + fill[b]
            value[k], weight[k], spread[k] = x, w, v
            fill[b] += 1


@kernel(fastmath=SUMS)
def _sums(value, weight, spread, size):  # type: ignore[no-untyped-def]
    """Sums of w x, w, w^2 and the variances."""
    total, norm, square, variance = 0.0, 0.0, 0.0, 0.0
    for k in range(size):
        w = np.float64(weight[k])
        total += w * value[k]
        norm += w
        square += w * w
        variance += spread[k]
    return total, norm, square, variance


@kernel(fastmath=SUMS)
def _scatter(value, weight, size, mean):  # type: ignore[no-untyped-def]
    """Sum of w^2 (x - mean)^2: the second pass."""
    total = 0.0
    for k in range(size):
        distance = np.float64(weight[k]) * (value[k] - mean)
        total += distance * distance
    return total


@kernel
def _discard(value, weight, spread, size, mean, reach):  # type: ignore[no-untyped-def]
    """Close the gaps of the pixels further than `reach` from the mean; returns how many are left."""
    left = 0
    for k in range(size):
        x, w, v = value[k], weight[k], spread[k]
        value[left], weight[left], spread[left] = x, w, v
        left += not abs(x - mean) > reach
    return left


@kernel
def _clip_bin(value, weight, spread, members, model, cutoff, cycles, empty):  # type: ignore[no-untyped-def]
    """Clip one bin; returns (mean, deviation) in float32."""
    size = value.size
    if size == 0:
        return empty, empty
    remaining = max(3, members)
    scatter = model == AZIMUTHAL or (model == HYBRID and cycles > 0)
    total, norm, square, variance = _sums(value, weight, spread, size)
    mean = np.float32(total) / np.float32(norm)
    if scatter:
        variance = _scatter(value, weight, size, total / norm)
    deviation = np.sqrt(np.float32(variance) / np.float32(square))
    for cycle in range(cycles):
        if not (isfinite(mean) and isfinite(deviation)):
            break
        left = _discard(value, weight, spread, size, mean, deviation * chauvenet(cutoff, remaining))
        discarded, size = size - left, left
        if discarded == 0 and model != HYBRID:
            break
        if size == 0:
            return empty, empty
        remaining = max(3, remaining - discarded)
        if model == HYBRID and (discarded == 0 or cycle + 1 == cycles):
            scatter = False
        total, norm, square, variance = _sums(value, weight, spread, size)
        mean = np.float32(total) / np.float32(norm)
        if scatter:
            variance = _scatter(value, weight, size, total / norm)
        deviation = np.sqrt(np.float32(variance) / np.float32(square))
        if discarded == 0:
            break
    return mean, deviation


@kernel
def clip(  # type: ignore[no-untyped-def]
    start, fill, value, weight, spread, members, model, cutoff, cycles, empty, mean, deviation
):
    """Clip every bin of the gathered pixels: writes float32 `mean` and `deviation` (bins,), see `clipping.clip`."""
    for b in range(fill.size):
        inside = slice(start[b], start[b] + fill[b])
        mean[b], deviation[b] = _clip_bin(
            value[inside], weight[inside], spread[inside], members[b], model, cutoff, cycles, empty
        )
