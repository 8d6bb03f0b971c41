"""The column of the rotation axis, and how sure it is.

By mass: the centre of mass of projection w lies at c + a cos w + b sin w (the second consistency condition of Helgason
and Ludwig), whatever the angles are and however few; the mass itself must be the same from everywhere (the first one).
That holds for absorption, -ln(transmission), and for what scatters alike in all directions. The intensity of a textured
sample's reflection is no such quantity: its mass varies, which shows in the uncertainty.

By mirror: a projection and the one half a turn later are mirror images; where there are such pairs, they are a check.
"""

from dataclasses import dataclass

import numpy as np

from stream.events import Array

FEWEST = 5
"""Projections, of which three make the curve."""
SUPPORT = 0.05
"""Of a projection's brightest part: less is nothing but its background, which would draw the centre to the middle."""
MARGIN = 3
FAR = 5.0
"""Robust standard deviations: projections further off than this are left out of the fit."""


@dataclass(frozen=True, slots=True)
class Centre:
    """column: from 0, whole numbers in the middle of a column. uncertainty: one standard deviation, columns; infinite
    if nothing is known, and `column` is then the middle. mass_spread: relative variation of the projections' mass.
    mirror: what pairs of opposite projections say, NaN without any. projections: how many were used."""

    column: float
    uncertainty: float
    mass_spread: float = float("nan")
    mirror: float = float("nan")
    projections: int = 0

    @property
    def known(self) -> bool:
        """True if there is an uncertainty to speak of."""
        return bool(np.isfinite(self.uncertainty))


def estimate(sinogram: Array, angles_deg: Array) -> Centre:
    """sinogram (angles, columns), free of background; angles (n,), NaN: left out, as are projections with a NaN.

    The uncertainty adds, in squares, the scatter around the curve, and the spread of the mass times the width of the
    projections: what moves the mass by a tenth moves its centre by up to a tenth of the width. Both grow where the
    angles cover little of the circle.
    """
    columns = sinogram.shape[1]
    middle = Centre((columns - 1) / 2, float("inf"))
    mass, place, width = _moments(np.asarray(sinogram, np.float64))
    use = np.isfinite(np.asarray(angles_deg)) & np.isfinite(place)
    use[use] = _near(mass[use])
    found = None
    for _ in range(2):
        if use.sum() < FEWEST:
            return middle
        radian = np.deg2rad(np.asarray(angles_deg, np.float64)[use])
        matrix = np.column_stack([np.ones(len(radian)), np.cos(radian), np.sin(radian)])
        normal = matrix.T @ matrix
        if np.linalg.cond(normal) > 1e10:
            return middle
        found = np.linalg.solve(normal, matrix.T @ place[use])
        rest = place[use] - matrix @ found
        near = _near(rest)
        if near.all():
            break
        use[use] = near
    assert found is not None
    count = len(rest)
    stretch = float(np.linalg.inv(normal)[0, 0])
    scatter = float(rest @ rest) / max(count - 3, 1) * stretch
    spread = float(mass[use].std() / mass[use].mean())
    systematic = spread * float(np.sqrt(np.mean(width[use] ** 2))) * np.sqrt(count * stretch)
    column = float(found[0])
    if not 0 <= column <= columns - 1:
        return middle
    mirrored = mirror(sinogram, angles_deg)
    return Centre(column, float(np.hypot(np.sqrt(scatter), systematic)), spread, mirrored, count)


def mirror(sinogram: Array, angles_deg: Array, *, tolerance_deg: float | None = None, most: int = 8) -> float:
    """The median over pairs of opposite projections, NaN if there is none. Each is put where the mean square of the
    difference is smallest, by a parabola between whole shifts; half of the columns must overlap.

    tolerance_deg: how far from half a turn a pair may be, by default half of the smallest distance between angles.
    """
    angles = np.asarray(angles_deg, np.float64)
    known = np.flatnonzero(np.isfinite(angles) & np.isfinite(sinogram).all(axis=1))
    if len(known) < 2:
        return float("nan")
    turned = (angles[known][:, None] - angles[known][None, :] - 180.0 + 180.0) % 360.0 - 180.0
    if tolerance_deg is None:
        ordered = np.unique(np.round(angles[known] % 360.0, 6))
        steps = np.diff(ordered, append=ordered[0] + 360.0)
        tolerance_deg = float(steps.min()) / 2
    off = np.where(np.triu(np.ones_like(turned, bool), 1), np.abs(turned), np.inf)
    pairs = np.argwhere(off <= tolerance_deg)
    pairs = pairs[np.argsort(off[tuple(pairs.T)], kind="stable")][:most]
    found = [_meets(sinogram[known[one]], sinogram[known[other]]) for one, other in pairs.tolist()]
    return float(np.median(found)) if found else float("nan")


def _meets(one: Array, other: Array) -> float:
    """c for which one(t) is nearest to other(2 c - t)."""
    count, flipped = len(one), np.asarray(other, np.float64)[::-1]
    shifts = np.arange(-(count // 2), count // 2 + 1)
    squares = np.empty(len(shifts))
    for number, shift in enumerate(shifts.tolist()):
        low, high = max(0, shift), min(count, count + shift)
        squares[number] = np.mean((one[low:high] - flipped[low - shift : high - shift]) ** 2)
    best = int(squares.argmin())
    part = 0.0
    if 0 < best < len(shifts) - 1:
        before, here, after = squares[best - 1 : best + 2]
        bend = before - 2 * here + after
        part = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(shifts[best] + part + count - 1) / 2


def _moments(sinogram: Array) -> tuple[Array, Array, Array]:
    """Mass, centre and standard deviation of each projection, within what its sample covers; NaN where it has none."""
    count, columns = sinogram.shape
    mass, place, width = (np.full(count, np.nan) for _ in range(3))
    whole = np.flatnonzero(np.isfinite(sinogram).all(axis=1))
    if not len(whole):
        return mass, place, width
    projections = sinogram[whole]
    around = np.lib.stride_tricks.sliding_window_view(np.pad(projections, ((0, 0), (2, 2)), mode="edge"), 5, axis=1)
    smooth = np.median(around, axis=2)
    high = np.percentile(smooth, 99, axis=1)
    inside = smooth > SUPPORT * high[:, None]
    first = np.maximum(inside.argmax(axis=1) - MARGIN, 0)
    last = np.minimum(columns - 1 - inside[:, ::-1].argmax(axis=1) + MARGIN, columns - 1)
    x = np.arange(columns)
    part = np.where((x >= first[:, None]) & (x <= last[:, None]), projections, 0.0)
    total = part.sum(axis=1)
    good = (high > 0) & inside.any(axis=1) & (total > 0)
    rows, part, total = whole[good], part[good], total[good]
    mass[rows], place[rows] = total, (part @ x) / total
    spread = (part * (x - place[rows][:, None]) ** 2).sum(axis=1) / total
    width[rows] = np.sqrt(np.maximum(spread, 0.0))
    return mass, place, width


def _near(values: Array) -> Array:
    """bool: not too far from the median; at least three quarters are always kept."""
    if not len(values):
        return np.zeros(0, bool)
    off = np.abs(values - np.median(values))
    limit = max(FAR * 1.4826 * float(np.median(off)), float(np.quantile(off, 0.75)))
    found: Array = off <= limit
    return found
