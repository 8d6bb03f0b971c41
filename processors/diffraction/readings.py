"""What the frames' readings say of the points of a tomogram: angles, and the transmitted beam."""

import numpy as np

from processors.diffraction.options import Config
from processors.shared.grid import Grid
from stream.events import Array, Frame


class Readings:
    """Of every frame that has a place. Means are taken in the order of the frame numbers, whatever order they came in:
    the same bits."""

    def __init__(self, config: Config, grid: Grid) -> None:
        self._config, self._grid = config, grid
        self._motor = grid.motors[0 if config.rotation == "slow" else 1]
        self.needed = config.angles == "readings" or config.centre_from is not None
        self._rows, self._count = np.empty((1024, 5)), 0
        self._has = np.zeros(1024, bool)

    def take(self, frame: Frame) -> None:
        """A frame that the map has taken."""
        if not self.needed or (frame.index < len(self._has) and self._has[frame.index]):
            return
        place = self._grid.place(frame.index, frame.readings)
        if place is not None:
            angle = frame.readings.get(self._motor, float("nan"))
            self._add(frame.index, (frame.index, place.row, place.column, angle, self._transmitted(frame)))

    def angles(self, count: int) -> tuple[Array, Array]:
        """float64 (count,): the mean angle of each projection, and the largest distance of one of its frames from
        it, degrees; NaN without any. A full turn is nothing."""
        table = self._table()
        which = table[:, 1 if self._config.rotation == "slow" else 2].astype(int)
        known = np.isfinite(table[:, 3]) & (which < count)
        which, angle = which[known], table[known, 3]
        first, mean, spread = (np.full(count, np.nan) for _ in range(3))
        first[which[::-1]] = angle[::-1]
        off = (angle - first[which] + 180.0) % 360.0 - 180.0
        frames = np.bincount(which, minlength=count)
        there = frames > 0
        mean[there] = first[there] + np.bincount(which, off, count)[there] / frames[there]
        spread[there] = 0.0
        np.maximum.at(spread, which, np.abs(off - (mean - first)[which]))
        return mean, spread

    def transmitted(self, rows: int) -> Array:
        """float64 (rows, fast): the mean at each point, NaN without any."""
        table, columns = self._table(), self._grid.columns
        known = np.isfinite(table[:, 4]) & (table[:, 1] < rows)
        point = (table[known, 1] * columns + table[known, 2]).astype(int)
        frames = np.bincount(point, minlength=rows * columns)
        total = np.bincount(point, table[known, 4], rows * columns)
        found: Array = np.where(frames > 0, total / np.maximum(frames, 1), np.nan)
        return found.reshape(rows, columns)

    def _transmitted(self, frame: Frame) -> float:
        name, monitor = self._config.centre_from, self._config.normalize_by
        if name is None:
            return float("nan")
        value = frame.readings.get(name, float("nan"))
        by = 1.0 if monitor is None else frame.readings.get(monitor, float("nan"))
        return value / by if by > 0 else float("nan")

    def _add(self, index: int, row: tuple[float, ...]) -> None:
        if index >= len(self._has):
            self._has = np.concatenate([self._has, np.zeros(max(index, 1024) + 1, bool)])
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._has[index], self._rows[self._count] = True, row
        self._count += 1

    def _table(self) -> Array:
        table = self._rows[: self._count]
        return table[np.argsort(table[:, 0], kind="stable")]
