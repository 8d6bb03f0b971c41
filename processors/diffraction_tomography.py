"""`diffraction_tomography`: a map whose one direction turns, and slices of each radial region while it grows.

The cube and the images are those of `map`, which this is made of: its images of sums are the sinograms. After every
completed projection they are reconstructed by filtered back-projection; at the end once more, all from the beginning,
so that the result does not depend on what came when.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from processors.diffraction import layout
from processors.diffraction.geometry import Turning, turning_of
from processors.diffraction.live import Slices, State
from processors.diffraction.options import Config as Config
from processors.diffraction.readings import Readings
from processors.diffraction.sinograms import Sinograms
from processors.map import Map
from processors.mapping.layout import RADIAL_CHUNK
from processors.mapping.lines import Lines
from processors.mapping.pictures import patterns_of
from processors.mapping.source import source_of
from processors.tomography.backprojection import compile_kernels
from processors.tomography.volume import Recipe, blocks
from stream.context import ALONE, Context
from stream.events import Array, Piece, ScanEnd, ScanStart, Update
from stream.products import Product
from stream.work import Work

UNSURE = 1.0
"""Columns: a centre that is less certain than this is told, and the exit code is not 0."""
BUSY = 4
"""Slices take at most a fifth of this thread's time: the next ones wait at least so many times as long as the last
ones took."""


def create(config: Config, context: Context = ALONE) -> "DiffractionTomography":
    """The gatherer for a validated configuration."""
    return DiffractionTomography(config, context)


class DiffractionTomography:
    """See the module."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context
        self._map = Map(config, context)
        self._turning: Turning
        self._slices: Slices
        self._scan, self._bins = "", 0
        self._covers: list[int] = []
        self._all: list[int] = []
        self._new, self._due = False, 0.0

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """As the map; raises ConfigError also where the angles, or the number of translations, are not known."""
        config = self.config
        products = self._map.start(scan, work)
        self._scan = scan.uid
        grid = self._map.grid
        turning = self._turning = turning_of(config, scan, grid)
        names = layout.quantities(config)
        sinograms = Sinograms(
            [name for name in names if name != layout.ABSORPTION],
            grid.columns,
            turning.translations,
            slow_turns=config.rotation == "slow",
        )
        self._slices = Slices(turning, names, sinograms, Readings(config, grid))
        self._covers, self._all, self._new, self._due = [], [], False, 0.0
        compile_kernels()
        source = source_of(work, config.of)
        signal = next(field for field in source.fields if field.name == source.signal)
        self._bins = int(signal.shape[-1] or 0)
        size, across = layout.size_of(config, turning.translations), turning.translation
        made = layout.slices(config, names, signal.unit, size, across, turning.rotation.points)
        return (*products, made, *((layout.volume(config, source, size, across),) if config.volume else ()))

    def take(self, work: Work) -> Iterable[Update]:
        """As the map. Raises ValueError for a frame that has no place, or no pattern."""
        updates = list(self._map.take(work))
        if work.frame.payloads or work.frame.results:
            self._slices.readings.take(work.frame)
        return [*updates, *self._follow(updates)]

    def tick(self) -> Iterable[Update]:
        """Lines that have waited long enough, and slices that have."""
        updates = list(self._map.tick())
        return [*updates, *self._follow(updates)]

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """The rest of the map; then every slice from the beginning, and what there is to tell."""
        lines = self._map.lines
        updates = list(self._map.finish(end))
        self._note(updates)
        yield from updates
        state, pieces = self._slices.pieces(last=True)
        covers, self._covers = self._covers, []
        yield Update(self._scan, self.config.gives()[2], pieces, covers=tuple(covers))
        self._tell(state)
        if self.config.volume:
            yield from self._volume(state, lines)

    def _volume(self, state: State, lines: Lines) -> Iterator[Update]:
        turning, config = self._turning, self.config
        recipe = Recipe(
            state.centre.column,
            layout.size_of(config, turning.translations),
            config.window,
            None if config.air is None else (config.air.points, config.air.by),
            config.outliers,
            config.longest_gap,
            config.half_acquisition,
            threads=len(os.sched_getaffinity(0)),
        )
        rows = self._slices.sinograms.rows

        def read(first: int, end: int) -> Array:
            cube = np.full((rows, self._map.grid.columns, end - first), np.nan)
            for row, line in lines:
                if row < rows:
                    cube[row] = patterns_of(line.values)[:, first:end]
            return self._slices.sinograms.turned(cube)

        for block in blocks(read, self._bins, state.angles, recipe, at_once=RADIAL_CHUNK):
            pieces = {
                "I": Piece((0, 0, block.first), block.pictures),
                "replaced": Piece((block.first,), block.replaced),
            }
            last = block.first + len(block.replaced) == self._bins
            yield Update(self._scan, config.gives()[3], pieces, covers=tuple(self._all) if last else ())

    def _follow(self, updates: Sequence[Update]) -> Iterator[Update]:
        self._note(updates)
        now = time.monotonic()
        if not self._new or now < self._due:
            return
        _, pieces = self._slices.pieces()
        done = time.monotonic()
        self._due = done + max(self.config.picture_s, BUSY * (done - now))
        covers, self._covers, self._new = self._covers, [], False
        yield Update(self._scan, self.config.gives()[2], pieces, covers=tuple(covers))

    def _note(self, updates: Sequence[Update]) -> None:
        for update in updates:
            if update.product == self.config.gives()[1]:
                self._new = self._slices.sinograms.take(update.pieces) or self._new
                self._covers += update.covers
                self._all += update.covers if self.config.volume else ()

    def _tell(self, state: State) -> None:
        name, told = self.config.name, []
        if state.left_out.any():
            first = int(np.flatnonzero(state.left_out)[0])
            told.append(
                f"{int(state.left_out.sum())} projections lack too many points, and are in no slice: {first} ..."
            )
        lacking = np.flatnonzero(~np.isfinite(state.angles))
        if len(lacking):
            told.append(f"{len(lacking)} projections have no angle, and are in no slice: {int(lacking[0])} ...")
        if self._slices.sinograms.beyond:
            told.append(f"{self._slices.sinograms.beyond} lines lie beyond the last translation: they are in no slice")
        steps = np.sort(np.mod(state.angles[np.isfinite(state.angles)], 360.0))
        if len(steps) > 1 and np.nanmax(state.spread) > max(np.diff(steps).max() / 2, 1e-6):
            told.append(f"the angle varies by {np.nanmax(state.spread):.3g} degrees within a projection")
        if len(state.angles) and not state.centre.uncertainty <= UNSURE:
            text = "the centre of rotation is unsure" if state.centre.known else "the centre of rotation is not known"
            told.append(f"{text} ({state.words}): give `centre`, or `centre_from` a diode")
        for text in told:
            self._context.trouble(f"{name}: {text}")
