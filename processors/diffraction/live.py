"""The slices of a tomogram while its projections come, and what there is to say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from processors.diffraction import layout
from processors.diffraction.geometry import Turning
from processors.diffraction.readings import Readings
from processors.diffraction.sinograms import Sinograms
from processors.tomography.air import absorption, without_air
from processors.tomography.angles import Coverage, coverage
from processors.tomography.backprojection import seen
from processors.tomography.centre import Centre, estimate
from processors.tomography.growing import Slice
from processors.tomography.half import feathered
from processors.tomography.repair import Mark, Repaired, repaired
from stream.events import Array, Piece

AIR_POINTS = 3
"""Points of the open beam at either end, where `air` does not say how many."""
STEADY = 0.1
"""Columns: while the scan runs, slices keep their centre until the estimate is further away than this."""

CUT_OFF = 0.1
"""Of a sinogram's brightest."""


@dataclass(frozen=True, slots=True)
class State:
    """What all slices have in common at one moment; coverage: of `total`. left_out: bool (angles,), projections that
    have points, but too few. cut_off: projections that do not end beside the sample."""

    angles: Array
    spread: Array
    centre: Centre
    coverage: Coverage
    left_out: Array
    interpolated: int
    replaced: int
    cut_off: int

    @property
    def words(self) -> str:
        """For a person."""
        given = self.centre.uncertainty == 0
        sure = (
            "given" if given else f"+- {self.centre.uncertainty:.2g}" if self.centre.known else "not known yet: middle"
        )
        told = [self.coverage.words, f"axis at column {self.centre.column:.3f} ({sure})"]
        for count, what in (
            (int(self.left_out.sum()), "projections left out"),
            (self.interpolated, "points interpolated"),
            (self.replaced, "outliers replaced"),
            (self.cut_off, "projections do not end in air, so that all values are uncertain"),
        ):
            told += [f"{count} {what}"] if count else []
        return "; ".join(told)


@dataclass(slots=True)
class Slices:
    """Of one scan. `pieces` gives what is new since it was asked last."""

    turning: Turning
    names: tuple[str, ...]
    sinograms: Sinograms
    readings: Readings
    _grown: dict[str, Slice] = field(default_factory=dict)
    _shown: dict[str, Repaired] = field(default_factory=dict)
    _drawn: set[str] = field(default_factory=set)
    _centre: float = float("nan")

    def pieces(self, *, last: bool = False) -> tuple[State, Mapping[str, Piece]]:
        """last: everything once more from the beginning, whatever has grown in which order."""
        if last:
            self._grown, self._shown, self._centre = {}, {}, float("nan")
        count = self.sinograms.of("total").shape[0]
        angles, spread = self.turning.angles(count, self.readings)
        mended = {name: self._mended(name, angles) for name in self.names}
        centre = self._axis(mended, angles)
        found: dict[str, Piece] = {}
        for name, each in mended.items():
            found |= self._show(name, each, angles, centre.column)
        total = mended["total"]
        covered = self._coverage(total, angles)
        marks = [int(sum((each.marks == mark).sum() for each in mended.values())) for mark in Mark]
        left_out = ~total.usable & np.isfinite(self.sinograms.of("total")).any(axis=1)
        cut = cut_off(total)
        if layout.ABSORPTION in mended:
            cut = cut_off(mended[layout.ABSORPTION])
        state = State(angles, spread, centre, covered, left_out, marks[Mark.INTERPOLATED], marks[Mark.OUTLIER], cut)
        return state, {**found, **_numbers(state)}

    def _mended(self, name: str, angles: Array) -> Repaired:
        config = self.turning.config
        air = config.air.points if config.air is not None else AIR_POINTS
        if name == layout.ABSORPTION:
            rows = len(self.sinograms.of("total")) if config.rotation == "slow" else self.turning.translations
            values = absorption(self.sinograms.turned(self.readings.transmitted(rows)), air)
        else:
            values = self.sinograms.of(name)
            if config.air is not None:
                values = without_air(values, air, config.air.by)
        return repaired(values, angles, longest_gap=config.longest_gap, outliers=config.outliers)

    def _axis(self, mended: Mapping[str, Repaired], angles: Array) -> Centre:
        """The centre to be used, with the uncertainty of the estimate."""
        config = self.turning.config
        if config.centre is not None:
            return Centre(config.centre, 0.0)
        found = estimate(mended[layout.ABSORPTION if config.centre_from is not None else "total"].values, angles)
        if found.known and found.uncertainty > self.turning.translations / 10:
            found = Centre((self.turning.translations - 1) / 2, float("inf"))
        if not abs(found.column - self._centre) <= STEADY:
            self._centre = found.column
        return Centre(self._centre, found.uncertainty, found.mass_spread, found.mirror, found.projections)

    def _coverage(self, mended: Repaired, angles: Array) -> Coverage:
        turning, known = self.turning, np.where(mended.usable, angles, np.nan)
        return coverage(known, spacing_deg=turning.spacing_deg, turn_deg=turning.turn_deg)

    def _show(self, name: str, mended: Repaired, angles: Array, centre: float) -> dict[str, Piece]:
        config, columns = self.turning.config, self.turning.translations
        before = self._shown.get(name)
        first, end = _changed(before, mended)
        if first < end:
            self._shown[name] = mended
        found = {
            f"{name}_sinogram": Piece((first, 0), mended.values[first:end].copy()),
            f"{name}_marks": Piece((first, 0), mended.marks[first:end].copy()),
        }
        found = found if first < end else {}
        size = layout.size_of(config, columns)
        if not mended.usable.any():
            self._grown.pop(name, None)
            if name in self._drawn:  # its region is gone
                self._drawn.discard(name)
                found[name] = Piece((0, 0), np.full((size, size), np.nan, np.float32))
            return found
        values, axis = feathered(mended.values, centre) if config.half_acquisition else (mended.values, centre)
        grown = self._grown.setdefault(name, Slice(values.shape[1], size, config.window))
        if grown.show(values, angles, self._coverage(mended, angles).weights, axis):
            inside = seen(size, columns, centre, half_turn_only=not config.half_acquisition)
            found[name] = Piece((0, 0), np.where(inside, grown.picture, np.nan).astype(np.float32))
            self._drawn.add(name)
        return found


def cut_off(mended: Repaired) -> int:
    """Projections with more than a tenth of the sinogram's brightest at their first or last point."""
    values = mended.values[mended.usable]
    if not values.size:
        return 0
    ends = np.abs(values[:, [0, -1]]).max(axis=1)
    return int((ends > CUT_OFF * np.percentile(values, 99)).sum())


def _changed(before: Repaired | None, now: Repaired) -> tuple[int, int]:
    """The rows of the sinogram, from the first to behind the last, that are not as they were."""
    known = 0 if before is None else len(before.values)
    different = np.ones(len(now.values), bool)
    if before is not None:
        same = (before.values == now.values[:known]) | (np.isnan(before.values) & np.isnan(now.values[:known]))
        different[:known] = ~(same & (before.marks == now.marks[:known])).all(axis=1)
    rows = np.flatnonzero(different)
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)


def _numbers(state: State) -> dict[str, Piece]:
    words = np.array(state.words.encode()[: layout.WORDS_BYTES], f"S{layout.WORDS_BYTES}")
    scalars = {
        "centre": state.centre.column,
        "centre_uncertainty": state.centre.uncertainty,
        "centre_mirror": state.centre.mirror,
        "covered": state.coverage.covered_deg,
        "largest_gap": state.coverage.largest_gap_deg,
    }
    rows = {"angle": state.angles, "weight": np.rad2deg(state.coverage.weights)} if len(state.angles) else {}
    return {
        **{name: Piece((), np.array(value, np.float64)) for name, value in scalars.items()},
        **{name: Piece((0,), np.array(values, np.float64)) for name, values in rows.items()},
        "summary": Piece((), words),
    }
