"""Radial regions of interest: what one number per point says of a pattern."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field, field_validator

from stream.events import Array
from stream.registry import Options

Quantity: TypeAlias = Literal["sum", "net", "position", "width"]
QUANTITIES: tuple[Quantity, ...] = ("sum", "net", "position", "width")
FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


class Roi(Options):
    """A range of the radial axis."""

    range: tuple[float, float] = Field(description="Lower and upper limit, in the unit of the radial axis")
    edge_bins: int = Field(1, ge=1, le=10_000, description="Bins at each end whose mean the background goes through")

    @field_validator("range")
    @classmethod
    def _in_order(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not (np.isfinite(limits).all() and limits[0] < limits[1]):
            raise ValueError("must be two numbers, the smaller first")
        return limits


class Ratio(Options):
    """One region divided by another."""

    of: str = Field(description="Name of the region above the line")
    by: str = Field(description="Name of the region below it")
    quantity: Literal["sum", "net"] = Field("sum", description="sum, or net: above the background")


def bins_of(roi: Roi, radial: Array) -> slice:
    """The bins whose centres lie within the range, both limits included; empty if there are none."""
    inside = np.flatnonzero((radial >= roi.range[0]) & (radial <= roi.range[1]))
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def quantities(patterns: Array, radial: Array, roi: Roi) -> Mapping[Quantity, Array]:
    """patterns (n, bins), radial (bins,) -> each quantity float64 (n,), NaN where it cannot be had.

    sum: of all finite bins. net: that minus a straight line through the means of the `edge_bins` bins at either end.
    position: sum(x c) / sum(c) with c = what stands above the line, negative values as 0; width: the full width at half
    maximum of a Gaussian with the same second moment, 2.355 sqrt(sum((x - position)^2 c) / sum(c)).
    """
    where = bins_of(roi, radial)
    x = np.asarray(radial[where], np.float64)
    values = np.asarray(patterns[:, where], np.float64)
    there = np.isfinite(values)
    nothing = ~there.any(axis=1)
    counted = np.where(there, values, 0.0)
    total = counted.sum(axis=1)
    line = _line(counted, there, x, min(roi.edge_bins, max(len(x) // 2, 1)))
    above = np.where(there, values - line, 0.0)
    net = above.sum(axis=1)
    weight = np.where(above > 0, above, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mass = weight.sum(axis=1)
        position = (weight * x).sum(axis=1) / mass
        spread = (weight * (x - position[:, None]) ** 2).sum(axis=1) / mass
    total[nothing] = np.nan
    net = np.where(nothing | ~np.isfinite(line).all(axis=1), np.nan, net)
    return {"sum": total, "net": net, "position": position, "width": FWHM * np.sqrt(spread)}


def ratio(above: Array, below: Array) -> Array:
    """above / below, NaN where below is 0 or unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(below != 0, above / below, np.nan)
    return found


def _line(counted: Array, there: Array, x: Array, edge: int) -> Array:
    """The straight line through both ends, (n, bins); NaN where an end has no finite bin."""
    if not len(x):
        return np.zeros_like(counted)
    with np.errstate(invalid="ignore", divide="ignore"):
        low = counted[:, :edge].sum(axis=1) / there[:, :edge].sum(axis=1)
        high = counted[:, -edge:].sum(axis=1) / there[:, -edge:].sum(axis=1)
    first, last = x[:edge].mean(), x[-edge:].mean()
    slope = (high - low) / (last - first) if last > first else np.zeros_like(low)
    line: Array = low[:, None] + slope[:, None] * (x - first)
    return line
