"""Azimuths without a jump: which pixels a sector touches, and their corners side by side.

pyFAI's azimuth jumps at 180 (or 0) degrees. A pixel across the jump has corners on both ends, and the sign by which
pyFAI 2026.9 recognises it (ext/regrid_common.pxi, area4p) is wrong for some tilted detectors: the pixel then reaches
around the whole circle, into every sector. A range across the jump loses what lies behind it.
"""

import numpy as np
from numpy.typing import NDArray

Angles = NDArray[np.float64]
CIRCLE = 2 * np.pi


def side_by_side(corners: Angles, start: float) -> Angles:
    """Azimuths (pixels, corners), rad, turned by full circles so that those of one pixel lie within half a circle of
    its first, and their mean in start ... start + 2 pi. What need not be turned keeps its very value.
    """
    turns = -np.round((corners - corners[:, :1]) / CIRCLE)
    mean = (corners + CIRCLE * turns).mean(axis=1, keepdims=True)
    found: Angles = corners + CIRCLE * (turns - np.floor((mean - start) / CIRCLE))
    return found


def around_the_beam(corners: Angles) -> NDArray[np.bool_]:
    """True for pixels (pixels, corners) that the direct beam hits: they reach into every sector."""
    steps = np.diff(corners, axis=1, append=corners[:, :1])
    found: NDArray[np.bool_] = np.abs((steps - CIRCLE * np.round(steps / CIRCLE)).sum(axis=1)) > np.pi
    return found


def turned_into(sector: tuple[float, float], low: Angles, high: Angles) -> tuple[Angles, NDArray[np.bool_]]:
    """By how much pixels that reach from `low` to `high` must be turned to lie in the sector; and whether they do.

    Turns, rad, are multiples of 2 pi, (pixels,); a pixel that reaches into both ends of a sector of nearly a circle is
    turned to that end where its middle is nearer to the middle of the sector. All ends are inclusive, as in pyFAI.
    """
    start = (sector[0] + sector[1]) / 2 - np.pi
    turn = -CIRCLE * np.floor(((low + high) / 2 - start) / CIRCLE)
    touched = (low + turn <= sector[1]) & (high + turn >= sector[0])
    for other in (CIRCLE, -CIRCLE):
        also = ~touched & (low + turn + other <= sector[1]) & (high + turn + other >= sector[0])
        turn[also] += other
        touched |= also
    return turn, touched
