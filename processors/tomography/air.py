"""What the beam meets beside the sample: the first and last points of every projection."""

from typing import Literal, TypeAlias

import numpy as np

from stream.events import Array

By: TypeAlias = Literal["subtract", "divide"]


def without_air(sinogram: Array, points: int, by: By) -> Array:
    """sinogram (angles, columns[, slices]) -> float64, the same shape.

    subtract: less the straight line through the means of the first and the last `points` columns. divide: by the mean
    of both. A projection without any such point, or whose air is not positive where it is to divide, is NaN.
    """
    values = np.array(sinogram, np.float64)
    columns = values.shape[1]
    count = min(points, columns // 2)
    left, right = _mean(values[:, :count]), _mean(values[:, columns - count :])
    left, right = np.where(np.isfinite(left), left, right), np.where(np.isfinite(right), right, left)
    if by == "divide":
        level = (left + right) / 2
        return values / np.where(level > 0, level, np.nan)[:, None]
    middle = (count - 1) / 2
    part = (np.arange(columns) - middle) / (columns - 1 - 2 * middle)
    part = part.reshape(1, -1, *(1 for _ in values.shape[2:]))
    found: Array = values - (left[:, None] * (1 - part) + right[:, None] * part)
    return found


def absorption(transmitted: Array, points: int) -> Array:
    """(angles, columns) -> -ln(transmitted / open beam), float64; NaN where it is not positive.

    The open beam of a projection is the mean of its first or of its last `points` columns, whichever is brighter: at
    least on one side there must be nothing in the beam.
    """
    values = np.array(transmitted, np.float64)
    values[~(values > 0)] = np.nan
    count = min(points, values.shape[1])
    left, right = _mean(values[:, :count]), _mean(values[:, values.shape[1] - count :])
    found: Array = -np.log(values / np.fmax(left, right)[:, None])
    return found


def _mean(values: Array) -> Array:
    """Over the columns that are there; NaN without any."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        found: Array = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
    return found
