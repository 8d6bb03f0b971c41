"""The regular axis that a motor went over, from the positions recorded with every frame.

Motors jitter: 43 steps are 549 different values. Positions that belong together lie much closer to each other than to
the next ones; where that is not so, there is no axis to be learned, and none is guessed.
"""

from dataclasses import dataclass

import numpy as np

from stream.events import Array

MUCH_CLOSER = 3.0
"""How many times wider the narrowest gap between points must be than the widest within one."""
MOST_OFF, UNEVEN = 0.25, 0.1
"""Of a step: how far a position may lie from its point, and the mean of those that belong together."""
SAME = 1e-9
"""Of the whole range: positions closer than this are the same."""

LEAST_REACHED = 0.01
"""Of the points of an axis."""
MOST_TRIED = 8
"""Gaps that may be the narrowest between two points."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Position of point i = first + i step; the scan began at or near point 0. reached: points with a position."""

    points: int
    first: float
    step: float
    reached: int


def learned(positions: Array) -> Learned | str:
    """The axis that these positions, float64 (frames,), lie on; or why there is none, in words."""
    known = positions[np.isfinite(positions)]
    if not len(known):
        return "it has no recorded position"
    ordered = np.sort(known)
    span = float(ordered[-1] - ordered[0])
    if span == 0.0:
        return "it did not move"
    gaps = np.maximum(np.diff(ordered), SAME * span)
    widest = np.sort(gaps)[::-1]
    narrowest = widest[np.flatnonzero(widest[:-1] >= MUCH_CLOSER * widest[1:])][:MOST_TRIED]
    tried = [_axis(known, ordered, gaps, least) for least in (narrowest if len(narrowest) else widest[-1:])]
    # an encoder's own steps are an axis too, of which nearly nothing was reached
    axes = [each for each in tried if isinstance(each, Learned) and each.reached >= LEAST_REACHED * each.points]
    if len(axes) > 1:
        words = " and ".join(f"{each.points} points" for each in axes[:2])
        return f"its positions can be understood in several ways ({words})"
    if axes and axes[0].reached < axes[0].points / 2:
        return f"it went to {axes[0].reached} of {axes[0].points} points of an axis only"
    if axes:
        return axes[0]
    return next((each for each in tried if isinstance(each, str)), "it went to hardly any point of an axis")


def _axis(known: Array, ordered: Array, gaps: Array, least: float) -> Learned | str:
    """The axis if gaps of `least` and more lie between its points, or why it is none."""
    groups = np.split(ordered, np.flatnonzero(gaps >= least) + 1)
    centres = np.array([group.mean() for group in groups])
    step = float(np.median(np.diff(centres)))
    places = np.round((known - centres[0]) / step)
    step, first = (float(each) for each in np.polyfit(places, known, 1))
    off = float(np.abs(known - first - places * step).max() / abs(step))
    if off > MOST_OFF:
        return f"its {len(known)} positions keep to no regular axis (one is {off:.2g} steps off)"
    of_centres = np.round((centres - first) / step)
    uneven = float(np.abs(centres - first - of_centres * step).max() / abs(step))
    if uneven > UNEVEN or len(np.unique(of_centres)) < len(centres):
        return f"its points are not evenly spaced (one is {uneven:.2g} steps off)"
    points = int(places.max()) + 1
    if abs(known[0] - ordered[-1]) < abs(known[0] - ordered[0]):
        return Learned(points, first + (points - 1) * step, -step, len(centres))
    return Learned(points, first, step, len(centres))
