"""Rows and columns: turned, smaller, inside a circle."""

from typing import Literal

import numpy as np

from stream.events import Array


def rotated(image: Array, quarter_turns: int) -> Array:
    """By so many times 90 degrees, clockwise as it is shown with row 0 on top (Mantid's --rotation)."""
    found: Array = np.ascontiguousarray(np.rot90(image, -quarter_turns))
    return found


def rotated_shape(shape: tuple[int, int], quarter_turns: int) -> tuple[int, int]:
    """Rows and columns of an image turned so."""
    return (shape[1], shape[0]) if quarter_turns % 2 else shape


def scaled_down(image: Array, factor: int, how: Literal["mean", "sum"] = "mean") -> Array:
    """Blocks of factor x factor pixels become one, float32; rows and columns that fill no block are left out. A block
    with a NaN is NaN."""
    rows, columns = scaled_shape((image.shape[0], image.shape[1]), factor)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    total = blocks.sum(axis=(1, 3), dtype=np.float64)
    return np.asarray(total / factor**2 if how == "mean" else total, np.float32)


def scaled_shape(shape: tuple[int, int], factor: int) -> tuple[int, int]:
    """Rows and columns of an image scaled down so."""
    return shape[0] // factor, shape[1] // factor


def scaled_centre(centre: float, factor: int) -> float:
    """The column of the axis, counted from 0 with whole numbers in the middle of columns, in an image scaled down."""
    return (centre + 0.5) / factor - 0.5


def circle(shape: tuple[int, int], ratio: float) -> Array:
    """bool (rows, columns): inside the circle around the middle whose radius is `ratio` of the shorter half side;
    x^2 + y^2 < (ratio R)^2 (Mantid, tomopy's `circ_mask`)."""
    y, x = (np.arange(length) - (length - 1) / 2 for length in shape)
    radius = ratio * min(shape) / 2
    found: Array = y[:, None] ** 2 + x[None, :] ** 2 < radius**2
    return found
