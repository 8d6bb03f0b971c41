"""Sinograms of single detector rows in memory, by frame number: as they came, and as line integrals."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from processors.reconstruction.beam import Beam
from stream.events import Array


class Sinogram:
    """Of one row. raw: (frames, columns), in the detector's type; lines: float32, made when they are asked for.

    made: how often lines that were there before have changed.
    """

    def __init__(self, row: int, columns: int, dtype: np.dtype[Any], bad: Array) -> None:
        self.row, self._bad = row, bad[row]
        self.raw = np.zeros((0, columns), dtype)
        self._lines = np.zeros((0, columns), np.float32)
        self.has = np.zeros(0, bool)
        """Which frame numbers it has."""
        self._new: list[int] = []
        self._with = -1
        self.made = 0

    def put(self, index: int, values: Array) -> None:
        """The row of one projection."""
        self._room(index + 1)
        self.raw[index], self.has[index] = values, True
        self._new.append(index)

    def take(self, indices: Iterable[int], rows: Array) -> None:
        """Those of many: (n, columns)."""
        for index, values in zip(indices, rows, strict=True):
            self.put(index, values)

    def lines(self, frames: int, beam: Beam | None) -> Array:
        """float32 (frames, columns), 0 where it has none. beam None: they are line integrals already."""
        self._room(frames)
        if beam is None:
            return self.raw[:frames]
        if beam.made != self._with:
            self.made += 1
            self._with, self._new = beam.made, np.flatnonzero(self.has).tolist()
        if self._new:
            new = np.array(sorted(set(self._new)))
            self._lines[new] = beam.lines(new, self.raw[new][:, None], self.row, self._bad[None])[:, 0]
            self._new = []
        return self._lines[:frames]

    def _room(self, frames: int) -> None:
        if frames > len(self.raw):
            more = max(frames, 2 * len(self.raw), 256) - len(self.raw)
            self.raw = np.concatenate([self.raw, np.zeros((more, self.raw.shape[1]), self.raw.dtype)])
            self.has = np.concatenate([self.has, np.zeros(more, bool)])
            self._lines = np.concatenate([self._lines, np.zeros((more, self._lines.shape[1]), np.float32)])
