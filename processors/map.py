"""`map`: the patterns of a scan in a cube (slow, fast, radial), or (slow, fast, azimuthal, radial), and its images.

A frame lies where its own number or its motors' readings say, never where its turn was. Points without a frame are NaN
with frame index -1. A line goes to the file when it is complete, when the scan has left it, every `line_s` seconds
while it is neither, and at the end; a frame that comes later rewrites its line. After a kill all frames come again.
"""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from processors.mapping import layout, merging
from processors.mapping.found import grid_for
from processors.mapping.lines import Lines
from processors.mapping.options import Config as Config
from processors.mapping.pictures import Pictures
from processors.mapping.rois import Ratio, Roi
from processors.mapping.source import source_of
from processors.shared.grid import Grid
from stream.context import ALONE, Context
from stream.errors import ConfigError
from stream.events import Array, Frame, Piece, ScanEnd, ScanStart, Update
from stream.ledger import Partial
from stream.products import Product
from stream.work import Work

log = logging.getLogger("inbeam")


def create(config: Config, context: Context = ALONE) -> "Map":
    """The gatherer for a validated configuration."""
    return Map(config, context)


class Map:
    """See the module."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        self.config, self._context = config, context
        self._scan, self._announced = "", 0
        self._of, self._signal, self._errors = "", "", ""
        self._grid: Grid
        self._lines: Lines
        self._pictures: Pictures
        self._reset()

    def _reset(self) -> None:
        self._to_tell = ""
        self._taken: set[int] = set()
        self._outside: list[int] = []
        self._row: int | None = None
        self._told_rows = -1
        self._highest = -1
        self._rois: tuple[Mapping[str, Roi], Mapping[str, Ratio]] = ({}, {})
        self._unusable: list[int] = []

    @property
    def grid(self) -> Grid:
        """Of the running scan."""
        return self._grid

    @property
    def lines(self) -> Lines:
        """Of the running scan; after `finish`, none."""
        return self._lines

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Find the patterns and the grid. Raises ConfigError if either is not known."""
        config = self.config
        self._reset()
        self._scan = scan.uid
        source = source_of(work, config.of)
        self._of, self._signal = source.name, source.signal
        fields = {field.name: field for field in source.fields}
        self._errors = f"{source.signal}_errors" if f"{source.signal}_errors" in fields else ""
        grid, told = grid_for(config, scan)
        self._grid, self._announced = grid, scan.expected or 0
        bins = tuple(int(size or 0) for size in fields[source.signal].shape)
        most = config.memory_gb * 1e9
        self._lines = Lines(grid.columns, bins, errors=bool(self._errors), most_bytes=most)
        needed = self._lines.line_bytes * (grid.slow.points or 1)
        if needed > most:
            text = f"the map needs {needed / 1e9:.3g} GB of memory: set memory_gb higher, or fewer bins or points"
            raise ConfigError([(f"{config.name}.memory_gb", text)])
        radial = source.axes[-1].values if source.axes else np.arange(bins[-1], dtype=np.float64)
        self._pictures = Pictures(config.places(), tuple(config.ratios), radial, grid.columns)
        self._rois = (config.rois, config.ratios)
        if problems := self._pictures.use(*self._rois):
            raise ConfigError([(f"{config.name}.rois", text) for text in problems])
        parameters = {"configuration": json.loads(config.model_dump_json()), "of": source.name}
        parameters["grid"] = dict(told)
        self._to_tell = f"slow: {told['slow']}; fast: {told['fast']}"
        parameters["patterns"] = dict(source.parameters)  # the file may have the map alone
        return (
            layout.cube(config.name, source, grid, bool(self._errors), parameters),
            layout.images(config.name, source, grid, config.places(), tuple(config.ratios)),
        )

    def take(self, work: Work) -> Iterable[Update]:
        """Put the frame where it belongs. Raises ValueError for one that has no place, or no pattern."""
        frame = work.frame
        if self._to_tell:
            log.info("%s: %s", self.config.name, self._to_tell)
            self._to_tell = ""
        # what a killed process left may be the pattern alone
        if not (frame.payloads or frame.results) or frame.index in self._taken:
            return []
        place = self._grid.place(frame.index, frame.readings)
        if place is None:
            self._taken.add(frame.index)
            self._outside.append(frame.index)
            return []
        found = work.results.get(self._of)
        if found is None:
            raise ValueError(f"frame {frame.index} has no result of {self._of!r}")
        given = found[self._signal], found.get(self._errors)
        factor = self._factor(frame)
        values, errors = (None, None) if factor is None else (_over(each, factor) for each in given)
        row = place.row
        line = self._lines.add(row, place.column, frame.index, values, errors, time.monotonic())
        self._taken.add(frame.index)
        updates = self._changed(frame, work)
        if self._grid.by == "number" and self._row not in (None, row):
            updates += self._write(int(self._row or 0))  # the scan has left it
        self._row = row
        if line.complete(self._grid.frames_per_point):
            updates += self._write(row)
        return updates

    def tick(self) -> Iterable[Update]:
        """Lines that have waited long enough."""
        now = time.monotonic()
        due = [row for row, line in self._lines if line.waiting and now - line.since > self.config.line_s]
        return [update for row in due for update in self._write(row)]

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """Every line that is not written yet, and what there is to tell."""
        updates = [update for row, _ in self._lines for update in self._write(row)]
        rows = max(self._lines.length, self._grid.slow.points or 0)
        frames = np.zeros((rows, self._grid.columns), np.int32)
        for row, line in self._lines:
            frames[row] = line.frames
        pieces = {**self._positions(rows), **({"frames": Piece((0, 0), frames)} if rows else {})}
        covers, self._outside = self._outside, []
        updates += self._pair(pieces, {**self._positions(rows), **self._pictures.labels()}, covers)
        highest = max(self._taken, default=-1)
        if self._taken and self.config.offset >= max(highest + 1, end.expected, self._announced):
            text = f"all {len(self._taken)} frames lie before offset {self.config.offset}: nothing is in the map"
            self._context.trouble(f"{self.config.name}: {text}")
        if self._unusable:
            count, first = len(self._unusable), min(self._unusable)
            self._context.trouble(
                f"{self.config.name}: {count} frames have no usable reading {self.config.normalize_by!r} (the first: "
                f"frame {first}): they are in no mean, and points without any other frame are NaN"
            )
        grid, columns = self._grid, self._grid.columns
        self._lines = Lines(columns, (), errors=False)
        self._grid = grid
        self._reset()
        return updates

    @property
    def undivided(self) -> str:
        """See `stream.roles.Mergeable`."""
        return ""

    def merge(self, scan: str, parts: Sequence[Mapping[str, Partial]]) -> Iterable[Update]:
        """See `stream.roles.Mergeable`."""
        return merging.updates(scan, self.config, parts)

    def _factor(self, frame: Frame) -> float | None:
        name = self.config.normalize_by
        if name is None:
            return 1.0
        factor = frame.readings.get(name, float("nan"))
        if np.isfinite(factor) and factor > 0:
            return factor
        self._unusable.append(frame.index)
        return None

    def _changed(self, frame: Frame, work: Work) -> list[Update]:
        """The regions are those of the highest frame number that has come: a late frame brings no old ones back."""
        if frame.index < self._highest:
            return []
        self._highest = frame.index
        options = work.options(self.config)
        wanted = (options.rois, options.ratios)
        if wanted == self._rois:
            return []
        self._rois = wanted
        for text in self._pictures.use(*wanted):
            self._context.trouble(f"{self.config.name}: {text}")
        return self._pair({}, self._pictures.whole(self._lines), [])

    def _write(self, row: int) -> list[Update]:
        line = self._lines[row]
        if not line.waiting:
            return []
        covers, line.waiting = line.waiting, []
        covers, self._outside = [*covers, *self._outside], []
        corner = (row, 0, *(0 for _ in line.values.shape[1:]))
        pieces = {
            "I": Piece(corner, line.values[None].copy()),
            "frame_index": Piece((row, 0), line.index[None].copy()),
            "frames": Piece((row, 0), line.frames[None].copy()),
        }
        if line.errors is not None:
            pieces["I_errors"] = Piece(corner, line.errors[None].copy())
        positions: Mapping[str, Piece] = {}
        labels: Mapping[str, Piece] = {}
        rows = max(row + 1, self._grid.slow.points or 0)
        if rows > self._told_rows:
            labels = self._pictures.labels() if self._told_rows < 0 else {}
            self._told_rows = rows
            positions = self._positions(rows)
        images = {**self._pictures.of_line(row, line), **positions, **labels}
        return self._pair({**pieces, **positions}, images, covers)

    def _positions(self, rows: int) -> Mapping[str, Piece]:
        if not rows:
            return {}
        return {layout.names(self._grid)[0]: Piece((0,), self._grid.slow.positions(rows))}

    def _pair(self, cube: Mapping[str, Piece], images: Mapping[str, Piece], covers: Sequence[int]) -> list[Update]:
        name, other = self.config.gives()[:2]
        return [
            Update(self._scan, name, cube, covers=tuple(covers)),
            Update(self._scan, other, images, covers=tuple(covers)),
        ]


def _over(values: Array | None, factor: float) -> Any:
    return values if values is None or factor == 1.0 else np.asarray(values, np.float64) / factor
