"""What a projection is cleaned of before it becomes part of a volume: a slope of background, what is not the sample,
and how much beam there was. The steps are those of the manual to Recon3D's later versions."""

import numpy as np

from stream.errors import ConfigError
from stream.events import Array

CLOSED = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
"""A disc of radius 1."""


def without_slope(images: Array, border: int, good: Array) -> Array:
    """images (n, rows, columns) less the plane through the pixels within `border` of the edges, by least squares.

    good: bool (rows, columns), pixels that can be believed. Raises ConfigError where the border has too few of them.
    """
    rows, columns = images.shape[1:]
    row, column = np.mgrid[:rows, :columns]
    edge = (np.minimum(row, rows - 1 - row) < border) | (np.minimum(column, columns - 1 - column) < border)
    terms = np.stack([np.ones((rows, columns)), row - (rows - 1) / 2, column - (columns - 1) / 2])
    used = edge & good
    if np.linalg.matrix_rank(terms[:, used]) < 3:
        raise ConfigError([("border", f"{int(used.sum())} good pixels at the border tell no plane: give more of them")])
    found, *_ = np.linalg.lstsq(terms[:, used].T, images[:, used].T.astype(np.float64), rcond=None)
    cleaned: Array = images - np.tensordot(found.T, terms, axes=1)
    return cleaned


def region(total: Array, level: float, least_area: int) -> Array:
    """bool (rows, columns): where the sum over all tilts is above `level`, holes filled, closed with a disc of radius
    1, and without regions of fewer than `least_area` pixels."""
    from scipy import ndimage

    above = ndimage.binary_closing(ndimage.binary_fill_holes(np.nan_to_num(total) > level), CLOSED)
    labels, count = ndimage.label(above)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    found: Array = sizes[labels] >= max(least_area, 1)
    return found


def factors(totals: Array) -> Array:
    """float64 (n,): what makes all totals equal to their mean; 1 for those that are not above 0."""
    there = totals > 0
    mean = totals[there].mean() if there.any() else 1.0
    return np.where(there, mean / np.where(there, totals, 1.0), 1.0)
