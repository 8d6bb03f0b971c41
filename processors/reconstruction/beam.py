"""The open beam and the dark of a scan, summed up as its frames come, in whatever order; and line integrals.

Sums of counts are exact in float64, so that the order does not matter. `made` counts what has changed: pictures that
were made with fewer flats are made anew.
"""

from dataclasses import dataclass, field

import numpy as np

from processors.projections.normalise import OpenBeam, open_beam
from stream.events import Array

FLOOR = 1e-6
"""Transmission below this counts as this."""


@dataclass(slots=True)
class _Run:
    """Frames whose numbers follow each other."""

    first: int
    last: int
    total: Array
    count: int


@dataclass(slots=True)
class Beam:
    """shape: (rows, columns). nearest: the flats of the series nearest to a projection, else the mean of all. low,
    high: raw counts beyond are no measurement (saturated, flagged)."""

    shape: tuple[int, int]
    nearest: bool = False
    low: float = -np.inf
    high: float = np.inf
    made: int = 0
    _flats: list[_Run] = field(default_factory=list)
    _dark: Array | None = None
    _darks: int = 0
    _ready: dict[int, OpenBeam | None] = field(default_factory=dict)

    def add_flat(self, index: int, image: Array) -> None:
        """One flat field, raw counts."""
        values = image.astype(np.float64)
        joined = [run for run in self._flats if index in (run.first - 1, run.last + 1)]
        made = _Run(index, index, values, 1)
        for run in joined:
            made = _Run(
                min(made.first, run.first), max(made.last, run.last), made.total + run.total, made.count + run.count
            )
        self._flats = sorted([run for run in self._flats if run not in joined] + [made], key=lambda run: run.first)
        self._changed()

    def add_dark(self, image: Array) -> None:
        """One dark, raw counts."""
        self._dark = image.astype(np.float64) if self._dark is None else self._dark + image
        self._darks += 1
        self._changed()

    def _changed(self) -> None:
        self.made += 1
        self._ready = {}

    @property
    def flats(self) -> int:
        """How many there are."""
        return sum(run.count for run in self._flats)

    @property
    def darks(self) -> int:
        """How many there are."""
        return self._darks

    def series_of(self, index: int) -> int:
        """Which flats a frame number takes: those with the same number share them."""
        if not self.nearest or not self._flats:
            return 0
        place = [abs((run.first + run.last) / 2 - index) for run in self._flats]
        return len(place) - 1 - int(np.argmin(place[::-1]))

    def of(self, which: int) -> OpenBeam | None:
        """For `series_of` a frame; None without any flat. Raises ValueError if no flat is above the dark."""
        if which not in self._ready:
            self._ready[which] = self._open_beam(which)
        return self._ready[which]

    def unusable(self) -> Array:
        """bool (rows, columns): pixels whose flat is not above the dark in some series; they are interpolated."""
        found = np.zeros(self.shape, bool)
        for which in range(len(self._flats) if self.nearest else min(1, len(self._flats))):
            beam = self.of(which)
            if beam is not None:
                found |= ~np.isfinite(beam.gain)
        return found

    def _open_beam(self, which: int) -> OpenBeam | None:
        if not self._flats:
            return None
        dark = None if self._dark is None else self._dark / self._darks
        return open_beam(_mean(self._flats[which : which + 1] if self.nearest else self._flats), dark)

    def lines(self, index: Array, rows: Array, first: int, bad: Array) -> Array:
        """index (n,): frame numbers; rows (n, m, columns): raw counts of rows `first` on; bad: bool (m, columns) ->
        float32, -ln of the transmission. Without a flat: of each frame's own brightest, which is a raw preview."""
        found = np.empty(rows.shape, np.float32)
        part = slice(first, first + rows.shape[1])
        which = np.array([self.series_of(int(each)) for each in index], int)
        for number in np.unique(which).tolist():
            here = which == number
            beam = self.of(number)
            values = rows[here].astype(np.float32)
            values[~((rows[here] >= self.low) & (rows[here] <= self.high))] = np.nan
            if beam is None:
                dark = 0.0 if self._dark is None else (self._dark[part] / self._darks).astype(np.float32)
                values -= dark
                bright = np.percentile(np.where(bad | ~(values > 0), 0, values), 99.5, axis=(1, 2), keepdims=True)
                values /= np.maximum(bright, FLOOR)
            else:
                values -= beam.dark[part]
                values *= beam.gain[part]
            found[here] = values
        with np.errstate(divide="ignore", invalid="ignore"):
            found = -np.log(np.maximum(found, np.float32(FLOOR)))
        found[:, bad] = np.nan
        return _interpolated(found)


def _mean(runs: list[_Run]) -> Array:
    total = np.sum([run.total for run in runs], axis=0)
    found: Array = total / sum(run.count for run in runs)
    return found


def _interpolated(found: Array) -> Array:
    """In place: what is not finite becomes the line between its neighbours in the row; a row without any is 0."""
    if np.isfinite(found).all():
        return found
    columns = np.arange(found.shape[-1])
    lines = found.reshape(-1, found.shape[-1])
    for row in np.flatnonzero(~np.isfinite(lines).all(axis=1)):
        good = np.isfinite(lines[row])
        lines[row] = np.interp(columns, columns[good], lines[row, good]) if good.any() else 0.0
    return found
