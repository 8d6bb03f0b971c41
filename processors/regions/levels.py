"""The level of the background under a region: the mean of other regions' pixels, or the plane through them."""

import numpy as np
from numpy.typing import NDArray

from processors.regions.kernels import MOMENTS

Plane = NDArray[np.float64]


def shifted(sums: NDArray[np.float64], middle: NDArray[np.float64], other: NDArray[np.float64]) -> Plane:
    """Moments (15,) about `middle` (row, column), of those about `other`."""
    dy, dx = float(other[0] - middle[0]), float(other[1] - middle[1])
    found = np.empty(MOMENTS)
    n, y, x, yy, xy, xx = sums[:6]
    found[:6] = n, y + dy * n, x + dx * n, *_squares(n, y, x, yy, xy, xx, dy, dx)
    found[6:9] = sums[6], sums[7] + dy * sums[6], sums[8] + dx * sums[6]
    v, vy, vx, vyy, vxy, vxx = sums[9:]
    found[9:] = v, vy + dy * v, vx + dx * v, *_squares(v, vy, vx, vyy, vxy, vxx, dy, dx)
    return found


def mean(sums: NDArray[np.float64]) -> tuple[Plane, Plane]:
    """(level (3,), its covariance (3, 3)); NaN where no pixel is valid."""
    plane, spread = np.zeros(3), np.zeros((3, 3))
    if not sums[0]:
        return np.full(3, np.nan), spread
    plane[0] = sums[6] / sums[0]
    spread[0, 0] = sums[9] / sums[0] ** 2
    return plane, spread


def linear(sums: NDArray[np.float64]) -> tuple[Plane, Plane]:
    """The plane of least squares, every pixel with the same weight; NaN where its pixels lie on one line."""
    n, y, x, yy, xy, xx = sums[:6]
    scale = np.array([1.0, *(max(np.sqrt(each / n), 1.0) if n else 1.0 for each in (yy, xx))])
    normal = np.array([[n, y, x], [y, yy, xy], [x, xy, xx]]) / np.outer(scale, scale)
    if n < 3 or np.linalg.cond(normal) > 1e10:
        return np.full(3, np.nan), np.zeros((3, 3))
    inverse = np.linalg.inv(normal) / np.outer(scale, scale)
    v, vy, vx, vyy, vxy, vxx = sums[9:]
    weights = np.array([[v, vy, vx], [vy, vyy, vxy], [vx, vxy, vxx]])
    return inverse @ sums[6:9], inverse @ weights @ inverse


def _squares(
    n: float, y: float, x: float, yy: float, xy: float, xx: float, dy: float, dx: float
) -> tuple[float, float, float]:
    return yy + 2 * dy * y + dy * dy * n, xy + dy * x + dx * y + dy * dx * n, xx + 2 * dx * x + dx * dx * n
