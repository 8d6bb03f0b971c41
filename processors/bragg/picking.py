# mypy: disable-error-code="untyped-decorator,misc"
"""Picking what stands out of the background: intense pixels, and peaks (local maxima with their neighbours).

A pixel is first compared with one number per bin that no intense pixel can be below; only the few that pass are
compared with the background interpolated at their own radius. 1.1 ms for 4.5 million pixels on one core.
Formulas: pyFAI's sparsify.cl (find_intense) and peakfinder.cl, in float32 as there.
"""

from math import isfinite

import numpy as np

from processors.bragg.clip_counts import is_bad
from stream.codec.compiler import kernel
from stream.codec.low_bytes import MARK

REACH = 0.52
"""Of a pixel from its bin's centre, in bins."""


@kernel
def bounds(mean, deviation, noise, cutoff_pick, cutoff_peak, stray, bound):  # type: ignore[no-untyped-def]
    """Below `bound` (bins + 1,) no pixel of a bin can be picked; the last entry is for pixels without a bin.

    A pixel lies within half a bin of its bin's centre (REACH, with rounding), so its interpolated background is at
    least the least of the centre's and of both ends'. cutoff_peak 0: no peaks. stray: some pixels without a bin may be
    picked (rounding at the ends of the radial range): test them all.
    """
    bins = mean.size
    for b in range(bins):
        low, narrow = mean[b], deviation[b]
        for j in (b - 1, b + 1):
            if 0 <= j < bins:
                low = min(low, mean[b] + REACH * (mean[j] - mean[b]))
                narrow = min(narrow, deviation[b] + REACH * (deviation[j] - deviation[b]))
            if 0 <= j < bins and not (isfinite(mean[j]) and isfinite(deviation[j])):
                low = -np.inf
        if not (isfinite(low) and isfinite(narrow)):
            bound[b] = -np.inf
            continue
        narrow = max(narrow, 0.0)
        sigma = np.sqrt(narrow * narrow + noise * noise)
        reach = max(noise, cutoff_pick * sigma)
        if cutoff_peak > 0:
            reach = min(reach, cutoff_peak * sigma)
        bound[b] = low + reach - 1e-3 - 1e-5 * (abs(low) + reach)
    bound[bins] = -np.inf if stray else np.inf


@kernel
def candidates(image, bin_of, bound, found):  # type: ignore[no-untyped-def]
    """Flat indices of the pixels above their bin's bound go to `found`; returns their number."""
    number = 0
    for i in range(image.size):
        if np.float32(image[i]) > bound[bin_of[i]]:
            found[number] = i
            number += 1
    return number


@kernel(inline="always")
def _corrected(raw, has_dark, dark, has_norm, norm, limits):  # type: ignore[no-untyped-def]
    """(raw - dark) / norm in float32, NaN where the pixel is not valid."""
    x = np.float32(raw)
    if has_dark:
        x -= dark
    if has_norm:
        x = x / norm if norm != 0 else np.float32(np.nan)
    return np.float32(np.nan) if is_bad(np.float64(raw), limits) or not isfinite(x) else x


@kernel
def correct(counts, dark, norm, limits, x):  # type: ignore[no-untyped-def]
    """x (float32) of some pixels; dark, norm: float32, those of these pixels, or empty."""
    d = w = np.float32(0.0)
    for k in range(counts.size):
        if dark.size:
            d = dark[k]
        if norm.size:
            w = norm[k]
        x[k] = _corrected(counts[k], dark.size > 0, d, norm.size > 0, w, limits)


@kernel(inline="always")
def _excess(x, place, mean, deviation, noise):  # type: ignore[no-untyped-def]
    """(x - background, sigma) of one pixel; (0, 0) where it is masked, dummy or outside the radial range."""
    if place < 0 or not isfinite(x):
        return np.float32(0.0), np.float32(0.0)
    j = int(place)
    if j + 1 < mean.size:
        d = place - np.float32(j)
        e = np.float32(1.0) - d
        background = mean[j] * e + mean[j + 1] * d
        sigma = deviation[j] * e + deviation[j + 1] * d
    else:
        background, sigma = mean[mean.size - 1], deviation[mean.size - 1]
    return x - background, np.sqrt(sigma * sigma + noise * noise)


@kernel
def pick(x, place, mean, deviation, noise, cutoff, picked):  # type: ignore[no-untyped-def]
    """Of the candidates those with x - background > max(noise, cutoff sigma): which they are, ascending, into `picked`;
    returns their number. x, place: float32 (candidates,), see `correct` and `Polar.position`."""
    kept = 0
    for k in range(x.size):
        excess, sigma = _excess(x[k], place[k], mean, deviation, noise)
        picked[kept] = k
        kept += excess > max(noise, cutoff * sigma)
    return kept


@kernel(inline="always")
def _look(seen, i):  # type: ignore[no-untyped-def]
    """The raw count of pixel i. seen: a `selection.Seen`."""
    count = seen.image[i]
    if seen.places.size == 0 or count != MARK:
        return count
    low, high = 0, seen.places.size - 1
    while low < high:
        middle = (low + high) // 2
        if seen.places[middle] < i:
            low = middle + 1
        else:
            high = middle
    return seen.counts[low]


@kernel
def peaks(  # type: ignore[no-untyped-def]
    seen, dark, norm, columns, found, x, place, position, mean, deviation, noise, cutoff, half, connected, limits, rows
):
    """Local maxima among the candidates: writes (index, pos0, pos1, intensity, sigma) to float64 `rows`.

    A peak has x - background >= cutoff sigma > 0, is the maximum of its (2 half + 1)^2 patch, which lies inside the
    image, and at least `connected` pixels of the patch (itself included) pass the same cutoff. Intensity and centroid
    take every pixel of the patch above the background; masked ones add nothing, whatever the noise is.
    seen: a `selection.Seen`. Returns the number of peaks.
    """
    lines = seen.image.size // columns
    kept = 0
    weight = offset = np.float32(0.0)
    for k in range(found.size):
        top, sigma = _excess(x[k], place[k], mean, deviation, noise)
        if not (top > 0 and top >= cutoff * sigma):
            continue
        i = found[k]
        row, column = i // columns, i % columns
        if row < half or column < half or row >= lines - half or column >= columns - half:
            continue
        active, total, variance, moment0, moment1 = 0, 0.0, 0.0, 0.0, 0.0
        highest = True
        for dy in range(-half, half + 1):
            for dx in range(-half, half + 1):
                j = i + dy * columns + dx
                if dark.size:
                    offset = dark[j]
                if norm.size:
                    weight = norm[j]
                around = _corrected(_look(seen, j), dark.size > 0, offset, norm.size > 0, weight, limits)
                value, error = _excess(around, position[j], mean, deviation, noise)
                if value > top:
                    highest = False
                    break
                if value > 0:
                    active += value >= cutoff * error
                    moment0 += dy * value
                    moment1 += dx * value
                    total += value
                    variance += error * error
            if not highest:
                break
        if highest and active >= connected:
            rows[kept, 0] = i
            rows[kept, 1] = row + moment0 / total
            rows[kept, 2] = column + moment1 / total
            rows[kept, 3] = total
            rows[kept, 4] = np.sqrt(variance)
            kept += 1
    return kept
