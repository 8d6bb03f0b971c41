"""Single pixels set right: limits, outliers, medians, and the logarithm."""

from typing import Literal, TypeAlias

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array

Outlier: TypeAlias = Literal["bright", "dark", "both"]
FLOOR = 1e-6
"""Transmission below this counts as this: Mantid's and tomopy's number."""
NO_PIXEL = "no pixel of the projection is a number"


def cut_off(image: Array, part: float, low: float, high: float) -> Array:
    """Pixels below low + part (high - low) become `low`; float32. Mantid's cut-off, whose low and high are the smallest
    and the largest value of the whole stack."""
    return np.where(image < cut_limit(part, low, high), np.float32(low), image).astype(np.float32)


def cut_limit(part: float, low: float, high: float) -> float:
    """Of `cut_off`."""
    return low + part * (high - low)


def clipped(image: Array, low: float | None, high: float | None) -> Array:
    """Values outside become the limit; NaN stays. float32."""
    found: Array = np.clip(np.asarray(image, np.float32), low, high)
    return found


def median(image: Array, size: int) -> Array:
    """The median of size x size pixels, edges mirrored about the middle of the outermost pixel (scipy: mirror, as
    Mantid has it). float32. Mend what is NaN first."""
    if size == 3:
        return _of_nine(image, "reflect")
    from scipy.ndimage import median_filter

    found: Array = median_filter(np.asarray(image, np.float32), size, mode="mirror")
    return found


def without_outliers(image: Array, difference: float, size: int = 3, kind: Outlier = "bright") -> tuple[Array, int]:
    """Pixels that are `difference` or more above (bright), below (dark) the median of size x size pixels around them,
    or either, become that median; float32, and how many. Mantid Imaging's and tomopy's `remove_outlier`."""
    values = np.asarray(image, np.float32)
    if size == 3:
        around = _of_nine(values, "symmetric")
    else:
        from scipy.ndimage import median_filter

        around = median_filter(values, size, mode="reflect")
    off = values - around
    wrong = {
        "bright": off >= difference,
        "dark": off <= -difference,
        "both": np.abs(off) >= difference,
    }[kind]
    return np.where(wrong, around, values), int(wrong.sum())


def mended(image: Array) -> tuple[Array, int]:
    """Pixels that are not finite become what lies on the straight line between their good neighbours in the row, at an
    edge the nearest one; rows without any good pixel, the line between the rows around them. float32, and how many.

    Raises ValueError where no pixel is good.
    """
    found = np.array(image, np.float32)
    bad = np.empty(len(found), np.int64)
    _between(found, bad)
    count = int(bad.sum())
    if not count:
        return found, 0
    if count == found.size:
        raise ValueError(NO_PIXEL)
    for empty_row, first, last, part in rows_between(bad == found.shape[1]):
        found[empty_row] = (1 - part) * found[first] + part * found[last]
    return found, count


def rows_between(empty: Array) -> list[tuple[int, int, int, np.float64]]:
    """empty: bool (rows), not all. Of each such row: which it is, the good ones before and behind it, and how much of
    the way from one to the other it lies; at an edge both are the nearest one."""
    rows, found = np.arange(len(empty)), []
    for row in np.flatnonzero(empty):
        before, behind = rows[(rows < row) & ~empty], rows[(rows > row) & ~empty]
        first = before[-1] if len(before) else behind[0]
        last = behind[0] if len(behind) else first
        part = np.float64(0.0 if last == first else (row - first) / (last - first))
        found.append((int(row), int(first), int(last), part))
    return found


def line_integrals(transmission: Array, floor: float = FLOOR) -> tuple[Array, int]:
    """-ln of the transmission, Beer and Lambert: the absorption along the lines, float32. What is below `floor` counts
    as that, and is counted; NaN stays NaN."""
    found = np.empty(transmission.shape, np.float32)
    return found, int(_logarithm(np.asarray(transmission, np.float32), floor, found))


def _of_nine(image: Array, edges: Literal["reflect", "symmetric"]) -> Array:
    """The median of 3 x 3; edges as numpy calls them: scipy says mirror and reflect."""
    wide = np.pad(np.asarray(image, np.float32), 1, mode=edges)
    found = np.empty(image.shape, np.float32)
    _medians(wide, found)
    return found


@kernel(fastmath={"nnan", "nsz"})
def _medians(wide, found):  # type: ignore[no-untyped-def]
    """By exchanges that do not ask which is larger, so that many pixels are worked on at once: three and three sorted,
    then the median of the largest least, the middle one, and the least largest (J. L. Smith, XCELL 23 (1996) 16)."""
    for row in range(found.shape[0]):
        above, middle, below, into = wide[row], wide[row + 1], wide[row + 2], found[row]
        for column in range(found.shape[1]):
            a, b, c = above[column], above[column + 1], above[column + 2]
            d, e, f = middle[column], middle[column + 1], middle[column + 2]
            g, h, i = below[column], below[column + 1], below[column + 2]
            b, c = min(b, c), max(b, c)
            e, f = min(e, f), max(e, f)
            h, i = min(h, i), max(h, i)
            a, b = min(a, b), max(a, b)
            d, e = min(d, e), max(d, e)
            g, h = min(g, h), max(g, h)
            b, c = min(b, c), max(b, c)
            e, f = min(e, f), max(e, f)
            h, i = min(h, i), max(h, i)
            lowest, highest = max(a, max(d, g)), min(c, min(f, i))
            central = max(min(b, e), min(max(b, e), h))
            into[column] = max(min(lowest, highest), min(max(lowest, highest), central))


@kernel
def _between(found, bad):  # type: ignore[no-untyped-def]
    """Pixels that are not finite, in place, in rows that have a good one; bad: how many of each row they are."""
    columns = found.shape[1]
    for row in range(found.shape[0]):
        line = found[row]
        number = 0
        for column in range(columns):
            number += not np.isfinite(line[column])
        bad[row] = number
        if number in (0, columns):
            continue
        before, column = -1, 0
        while column < columns:
            if np.isfinite(line[column]):
                before = column
                column += 1
                continue
            behind = column
            while behind < columns and not np.isfinite(line[behind]):
                behind += 1
            start = np.float64(line[behind if before < 0 else before])
            slope = 0.0
            if before >= 0 and behind < columns:
                slope = (np.float64(line[behind]) - start) / (behind - before)
            for place in range(column, behind):
                line[place] = slope * (place - before) + start
            column = behind


@kernel
def _logarithm(transmission, floor, found):  # type: ignore[no-untyped-def]
    low = 0
    for row in range(transmission.shape[0]):
        for column in range(transmission.shape[1]):
            value = transmission[row, column]
            if value < floor:
                low += 1
                value = np.float32(floor)
            found[row, column] = -np.log(value)
    return low
