"""Half-acquisition: the axis lies near an edge of the projections, a full turn shows both sides of the sample."""

import math

import numpy as np

from stream.events import Array

FULL_TURN = 360.0
"""Degrees that the angles have to cover: see `angles.coverage`."""


def size_of(columns: int, centre: float) -> int:
    """Pixels along a side of a picture of the whole sample."""
    return math.ceil(2 * max(centre, columns - 1 - centre)) + 1


def feathered(sinogram: Array, centre: float) -> tuple[Array, float]:
    """sinogram (angles, columns[, slices]) over 360 degrees -> one as wide as the whole sample, and its centre.

    A projection and the mirror image of the opposite one add up to twice a whole one: the columns that both see count
    in turn, from nothing at the edge to fully at the other end of the overlap. What only the other one sees is nothing.
    """
    columns = sinogram.shape[1]
    lacking = math.ceil(abs(columns - 1 - 2 * centre))
    x = np.arange(columns) - centre
    reach = min(centre, columns - 1 - centre) + 0.5  # half of the overlap
    share = np.sin(np.pi / 2 * np.clip((x / reach + 1) / 2, 0.0, 1.0)) ** 2
    left = centre < (columns - 1) / 2
    weight = 2 * (share if left else 1 - share)
    width = [(0, 0)] * sinogram.ndim
    width[1] = (lacking, 0) if left else (0, lacking)
    wide = np.pad(sinogram * weight.reshape(1, -1, *(1 for _ in sinogram.shape[2:])), width)
    return wide, centre + (lacking if left else 0)
