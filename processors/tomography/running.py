"""A running median along the rows of an image: one window that is kept in order, not one that is sorted anew."""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array


def medians(values: Array, size: int) -> Array:
    """values (rows, columns), finite -> float64, the same shape: the median of `size` neighbours in the row, an odd
    number; beyond its ends a row is its own mirror image, as in `scipy.ndimage.median_filter`. Raises ValueError."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a median of {size} neighbours: take an odd number")
    found = np.empty(values.shape)
    _medians(np.ascontiguousarray(values, np.float64), size, found)
    return found


def compile_kernels() -> None:
    """Before the frames come."""
    medians(np.zeros((1, 1)), 1)


@kernel
def _medians(values, size, found):  # type: ignore[no-untyped-def]
    rows, columns = values.shape
    window, half = np.empty(size), size // 2
    for row in range(rows):
        line = values[row]
        for place in range(size):
            new, at = line[_mirrored(place - half, columns)], place
            while at > 0 and window[at - 1] > new:
                window[at] = window[at - 1]
                at -= 1
            window[at] = new
        found[row, 0] = window[half]
        for column in range(1, columns):
            old, new = line[_mirrored(column - 1 - half, columns)], line[_mirrored(column + half, columns)]
            at = np.searchsorted(window, old)
            while at + 1 < size and window[at + 1] < new:
                window[at] = window[at + 1]
                at += 1
            while at > 0 and window[at - 1] > new:
                window[at] = window[at - 1]
                at -= 1
            window[at] = new
            found[row, column] = window[half]


@kernel
def _mirrored(place, columns):  # type: ignore[no-untyped-def]
    folded = place % (2 * columns)
    return folded if folded < columns else 2 * columns - 1 - folded
