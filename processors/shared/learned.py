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


@dataclass(frozen=True, slots=True)
class Learned:
    """Position of point i = first + i step; the scan began at or near point 0."""

    points: int
    first: float
    step: float


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
    ratios = widest[:-1] / widest[1:]
    wide = int(ratios.argmax()) + 1 if len(ratios) and ratios.max() >= MUCH_CLOSER else len(widest)
    groups = np.split(ordered, np.flatnonzero(gaps >= widest[wide - 1]) + 1)
    centres = np.array([group.mean() for group in groups])
    step = float(np.median(np.diff(centres)))
    places = np.round((known - centres[0]) / step)
    step, first = (float(each) for each in np.polyfit(places, known, 1))
    off = float(np.abs(known - first - places * step).max() / abs(step))
    if off > MOST_OFF:
        return f"its {len(known)} positions keep to no regular axis (one is {off:.2g} steps off)"
    uneven = float(np.abs(centres - first - np.round((centres - first) / step) * step).max() / abs(step))
    if uneven > UNEVEN:
        return f"its points are not evenly spaced (one is {uneven:.2g} steps off)"
    points = int(places.max()) + 1
    if abs(known[0] - ordered[-1]) < abs(known[0] - ordered[0]):
        return Learned(points, first + (points - 1) * step, -step)
    return Learned(points, first, step)
