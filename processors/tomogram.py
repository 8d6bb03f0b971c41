"""`tomography`: slices of a turning sample while its projections come, in any order.

After each projection, as often as time allows, the chosen slices and the two vertical planes through the axis are
reconstructed by filtered back-projection on a grid in Fourier space; at the end once more, all from the beginning, so
that the result does not depend on what came when. Projections are raw counts, divided here by the flat fields of the
scan, or what the processors `projection` make of them.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from processors.correct import bad_pixels_for, the_channel
from processors.projections.chain import Projections
from processors.projections.pixels import line_integrals
from processors.reconstruction import layout, planes
from processors.reconstruction.beam import Beam
from processors.reconstruction.live import Tomogram
from processors.reconstruction.options import Config as Config
from processors.reconstruction.ringless import WANTED, enough
from processors.reconstruction.state import References, State
from processors.tomography import gridding, running
from processors.tomography.rings import without_rings
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, Piece, ScanEnd, ScanStart, Update
from stream.products import Product
from stream.turning import Key, Turning
from stream.work import Work

UNSURE = 1.0
"""Columns: a centre that is less certain than this is told, and the exit code is not 0."""
BUSY = 4
"""Pictures take at most a fifth of this thread's time: the next ones wait at least so many times as long as the last
ones took."""
MOST_ANNOUNCED = 1_000_000
"""Frames: of more, which a detector that is stopped by hand announces, the arrays grow as they come."""
BLOCK_BYTES = 1 << 26
"""Of sinograms that are in memory at once for the volume."""


def create(config: Config, context: Context = ALONE) -> "Tomography":
    """The gatherer for a validated configuration."""
    return Tomography(config, context)


class Tomography:
    """See the module."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context
        self._tomogram: Tomogram | None = None
        self._turning: Turning
        self._chain: Projections
        self._scan, self._channel = "", ""
        self._begin()

    def _begin(self) -> None:
        self._covers: list[int] = []
        self._all: list[int] = []
        self._new, self._due, self._highest = False, 0.0, -1
        self._set = (self.config.slices, self.config.centre, self.config.rings)
        self._refused = ""

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Raises ConfigError where the angles are not known, or a slice or the centre lies beyond the images."""
        config, name = self.config, self.config.name
        self._close()
        self._begin()
        self._scan = scan.uid
        self._turning = Turning(config.turn, scan, f"{name}.turn")
        chain = self._chain = Projections.of(work, scan).for_gatherer()
        shape = chain.shape(scan)
        self._shape = shape
        if problem := self._problem(config.slices, config.centre):
            raise ConfigError([(name, problem)])
        known = chain.line_integrals or any(
            each.beam is not None or each.from_scan or each.stage.steps.air is not None for each in chain.links
        )
        if chain.links and not known:
            text = "the projections are counts: give `projection` a flat, or from_scan, or an air region"
            raise ConfigError([(name, text)])
        bad, beam, dtype = np.zeros(shape, bool), None, np.dtype("f4")
        if not chain.links:
            self._channel = the_channel(scan, config.channel)
            instead = "put dark and flat into a `projection` in front of it"
            correction = bad_pixels_for(work, scan, name, instead, config.channel)
            bad, dtype = correction.mask, scan.dtype.newbyteorder("=")
            beam = Beam(shape, config.flat == "nearest", low=correction.low, high=correction.high)
        made = self._tomogram = Tomogram(config, shape, dtype, beam, bad, self._context.scratch)
        if chain.links:
            made.made_before = self._made_before
        gridding.compile_kernels()
        planes.compile_kernels()
        if config.rings is not None:
            running.compile_kernels()
        plane = made.plane if config.vertical else (1, 1)
        frames = scan.expected if scan.expected is None or scan.expected <= MOST_ANNOUNCED else None
        product = layout.slices(config, made.width, frames, plane)
        return (product, *((layout.volume(config, shape[0], made.width.size),) if config.volume else ()))

    def take(self, work: Work) -> Iterable[Update]:
        """One frame, whatever it is. Raises ValueError for a projection without an angle, or without its flats."""
        frame = work.frame
        if frame.index > self._highest:
            self._highest = frame.index
            self._change(work.options(self.config))
        if not frame.payloads:
            return ()
        assert self._tomogram is not None
        key = self._turning.key(frame)
        angle = self._turning.angle(frame)
        if key in (Key.FLAT, Key.DARK):
            self._reference(key, work)
        elif key is Key.PROJECTION and not self._tomogram.has(frame.index):
            if not np.isfinite(angle):
                raise ValueError(self._turning.confused or "this projection has no angle, and is in no slice")
            self._tomogram.projection(frame.index, angle, self._image(work))
        self._covers.append(frame.index)
        if self.config.volume:
            self._all.append(frame.index)
        self._new = True
        return self._give()

    def tick(self) -> Iterable[Update]:
        """Pictures that have waited long enough."""
        return self._give()

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """Everything from the beginning, and what there is to tell."""
        made = self._tomogram
        assert made is not None
        state, pieces = made.pieces(last=True)
        covers, self._covers = self._covers, []
        yield Update(self._scan, self.config.name, pieces, covers=tuple(covers))
        self._tell(state, self._turning.surplus(end))
        if self.config.volume:
            yield from self._volume(state)
        self._close()

    def _close(self) -> None:
        if self._tomogram is not None:
            self._tomogram.close()
        self._tomogram = None

    def _made_before(self) -> References:
        """Of the first `projection`: flats and darks of the scan, or of files, which nobody counts."""
        chain = self._chain
        beam = chain.references.beam(self._highest) if chain.waits else chain.links[0].beam
        unusable = 0 if beam is None else beam.unusable
        return References(chain.references.flats, chain.references.darks, unusable)

    def _image(self, work: Work) -> Array:
        if not self._chain.links:
            return work.image(self._channel)
        found = self._chain.image(work)
        if found is None:
            raise ValueError("no flat field has come before this projection, and it is in no slice")
        return found[0] if self._chain.line_integrals else line_integrals(found[0])[0]

    def _reference(self, key: Key, work: Work) -> None:
        assert self._tomogram is not None
        if self._chain.links:
            if self._chain.waits:
                self._chain.reference(key.name.lower(), work)
        elif key is Key.FLAT:
            self._tomogram.flat(work.frame.index, work.image(self._channel))
        else:
            self._tomogram.dark(work.image(self._channel))

    def _change(self, options: Config) -> None:
        wanted = (options.slices, options.centre, options.rings)
        if wanted == self._set:
            return
        self._set = wanted
        if problem := self._problem(options.slices, options.centre):
            self._context.trouble(f"{self.config.name}: {problem}; what was set before stays")
            return
        assert self._tomogram is not None
        self._tomogram.move(options.slices or (self._shape[0] // 2,))
        self._tomogram.set_centre(options.centre)
        self._tomogram.rings = options.rings
        self._new = True

    def _problem(self, slices: Sequence[int], centre: float | None) -> str:
        rows, columns = self._shape
        if self.config.half_acquisition and centre != self.config.centre:
            return "in half-acquisition the centre decides on the size of the slices, and stays for the scan"
        if len(slices) > self.config.most:
            return f"there is room for {self.config.most} slices, not {len(slices)}: set `most`"
        for row in slices:
            if row >= rows:
                return f"slice {row} is none of the rows 0 to {rows - 1}"
        if centre is not None and not 0 <= centre <= columns - 1:
            return f"the centre {centre:g} is none of the columns 0 to {columns - 1}"
        return ""

    def _give(self) -> list[Update]:
        now = time.monotonic()
        if not self._new or now < self._due or self._tomogram is None:
            return []
        _, pieces = self._tomogram.pieces()
        done = time.monotonic()
        self._due = done + max(self.config.picture_s, BUSY * (done - now))
        covers, self._covers, self._new = self._covers, [], self._tomogram.pending
        return [Update(self._scan, self.config.name, pieces, covers=tuple(covers))]

    def _volume(self, state: State) -> Iterator[Update]:
        made, config, name = self._tomogram, self.config, f"{self.config.name}_volume"
        assert made is not None and made.store is not None
        rows, columns = self._shape
        width, centre = made.width, state.axis.column
        there = np.flatnonzero(np.isfinite(state.angles))
        angles, weights = state.angles[there], state.coverage.weights[there]
        outside = width.outside(centre)
        method = state.rings if enough(state.coverage) else None

        def reconstructed(lines: Array) -> Array:
            lines = lines if method is None else without_rings(lines, method, angles)
            wide, axis = width.lines(lines, centre)
            found = gridding.fbp(wide, angles, centre=axis, weights=weights, window=config.window, size=width.size)
            found[outside] = np.nan
            return found

        block = max(1, min(rows, BLOCK_BYTES // max(1, 4 * len(there) * columns)))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for first in range(0, rows if len(there) else 0, block):
                end = min(first + block, rows)
                lines = made.lines(there, first, end)
                pictures = pool.map(reconstructed, [lines[:, each] for each in range(end - first)])
                for number, picture in enumerate(pictures, first):
                    covers = tuple(self._all) if number == rows - 1 else ()
                    yield Update(self._scan, name, {"I": Piece((number, 0, 0), picture[None])}, covers=covers)
        if not len(there):
            yield Update(self._scan, name, {}, covers=tuple(self._all))

    def _tell(self, state: State, surplus: str) -> None:
        told = [surplus] if surplus and state.projections else []
        if state.projections and state.raw:
            told.append("no flat field has come: the slices are a raw preview, whose values mean nothing")
        if state.projections and state.rings is not None and not enough(state.coverage):
            told.append(f"rings are left in: to tell them from the sample takes {WANTED}")
        if state.projections and not state.axis.uncertainty <= UNSURE:
            what = "not known" if state.axis.how == "middle" else "unsure"
            told.append(f"the centre of rotation is {what} ({state.axis.words}): give `centre`")
        elif state.axis.how != "given" and abs(state.axis.searched - state.axis.column) > UNSURE:
            told.append(
                f"the search finds the axis elsewhere ({state.axis.words}): look at the slices, and give `centre`"
            )
        for text in told:
            self._context.trouble(f"{self.config.name}: {text}")
