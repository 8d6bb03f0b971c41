"""The median of 3 x 3 pixels."""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array


@kernel
def median_of_all(image: Array, found: Array) -> None:
    """Every pixel becomes the median of itself and its eight neighbours; edges are mirrored (scipy: reflect).

    image, found: float64 (rows, columns).
    """
    rows, columns = image.shape
    nine = np.empty(9)
    for y in range(rows):
        above, below = max(y - 1, 0), min(y + 1, rows - 1)
        for x in range(columns):
            left, right = max(x - 1, 0), min(x + 1, columns - 1)
            nine[0], nine[1], nine[2] = image[above, left], image[above, x], image[above, right]
            nine[3], nine[4], nine[5] = image[y, left], image[y, x], image[y, right]
            nine[6], nine[7], nine[8] = image[below, left], image[below, x], image[below, right]
            for i in range(1, 9):
                value, j = nine[i], i - 1
                while j >= 0 and nine[j] > value:
                    nine[j + 1] = nine[j]
                    j -= 1
                nine[j + 1] = value
            found[y, x] = nine[4]


@kernel
def median_of_bad(image: Array, bad: Array, found: Array, left_over: Array) -> None:
    """Bad pixels become the median of those of their eight neighbours that are good; without any they stay bad, which
    `left_over` (rows, columns) then says. Good pixels are copied."""
    rows, columns = image.shape
    some = np.empty(8)
    for y in range(rows):
        for x in range(columns):
            left_over[y, x] = False
            if not bad[y, x]:
                found[y, x] = image[y, x]
                continue
            count = 0
            for other in range(max(y - 1, 0), min(y + 2, rows)):
                for beside in range(max(x - 1, 0), min(x + 2, columns)):
                    if not bad[other, beside]:
                        some[count] = image[other, beside]
                        count += 1
            if count:
                found[y, x] = np.median(some[:count])
            else:
                left_over[y, x] = True
