"""How bright the beam was while each projection was taken, told by where there is nothing in it."""

import numpy as np

from stream.events import Array


def by_region(image: Array, region: tuple[slice, slice]) -> tuple[Array, float]:
    """image (rows, columns), transmission -> float32, divided by the mean of the region, and that mean.

    Mantid's normalisation by an air region and tomopy's `normalize_roi`; Mantid's divides by the sum over the largest
    sum of the stack, which differs by a factor for the whole scan, that a live scan cannot know, and which leaves the
    air darker than 1. Raises ValueError where the mean is not above 0.
    """
    part = image[region]
    there = np.isfinite(part)
    level = checked(float(part[there].mean(dtype=np.float64)) if there.any() else float("nan"))
    return (np.asarray(image, np.float64) / level).astype(np.float32), level


def checked(level: float) -> float:
    """The mean of an air region. Raises ValueError where it is not above 0."""
    if not level > 0:
        raise ValueError(f"the air region has a mean of {level:g}: choose one that nothing ever covers")
    return level


def by_edges(image: Array, points: int = 1) -> Array:
    """image (rows, columns) -> float32: each row over the straight line through the means of its first and of its last
    `points` columns, at these columns' ends: tomopy's `normalize_bg`. NaN where such a mean is not above 0."""
    values = np.asarray(image, np.float64)
    columns = values.shape[1]
    left, right = values[:, :points].mean(axis=1), values[:, columns - points :].mean(axis=1)
    usable = (left > 0) & (right > 0)
    line = left[:, None] + (right - left)[:, None] * (np.arange(columns) / max(columns - 1, 1))
    with np.errstate(invalid="ignore"):
        return (values / np.where(usable[:, None], line, np.nan)).astype(np.float32)
