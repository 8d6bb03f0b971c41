"""The rotation axis while the sample turns: from projections half a turn apart, which are mirror images of each other;
else from the projections' centres of mass; else it is not known, and said so.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from processors.tomography.centre import estimate
from processors.tomography.search import search
from stream.events import Array

MOST_PAIRS = (8, 16, 32, 64)
"""The later ones where the earlier leave more than this to chance:"""
CHANCE = 0.05
"""Columns."""
ALIKE_DEG = 0.02
"""Pairs that are off by so much more than the best one are as good."""
FARTHEST_DEG = 2.0
CORRELATED = 4.0
"""Pixels that say the same: noise is blurred by optics and scintillator."""
EDGE = 0.1
"""Of the brightest: a projection with more at its first or last column does not end beside the sample."""
GOOD = 0.5
"""Columns: pairs that are as certain as this need no other witness."""
FEWEST_ANGLES = 200
"""That a search is given, of those that there are."""
LEAST_CONTRAST = 0.05
"""Of a search: less says nothing."""

How = Literal["given", "pairs", "mass", "middle"]


@dataclass(frozen=True, slots=True)
class Found:
    """column: from 0. uncertainty: one standard deviation, columns, infinite where nothing is known. pairs: how many;
    off_deg: how far the best of them is from half a turn. searched: what the search says, NaN without."""

    column: float
    uncertainty: float
    how: How
    pairs: int = 0
    off_deg: float = float("nan")
    searched: float = float("nan")
    contrast: float = 0.0

    @property
    def words(self) -> str:
        """For a person."""
        sure = f"+- {self.uncertainty:.2g}"
        told = {
            "given": "given",
            "pairs": f"{sure}, by {self.pairs} pairs half a turn apart",
            "mass": f"{sure}, by centres of mass: no pair half a turn apart",
            "middle": "not known yet, no pair half a turn apart: the middle",
        }[self.how]
        if self.how == "pairs" and self.off_deg > ALIKE_DEG:
            told += f" but for {self.off_deg:.2g} degrees"
        search = f"; search: {self.searched:.2f}" if np.isfinite(self.searched) else ""
        return f"axis at column {self.column:.3f} ({told}{search})"


def find(lines: Array, angles: Array) -> Found:
    """lines (angles, rows, columns), -ln of the transmission, angles (n,), degrees; in the order of frame numbers."""
    columns = lines.shape[2]
    middle = Found((columns - 1) / 2, float("inf"), "middle")
    if len(angles) < 2:
        return middle
    paired = _by_pairs(lines, angles)
    if paired is not None and paired.off_deg <= ALIKE_DEG and paired.uncertainty <= GOOD:
        return paired
    weighed = _by_mass(lines, angles)
    known = [each for each in (paired, weighed) if each is not None and np.isfinite(each.uncertainty)]
    best = min(known, key=lambda each: each.uncertainty, default=middle)
    return best if best.uncertainty <= columns / 10 else middle


def searched(lines: Array, angles: Array, near: float) -> tuple[float, float]:
    """(column, contrast) of the row that says it most clearly; (NaN, 0) where none does.

    Of more angles than the columns ask for some are left out: the search takes as long as their number squared.
    """
    step = max(1, len(angles) // max(2 * lines.shape[2], FEWEST_ANGLES))
    some = np.argsort(np.mod(angles, 180.0), kind="stable")[::step]
    found = [search(lines[some, row], angles[some], near) for row in range(lines.shape[1])]
    column, contrast = max(found, key=lambda each: each[1], default=(float("nan"), 0.0))
    return (column, contrast) if contrast >= LEAST_CONTRAST else (float("nan"), 0.0)


def pairs_of(angles: Array, most: int = MOST_PAIRS[0]) -> tuple[list[tuple[int, int]], float]:
    """The best pairs half a turn apart, so many at most, spread over the scan, and how far off the best is, degrees."""
    count = len(angles)
    folded = np.mod(angles, 360.0)
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    wanted = np.mod(folded + 180.0, 360.0)
    after = np.searchsorted(ordered, wanted) % count
    found: dict[tuple[int, int], float] = {}
    for place in (after, (after - 1) % count):
        other = order[place]
        off = np.abs((ordered[place] - wanted + 180.0) % 360.0 - 180.0)
        for one in np.flatnonzero((off <= FARTHEST_DEG) & (other != np.arange(count))).tolist():
            pair = (min(one, int(other[one])), max(one, int(other[one])))
            found[pair] = float(off[one])
    if not found:
        return [], float("nan")
    least = min(found.values())
    good = sorted(pair for pair, off in found.items() if off <= least + ALIKE_DEG)
    chosen = np.unique(np.linspace(0, len(good) - 1, min(most, len(good))).astype(int))
    return [good[each] for each in chosen.tolist()], least


def _by_pairs(lines: Array, angles: Array) -> Found | None:
    known: dict[tuple[int, int], tuple[float, float]] = {}
    for most in MOST_PAIRS:
        pairs, off = pairs_of(angles, most)
        if not pairs:
            return None
        known |= {(one, other): meets(lines[one], lines[other]) for one, other in pairs if (one, other) not in known}
        found = np.array(list(known.values()))
        column = float(np.median(found[:, 0]))
        scatter = 1.4826 * float(np.median(np.abs(found[:, 0] - column)))
        noise = max(float(np.median(found[:, 1])), scatter) / np.sqrt(len(known))
        if noise <= CHANCE or len(pairs) < most:
            break
    turned = np.deg2rad(off if off > ALIKE_DEG else 0.0) * lines.shape[2] / 4
    return Found(column, float(np.hypot(noise, turned)), "pairs", len(known), off)


def _by_mass(lines: Array, angles: Array) -> Found | None:
    together = lines.sum(axis=1, dtype=np.float64)
    bright = np.percentile(together, 99)
    if not bright > 0 or np.median(np.abs(together[:, [0, -1]]).max(axis=1)) > EDGE * bright:
        return None
    found = estimate(together, angles)
    return Found(found.column, found.uncertainty, "mass") if found.known else None


def meets(one: Array, other: Array) -> tuple[float, float]:
    """one, other (rows, columns), half a turn apart -> c for which one(t) is nearest to other(2 c - t), and its
    standard deviation: where the mean square of the difference is least, by a parabola; half of them must overlap."""
    columns = one.shape[1]
    flipped = other[:, ::-1]
    step = max(1, columns // 256)
    width = columns // step * step
    first, second = (each[:, :width].reshape(len(each), -1, step).mean(axis=2) for each in (one, flipped))
    reach = first.shape[1] // 2
    best = _least(first, second, -reach, reach)[0] * step
    shift, square, bend = _least(one, flipped, best - 2 * step - 2, best + 2 * step + 2)
    overlap = one.shape[0] * (columns - abs(shift))
    noise = np.sqrt(2 * max(square, 0.0) * CORRELATED / (overlap * bend)) if bend > 0 else float("inf")
    return (shift + columns - 1) / 2, float(noise) / 2


def _least(one: Array, flipped: Array, low: float, high: float) -> tuple[float, float, float]:
    """Shift, mean square there, and its second derivative."""
    count = one.shape[1]
    shifts = np.arange(max(int(low), -(count // 2)), min(int(high), count // 2) + 1)
    squares = np.empty(len(shifts))
    for number, shift in enumerate(shifts.tolist()):
        first, last = max(0, shift), min(count, count + shift)
        difference = one[:, first:last] - flipped[:, first - shift : last - shift]
        squares[number] = np.mean(difference.astype(np.float64) ** 2)
    best = int(squares.argmin())
    if not 0 < best < len(shifts) - 1:
        return float(shifts[best]), float(squares[best]), 0.0
    before, here, after = squares[best - 1 : best + 2]
    bend = before - 2 * here + after
    part = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(shifts[best] + part), float(here - bend * part**2 / 2), float(bend)
