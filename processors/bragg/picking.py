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
def _excess(image, i, dark, norm, position, mean, deviation, noise, limits):  # type: ignore[no-untyped-def]
    """(x - background, sigma) of one pixel, x = (raw - dark) / norm; (0, 0) where it is masked, dummy or outside the
    radial range. dark, norm: float32 (pixels,), or empty."""
    nothing = np.float32(0.0)
    place = position[i]
    if place < 0 or is_bad(np.float64(image[i]), limits):
        return nothing, nothing
    x = np.float32(image[i])
    if dark.size:
        x -= dark[i]
    if norm.size:
        x = x / norm[i] if norm[i] != 0 else np.float32(np.nan)
    if not isfinite(x):
        return nothing, nothing
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
def pick(  # type: ignore[no-untyped-def]
    image, dark, norm, found, number, position, mean, deviation, noise, cutoff, limits, picked
):
    """Keep the candidates with x - background > max(noise, cutoff sigma) in `picked`; returns their number."""
    kept = 0
    for k in range(number):
        i = found[k]
        excess, sigma = _excess(image, i, dark, norm, position, mean, deviation, noise, limits)
        if excess > max(noise, cutoff * sigma):
            picked[kept] = i
            kept += 1
    return kept


@kernel
def peaks(  # type: ignore[no-untyped-def]
    image, dark, norm, columns, found, number, position, mean, deviation, noise, cutoff, half, connected, limits, rows
):
    """Local maxima among the candidates: writes (index, pos0, pos1, intensity, sigma) to float64 `rows`.

    A peak has x - background >= cutoff sigma > 0, is the maximum of its (2 half + 1)^2 patch, which lies inside the
    image, and at least `connected` pixels of the patch (itself included) pass the same cutoff. Intensity and centroid
    take every pixel of the patch above the background; masked ones add nothing, whatever the noise is.
    Returns the number of peaks.
    """
    lines = image.size // columns
    kept = 0
    for k in range(number):
        i = found[k]
        y, x = i // columns, i % columns
        if y < half or x < half or y >= lines - half or x >= columns - half:
            continue
        top, sigma = _excess(image, i, dark, norm, position, mean, deviation, noise, limits)
        if not (top > 0 and top >= cutoff * sigma):
            continue
        active, total, variance, moment0, moment1 = 0, 0.0, 0.0, 0.0, 0.0
        highest = True
        for dy in range(-half, half + 1):
            for dx in range(-half, half + 1):
                j = i + dy * columns + dx
                value, error = _excess(image, j, dark, norm, position, mean, deviation, noise, limits)
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
            rows[kept, 1] = y + moment0 / total
            rows[kept, 2] = x + moment1 / total
            rows[kept, 3] = total
            rows[kept, 4] = np.sqrt(variance)
            kept += 1
    return kept
