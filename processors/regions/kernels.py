"""One pass over the pixels of all regions of a frame, and before it one over those that are a background.

A level is p0 + p1 (row - row0) + p2 (column - column0) about the middle of the region that it is subtracted from. Its
covariance follows from the variances of the background's pixels: the net counts of a region have the error
sqrt(sum v + q C q), q = (number, sum of row - row0, sum of column - column0) of its pixels.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array

MOMENTS = 15
"""n, y, x, yy, xy, xx; I, yI, xI; V, yV, xV, yyV, xyV, xxV."""
PIXELS, COUNTS, VARIANCE, NET, NET_VARIANCE, MAX, LEVEL = range(7)
COM_Y, COM_X, COM_Y_VARIANCE, COM_X_VARIANCE, WIDTH_Y, WIDTH_X = range(7, 13)
COLUMNS = 13
MEAN, LINEAR = range(2)


@kernel
def moments(
    raw: Array, starts: Array, index: Array, row: Array, column: Array, middle: Array, which: Array, correct: Array,
    dark: Array, gain: Array, limits: Array, found: Array,
) -> None:  # fmt: skip
    """Sums over the valid pixels of the regions in `which`, about each one's middle, into `found` (regions, 15).

    limits: low, high, dummy_low, dummy_high. dark, gain: float32, by pixel of the list; used where `correct` holds 1.
    """
    low, high, dummy_low, dummy_high = limits[0], limits[1], limits[2], limits[3]
    corrected = correct[0] == 1
    for region in which:
        sums = found[region]
        sums[:] = 0.0
        for i in range(starts[region], starts[region + 1]):
            value = np.float64(raw[index[i]])
            if not (value >= low and value <= high) or (value >= dummy_low and value <= dummy_high):
                continue
            if not np.isfinite(value):
                continue
            variance = max(value, 0.0)
            if corrected:
                value = (value - dark[i]) * gain[i]
                variance = variance * gain[i] * gain[i]
            y = np.float64(row[i]) - middle[region, 0]
            x = np.float64(column[i]) - middle[region, 1]
            sums[0] += 1.0
            sums[1] += y
            sums[2] += x
            sums[3] += y * y
            sums[4] += x * y
            sums[5] += x * x
            sums[6] += value
            sums[7] += y * value
            sums[8] += x * value
            sums[9] += variance
            sums[10] += y * variance
            sums[11] += x * variance
            sums[12] += y * y * variance
            sums[13] += x * y * variance
            sums[14] += x * x * variance


@kernel
def measure(
    raw: Array, starts: Array, index: Array, row: Array, column: Array, along_y: Array, along_x: Array, bin_y: Array,
    bin_x: Array, first_y: Array, first_x: Array, middle: Array, centre: Array, plane: Array, covariance: Array,
    correct: Array, dark: Array, gain: Array, limits: Array, found: Array, sum_y: Array, number_y: Array, sum_x: Array,
    number_x: Array,
) -> None:  # fmt: skip
    """All numbers of every region but the widths into `found` (regions, 13), and the profiles: the sum of each bin;
    those of region r begin at first_y[r], first_x[r]. NaN where a number cannot be had.

    number_y, number_x: pixels of each bin on the list; those that do not count in this frame are taken off.
    """
    low, high, dummy_low, dummy_high = limits[0], limits[1], limits[2], limits[3]
    corrected = correct[0] == 1
    sum_y[:] = 0.0
    sum_x[:] = 0.0
    for region in range(starts.size - 1):
        p0, p1, p2 = plane[region, 0], plane[region, 1], plane[region, 2]
        row0, column0 = middle[region, 0], middle[region, 1]
        centre_y, centre_x = centre[region, 0], centre[region, 1]
        offset_y, offset_x = first_y[region], first_x[region]
        number, counts, variances, net, most = 0, 0.0, 0.0, 0.0, -np.inf
        rows, columns = 0.0, 0.0
        mass_y, mass_x, vy, vx, vyy, vxx = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        line, of_line = -1, 0.0  # neighbours mostly share a bin along y: no pixel waits for the store of the one before
        for i in range(starts[region], starts[region + 1]):
            value = np.float64(raw[index[i]])
            valid = value >= low and value <= high and np.isfinite(value)
            if not valid or (value >= dummy_low and value <= dummy_high):
                number_y[offset_y + bin_y[i]] -= 1
                number_x[offset_x + bin_x[i]] -= 1
                continue
            variance = max(value, 0.0)
            if corrected:
                value = (value - dark[i]) * gain[i]
                variance = variance * gain[i] * gain[i]
            y, x = np.float64(row[i]) - row0, np.float64(column[i]) - column0
            above = value - p0 - p1 * y - p2 * x
            number += 1
            counts += value
            variances += variance
            net += above
            rows += y
            columns += x
            most = max(most, above)
            y, x = np.float64(along_y[i]) - centre_y, np.float64(along_x[i]) - centre_x
            mass_y += y * above
            mass_x += x * above
            vy += y * variance
            vx += x * variance
            vyy += y * y * variance
            vxx += x * x * variance
            sum_x[offset_x + bin_x[i]] += above
            if bin_y[i] != line:
                if line >= 0:
                    sum_y[offset_y + line] += of_line
                line, of_line = bin_y[i], 0.0
            of_line += above
        if line >= 0:
            sum_y[offset_y + line] += of_line
        out = found[region]
        out[:] = np.nan
        out[PIXELS] = number
        if number == 0:
            continue
        out[COUNTS] = counts
        out[VARIANCE] = variances
        out[NET] = net
        spread = covariance[region]
        out[NET_VARIANCE] = (
            variances
            + number * number * spread[0, 0]
            + rows * rows * spread[1, 1]
            + columns * columns * spread[2, 2]
            + 2.0 * (number * rows * spread[0, 1] + number * columns * spread[0, 2] + rows * columns * spread[1, 2])
        )
        out[MAX] = most if np.isfinite(p0) else np.nan
        out[LEVEL] = (number * p0 + rows * p1 + columns * p2) / number
        if net > 0.0:
            at_y, at_x = mass_y / net, mass_x / net
            out[COM_Y] = centre_y + at_y
            out[COM_X] = centre_x + at_x
            out[COM_Y_VARIANCE] = (vyy - 2.0 * at_y * vy + at_y * at_y * variances) / (net * net)
            out[COM_X_VARIANCE] = (vxx - 2.0 * at_x * vx + at_x * at_x * variances) / (net * net)


@kernel
def width(values: Array, part: float) -> float:
    """Full width, in bins, of a profile at `part` of its maximum: between the crossings next to the maximum on either
    side, each linear between two bins that have a value. NaN where the profile does not fall so far within its ends."""
    best, at = 0.0, -1
    for i in range(values.size):
        if values[i] > best:
            best, at = values[i], i
    if at < 0:
        return np.nan
    level = best * part
    edges = np.full(2, np.nan)
    for side in range(2):
        step = 1 if side else -1
        before, i = at, at + step
        while 0 <= i < values.size:
            if np.isfinite(values[i]):
                if values[i] < level:
                    edges[side] = before + (i - before) * (values[before] - level) / (values[before] - values[i])
                    break
                before = i
            i += step
    return float(edges[1] - edges[0])


@kernel
def widths(
    sum_y: Array, number_y: Array, first_y: Array, sum_x: Array, number_x: Array, first_x: Array, step: Array,
    part: float, found: Array,
) -> None:  # fmt: skip
    """The profiles become means per pixel, NaN where there is none; their widths go into `found`."""
    for i in range(sum_y.size):
        sum_y[i] = sum_y[i] / number_y[i] if number_y[i] else np.nan
    for i in range(sum_x.size):
        sum_x[i] = sum_x[i] / number_x[i] if number_x[i] else np.nan
    for region in range(first_y.size - 1):
        found[region, WIDTH_Y] = width(sum_y[first_y[region] : first_y[region + 1]], part) * step[region, 0]
        found[region, WIDTH_X] = width(sum_x[first_x[region] : first_x[region + 1]], part) * step[region, 1]
