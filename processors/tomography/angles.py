"""The angles of a scan: how much each of them counts, and how much of the half circle they cover.

A line seen from w is the same as seen from w + 180 degrees, so that half a turn is all there is. Where a projection
shows one side of the sample only (half-acquisition), it takes a full turn.
"""

from dataclasses import dataclass

import numpy as np

from stream.events import Array

HALF_TURN = 180.0
MISSING = 3.0
"""Of the usual distance between two angles: a larger gap is a missing wedge, not a coarse step. In golden order the
largest distance is never more than 2.62 times the smallest."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """weights: radian, one per angle; they add up to pi where all is covered.

    covered_deg: what the angles stand for, of turn_deg. largest_gap_deg: between two neighbours, the whole turn if
    there is one only.
    """

    weights: Array
    covered_deg: float
    largest_gap_deg: float
    angles: int
    turn_deg: float = HALF_TURN

    @property
    def words(self) -> str:
        """For a person."""
        if not self.angles:
            return "no angle covered yet"
        gap = f"largest gap {self.largest_gap_deg:.3g}"
        return f"{self.angles} angles cover {self.covered_deg:.1f} of {self.turn_deg:.0f} degrees, {gap}"


def coverage(angles_deg: Array, *, spacing_deg: float | None = None, turn_deg: float = HALF_TURN) -> Coverage:
    """angles (n,) in any order; NaN: none, with weight 0.

    An angle counts as half of the distances to its two neighbours. A gap of more than three times the usual distance is
    a missing wedge: nobody stands for it, and its edges count as if it were of the usual width. Nothing is scaled up
    for what is missing: the directions that were measured have their true amplitude, the others none.
    spacing_deg: the distance of neighbours, where only one angle is there that could not tell it. turn_deg: 360 where
    both sides are needed.
    """
    angles = np.asarray(angles_deg, np.float64)
    weights = np.zeros(len(angles))
    known = np.flatnonzero(np.isfinite(angles))
    if not len(known):
        return Coverage(weights, 0.0, turn_deg, 0, turn_deg)
    folded = np.mod(angles[known], turn_deg)
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    gaps = np.diff(ordered, append=ordered[0] + turn_deg)
    usual = _usual(gaps)
    if len(known) == 1:
        usual = min(abs(spacing_deg or turn_deg), turn_deg)
    stands = np.where(gaps > MISSING * usual, usual, gaps) if len(known) > 1 else np.array([usual])
    share = np.empty(len(known))
    share[order] = (stands + np.roll(stands, 1)) / 2
    weights[known] = np.deg2rad(share) * HALF_TURN / turn_deg
    return Coverage(weights, min(float(share.sum()), turn_deg), float(gaps.max()), len(known), turn_deg)


def weights_of(angles_deg: Array) -> Array:
    """float64 (n,), radian: see `coverage`."""
    return coverage(angles_deg).weights


def _usual(gaps: Array) -> float:
    """The distance that nine in ten do not exceed, and never the largest one: angles that came twice, or half of a
    full turn, make many gaps of nothing."""
    ordered = np.sort(gaps)
    return float(ordered[int(0.9 * (len(ordered) - 1))])
