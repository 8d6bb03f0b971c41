"""The level of the background under a region: the mean of other regions' pixels, or the plane through them.

A level is (3,): at the middle of the region, and its slopes along rows and columns; its covariance (3, 3) follows from
the variances of the pixels it is made of.
"""

import numpy as np

from processors.regions.kernels import LINEAR, MOMENTS
from stream.codec.compiler import kernel
from stream.events import Array

FLAT = 1e-9
"""Determinant of the correlation of the pixels' places below which they lie on one line."""


@kernel
def levels(
    sums: Array, middle: Array, first: Array, behind: Array, fits: Array, planes: Array, spreads: Array
) -> None:  # fmt: skip
    """Fill in `planes` (regions, 3) and `spreads` (regions, 3, 3) of every region with a background.

    sums: moments (regions, 15) about each region's own `middle` (row, column). behind[first[r] : first[r + 1]]: the
    regions that are the background of r. NaN without a valid pixel, or where a plane's pixels lie on one line.
    """
    together = np.empty(MOMENTS)
    for region in range(first.size - 1):
        if first[region] == first[region + 1]:
            continue
        together[:] = 0.0
        for other in behind[first[region] : first[region + 1]]:
            dy = middle[other, 0] - middle[region, 0]
            dx = middle[other, 1] - middle[region, 1]
            _add(sums[other], dy, dx, together)
        count = together[0]
        if count == 0.0:
            planes[region] = np.nan
        elif fits[region] == LINEAR:
            _plane(together, planes[region], spreads[region])
        else:
            planes[region, 0] = together[6] / count
            spreads[region, 0, 0] = together[9] / (count * count)


@kernel
def _add(sums: Array, dy: float, dx: float, found: Array) -> None:
    """Add moments about another place that lies (dy, dx) from ours."""
    for first, second in ((0, True), (6, False), (9, True)):
        n, y, x = sums[first], sums[first + 1], sums[first + 2]
        found[first] += n
        found[first + 1] += y + dy * n
        found[first + 2] += x + dx * n
        if second:
            found[first + 3] += sums[first + 3] + 2.0 * dy * y + dy * dy * n
            found[first + 4] += sums[first + 4] + dy * x + dx * y + dy * dx * n
            found[first + 5] += sums[first + 5] + 2.0 * dx * x + dx * dx * n


@kernel
def _plane(sums: Array, plane: Array, spread: Array) -> None:
    """Least squares, every pixel with the same weight: p = A^-1 b, its covariance A^-1 W A^-1."""
    n, y, x, yy, xy, xx = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    mean_y, mean_x = y / n, x / n
    var_y, var_x, cov = yy / n - mean_y * mean_y, xx / n - mean_x * mean_x, xy / n - mean_y * mean_x
    det = var_y * var_x - cov * cov
    if not (var_y > 0.0 and var_x > 0.0 and det > FLAT * var_y * var_x):
        plane[:] = np.nan
        return
    inverse = np.empty((3, 3))
    inverse[1, 1], inverse[2, 2], inverse[1, 2] = var_x / det / n, var_y / det / n, -cov / det / n
    inverse[2, 1] = inverse[1, 2]
    for i in range(1, 3):
        inverse[0, i] = inverse[i, 0] = -(mean_y * inverse[1, i] + mean_x * inverse[2, i])
    inverse[0, 0] = 1.0 / n - (mean_y * inverse[1, 0] + mean_x * inverse[2, 0])
    weights = np.array(((sums[9], sums[10], sums[11]), (sums[10], sums[12], sums[13]), (sums[11], sums[13], sums[14])))
    half = np.zeros((3, 3))
    for i in range(3):
        plane[i] = inverse[i, 0] * sums[6] + inverse[i, 1] * sums[7] + inverse[i, 2] * sums[8]
        for j in range(3):
            for k in range(3):
                half[i, j] += inverse[i, k] * weights[k, j]
    for i in range(3):
        for j in range(3):
            spread[i, j] = 0.0
            for k in range(3):
                spread[i, j] += half[i, k] * inverse[k, j]
