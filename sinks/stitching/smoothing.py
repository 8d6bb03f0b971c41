"""Smooth values and derivatives of a series whose points need not be evenly spaced."""

import numpy as np

from stream.events import Array

POINTS, ORDER = 11, 2


def smoothed(time: Array, values: Array, points: int = POINTS, order: int = ORDER) -> tuple[Array, Array]:
    """(smooth values, derivative per unit of time), (n,) each: a polynomial of least squares through the `points`
    nearest neighbours, by their own times; for even spacing that of Savitzky and Golay (at the ends scipy's "interp").

    NaN stays NaN and does not count; so does a point with too few neighbours for the polynomial.
    """
    smooth, slope = np.full(len(values), np.nan), np.full(len(values), np.nan)
    there = np.flatnonzero(np.isfinite(values) & np.isfinite(time))
    for position, row in enumerate(there):
        first = min(max(position - points // 2, 0), max(len(there) - points, 0))
        near = there[first : first + points]
        scale = float(np.ptp(time[near]))
        if len(near) <= order or not scale > 0:
            continue
        x = (time[near] - time[row]) / scale
        powers = np.vander(x, order + 1, increasing=True)
        found, _, rank, _ = np.linalg.lstsq(powers, values[near], rcond=None)
        if rank > order:
            smooth[row], slope[row] = found[0], found[1] / scale
    return smooth, slope
