"""The slices of a tomogram while its projections come, and what there is to say of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from processors.reconstruction import axis
from processors.reconstruction.axis import Found
from processors.reconstruction.beam import Beam
from processors.reconstruction.growing import Grown
from processors.reconstruction.options import Config
from processors.reconstruction.planes import Planes
from processors.reconstruction.ringless import Ringless, enough
from processors.reconstruction.rows import Sinogram
from processors.reconstruction.state import References, State
from processors.reconstruction.store import Store
from processors.reconstruction.width import Width
from processors.tomography.angles import Coverage, coverage
from stream.events import Array, Piece

STEADY = 0.1
"""Columns: while the scan runs, slices keep their centre until the estimate is further away than this."""
AXIS_ROWS = 5
"""Detector rows that tell the axis, evenly over the height."""


@dataclass(slots=True)
class _Place:
    """One of the slices in the file. sent: frame numbers below it are in the file; made: of which lines."""

    row: int = -1
    grown: Grown | None = None
    ringless: Ringless = field(default_factory=Ringless)
    sent: Array | None = None
    made: int = -1
    angles: int = -1


class Tomogram:
    """Of one scan. shape: (rows, columns) of a projection; beam: of raw counts, None where projections are line
    integrals already; bad: bool, pixels that are never to be believed."""

    def __init__(
        self,
        config: Config,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        beam: Beam | None,
        bad: Array,
        folder: Path | None,
    ) -> None:
        self._config, self._shape, self._dtype, self.beam, self._bad = config, shape, dtype, beam, bad
        self.width = Width(shape[1], config.centre if config.half_acquisition else None)
        self.store = Store(shape, dtype, folder) if config.keep else None
        self._planes = (
            Planes(shape, self.width, config.vertical_px, bad, config.window, folder) if config.vertical else None
        )
        self._small = None
        if self._planes is not None and beam is not None:
            self._small = Beam(self._planes.shape, config.flat == "nearest")
        self._sinograms: dict[int, Sinogram] = {}
        self._places = [_Place() for _ in range(config.most)]
        spread = (np.arange(AXIS_ROWS) + 0.5) / AXIS_ROWS * shape[0]
        self._axis_rows = sorted(set(spread.astype(int).tolist())) if config.centre is None else []
        self._given, self._centre = config.centre, float("nan")
        self.rings = config.rings
        """How they are removed; None: not at all."""
        self.angles = np.zeros(0)
        self._angles_changed = 0
        self.count = 0
        self.made_before: Callable[[], References] | None = None
        """Flats and darks of line integrals, which somebody else divides by."""
        self.pending = False
        """True while the planes have work left."""
        self.move(config.slices or (shape[0] // 2,))

    @property
    def plane(self) -> tuple[int, int]:
        """Of a vertical plane."""
        assert self._planes is not None
        return self._planes.plane

    def move(self, rows: Sequence[int]) -> None:
        """The slices are at these detector rows from now on; what was kept of them is taken up."""
        wanted = [*rows, *([-1] * (len(self._places) - len(rows)))]
        for place, row in zip(self._places, wanted, strict=True):
            if place.row != row:
                place.row, place.grown, place.sent, place.ringless = row, None, None, Ringless()
        for row in sorted({*rows, *self._axis_rows} - self._sinograms.keys()):
            made = self._sinograms[row] = Sinogram(row, self._shape[1], self._dtype, self._bad)
            there = np.flatnonzero(np.isfinite(self.angles)) if self.store is not None else np.zeros(0, int)
            if self.store is not None and len(there):
                made.take(there.tolist(), self.store.rows(there.tolist(), row, row + 1)[:, 0])
        for row in self._sinograms.keys() - {*rows, *self._axis_rows}:
            del self._sinograms[row]

    def set_centre(self, given: float | None) -> None:
        """The user's own word, or None for an estimate."""
        self._given = given

    def has(self, index: int) -> bool:
        """True if this projection has been taken."""
        return index < len(self.angles) and bool(np.isfinite(self.angles[index]))

    def projection(self, index: int, angle: float, image: Array) -> None:
        """One of them, at this angle, degrees: raw counts, or line integrals. Raises ValueError where it is none of
        this scan."""
        if image.shape != self._shape or not np.can_cast(image.dtype, self._dtype, "safe"):
            text = f"{image.dtype} of {image.shape[0]} x {image.shape[1]} pixels"
            wanted = f"{self._dtype} of {self._shape[0]} x {self._shape[1]}"
            raise ValueError(f"a projection is {text}, the scan has {wanted}: it is in no slice")
        if index >= len(self.angles):
            more = np.full(max(index + 1, 2 * len(self.angles), 256) - len(self.angles), np.nan)
            self.angles = np.concatenate([self.angles, more])
        if self.store is not None:
            self.store.put(index, image)
        if self._planes is not None:
            self._planes.put(index, image)
        for row, sinogram in self._sinograms.items():
            sinogram.put(index, image[row])
        self.angles[index] = angle
        self.count = max(self.count, index + 1)

    def flat(self, index: int, image: Array) -> None:
        """A flat field, raw counts."""
        if self.beam is not None:
            self.beam.add_flat(index, image)
        if self._small is not None and self._planes is not None:
            self._small.add_flat(index, self._planes.seen(image))

    def dark(self, image: Array) -> None:
        """A dark, raw counts."""
        if self.beam is not None:
            self.beam.add_dark(image)
        if self._small is not None and self._planes is not None:
            self._small.add_dark(self._planes.seen(image))

    def pieces(self, *, last: bool = False, seconds: float = 0.1) -> tuple[State, Mapping[str, Piece]]:
        """What is new. last: everything once more from the beginning, whatever has come in which order. seconds: the
        planes get so long."""
        if last:
            self._centre = float("nan")
            for place in self._places:
                place.grown, place.sent, place.ringless = None, None, Ringless()
            if self._planes is not None:
                self._planes.forget()
        angles = self.angles[: self.count]
        covered = coverage(angles, turn_deg=self.width.turn_deg)
        found = self._find(angles, last=last)
        pieces: dict[str, Piece] = {}
        for number, place in enumerate(self._places, 1):
            pieces |= self._slice(number, place, angles, covered, found.column)
        if self._planes is not None:
            if last and self.rings is not None and enough(covered):
                self._planes.show_without_rings(angles, covered.weights, found.column, self._small, self.rings)
                self.pending = False
            else:
                endless = float("inf") if last else seconds
                self.pending = not self._planes.show(angles, covered.weights, found.column, self._small, endless)
            if not self.pending:
                pieces["vertical_x"] = Piece((0, 0), self._planes.along_x)
                pieces["vertical_y"] = Piece((0, 0), self._planes.along_y)
        references = self._references()
        there = int(np.isfinite(angles).sum())
        raw = self.beam is not None and not references.flats
        without = tuple(place.ringless.projections for place in self._places)
        state = State(angles, covered, found, there, references, raw, self.rings, without, self._planes is None or last)
        return state, {**pieces, **state.pieces([place.row for place in self._places])}

    def _references(self) -> References:
        if self.beam is None:
            return self.made_before() if self.made_before is not None else References()
        unusable = int((self.beam.unusable() & ~self._bad).sum())
        return References(self.beam.flats, self.beam.darks, unusable)

    def lines(self, there: Array, first: int, end: int) -> Array:
        """float32 (n, end - first, columns): line integrals of these rows of the projections `there`."""
        assert self.store is not None
        rows = self.store.rows(there.tolist(), first, end)
        return rows if self.beam is None else self.beam.lines(there, rows, first, self._bad[first:end])

    def _find(self, angles: Array, *, last: bool) -> Found:
        if self._given is not None:
            return Found(self._given, 0.0, "given")
        there = np.flatnonzero(np.isfinite(angles))
        lines = self._axis_lines(there)
        found = axis.find(lines, angles[there])
        if last and len(there):
            column, contrast = axis.searched(lines, angles[there], found.column)
            found = replace(found, searched=column, contrast=contrast)
        if not abs(found.column - self._centre) <= STEADY:
            self._centre = found.column
        return replace(found, column=self._centre)

    def _axis_lines(self, there: Array) -> Array:
        rows = [self._sinograms[row].lines(self.count, self.beam)[there] for row in self._axis_rows]
        if not rows:  # the centre was given at the start, and has been taken back
            rows = [self._sinograms[place.row].lines(self.count, self.beam)[there] for place in self._places[:1]]
        return np.stack(rows, axis=1)

    def _slice(self, number: int, place: _Place, angles: Array, covered: Coverage, centre: float) -> dict[str, Piece]:
        columns = self._shape[1]
        picture, lines = f"slice_{number}", f"sinogram_{number}"
        if place.row < 0:
            if place.sent is None and place.made >= 0:  # it was there
                place.made = -1
                none = np.full((self.count, columns), np.nan, np.float32)
                return {
                    picture: Piece((0, 0), np.full((self.width.size, self.width.size), np.nan, np.float32)),
                    lines: Piece((0, 0), none),
                }
            return {}
        sinogram = self._sinograms[place.row]
        values, has = sinogram.lines(self.count, self.beam), sinogram.has[: self.count]
        if not has.any():
            return {}
        if (has != np.isfinite(angles)).any():
            covered = coverage(np.where(has, angles, np.nan), turn_deg=self.width.turn_deg)
        if place.grown is None:
            place.grown = Grown(self.width, self._config.window)
        smooth, made = place.ringless.lines(values, angles, covered, self.rings, sinogram.made)
        place.grown.show(smooth, angles, covered.weights, centre, made)
        shown = place.grown.picture()
        shown[self.width.outside(centre)] = np.nan
        found = {picture: Piece((0, 0), shown)}
        new = np.zeros(self.count, bool)
        if place.sent is None or place.made != sinogram.made:
            new[:] = True
        else:
            new[: len(place.sent)] = has[: len(place.sent)] & ~place.sent
            new[len(place.sent) :] = True
        place.sent, place.made = has.copy(), sinogram.made
        if new.any():
            first, end = int(new.argmax()), self.count - int(new[::-1].argmax())
            part = np.where(has[first:end, None], values[first:end], np.float32(np.nan))
            found[lines] = Piece((first, 0), part)
        return found

    def close(self) -> None:
        """Free the disk."""
        for each in (self.store, self._planes):
            if each is not None:
                each.close()
