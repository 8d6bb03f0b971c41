"""Points of a sinogram that are missing or wrong: replaced where their neighbours allow it, and marked; never silently.

A short run of missing points in a projection is interpolated between its ends (at an edge: as the nearest point). A
projection with a longer run is left out, and its neighbours stand for its angle.

An outlier (a large grain in reflection, a hit of a cosmic ray) is a point that differs from the median of its eight
neighbours, in the translation and in the angle, by more than so many robust standard deviations. The noise is taken as
proportional to the root of the intensity, by a factor that the sinogram itself tells.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from stream.events import Array

FLOOR = 0.01
"""Of the median intensity: below this the noise is no smaller."""


class Mark(IntEnum):
    """What a point of a sinogram is."""

    MEASURED = 0
    INTERPOLATED = 1
    """Missing, and filled in."""
    OUTLIER = 2
    """Measured, and replaced by the median of its neighbours."""
    LEFT_OUT = 3
    """Of a projection that has too many missing points: in no slice."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """values: float64 (angles, columns), NaN in projections that are left out. marks: uint8, `Mark`, same shape."""

    values: Array
    marks: Array

    @property
    def usable(self) -> Array:
        """bool (angles,): which projections are whole."""
        found: Array = ~(self.marks == Mark.LEFT_OUT).any(axis=1)
        return found


def repaired(sinogram: Array, angles_deg: Array, *, longest_gap: int = 3, outliers: float | None = None) -> Repaired:
    """sinogram (angles, columns), NaN: missing. outliers: robust standard deviations; None: none is looked for."""
    values = np.array(sinogram, np.float64)
    marks = np.zeros(values.shape, np.uint8)
    missing = ~np.isfinite(values)
    values[missing] = np.nan
    if outliers is not None:
        median = _neighbours(values, angles_deg)
        wrong = _outliers(values, median, outliers)
        values[wrong], marks[wrong] = median[wrong], Mark.OUTLIER
    for row in np.flatnonzero(missing.any(axis=1)):
        gaps = missing[row]
        if gaps.all() or _longest(gaps) > longest_gap:
            values[row], marks[row] = np.nan, Mark.LEFT_OUT
            continue
        there = np.flatnonzero(~gaps)
        values[row, gaps] = np.interp(np.flatnonzero(gaps), there, values[row, there])
        marks[row, gaps] = Mark.INTERPOLATED
    return Repaired(values, marks)


def _longest(gaps: Array) -> int:
    edges = np.diff(np.concatenate([[0], gaps.astype(np.int8), [0]]))
    return int((np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)).max(initial=0))


def _neighbours(values: Array, angles_deg: Array) -> Array:
    """The median of the up to eight neighbours that are there, at each point; NaN without any."""
    order = np.argsort(np.asarray(angles_deg, np.float64), kind="stable")
    ordered = np.pad(values[order], 1, constant_values=np.nan)
    rows, columns = values.shape
    shifts = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]
    around = np.sort([ordered[down : down + rows, right : right + columns] for down, right in shifts], axis=0)
    there = np.isfinite(around).sum(axis=0)
    low, high = (np.maximum(there - 1, 0) // 2)[None], (there // 2)[None].clip(max=7)
    found = np.empty_like(values)
    middle = (np.take_along_axis(around, low, 0)[0] + np.take_along_axis(around, high, 0)[0]) / 2
    found[order] = np.where(there > 0, middle, np.nan)
    return found


def _outliers(values: Array, median: Array, limit: float) -> Array:
    """bool (angles, columns)."""
    known = np.isfinite(values) & np.isfinite(median)
    positive = median[known & (median > 0)]
    if not len(positive):
        return np.zeros(values.shape, bool)
    noise = np.sqrt(np.maximum(median, FLOOR * float(np.median(positive))))
    off = np.where(known, np.abs(values - median) / noise, 0.0)
    different = off[known & (off > 0)]
    if not len(different):
        return np.zeros(values.shape, bool)
    found: Array = off > limit * 1.4826 * float(np.median(different))
    return found
