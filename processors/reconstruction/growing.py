"""A slice while its projections come, on a grid in Fourier space: the new is added, the changed exchanged."""

import numpy as np

from processors.reconstruction.width import Width
from processors.tomography.filters import Window
from processors.tomography.gridding import Gridded
from processors.tomography.growing import SAME
from stream.events import Array


class Grown:
    """Of one detector row. Rows of `values` are frame numbers."""

    def __init__(self, width: Width, window: Window) -> None:
        self._width = width
        self._grid = Gridded(width.wide, width.size, window)
        self._forget()

    def _forget(self) -> None:
        self._grid.clear()
        self._weights, self._angles = np.zeros(0), np.zeros(0)
        self._made: tuple[float, object] = (float("nan"), -1)

    def show(self, values: Array, angles: Array, weights: Array, centre: float, made: object) -> int:
        """values float32 (n, columns), as many as before or more; angles, weights (n,); those of weight 0 (radian) are
        left out, whatever they are. made: changes when values that were there before do. Returns how many it took."""
        if (centre, made) != self._made or (angles[: len(self._angles)] != self._angles)[self._weights > 0].any():
            self._forget()
            self._made = (centre, made)
        self._weights = np.concatenate([self._weights, np.zeros(len(weights) - len(self._weights))])
        changed = np.flatnonzero(np.abs(weights - self._weights) > SAME)
        if 2 * len(changed) > np.count_nonzero(weights) + 2 and self._weights.any():
            self._grid.clear()
            self._weights[:] = 0
            changed = np.flatnonzero(weights)
        if len(changed):
            share = weights[changed] - self._weights[changed]
            lines, axis = self._width.lines(values[changed], centre)
            self._grid.add(lines, np.where(weights > 0, angles, 0.0)[changed], axis, share)
        self._weights, self._angles = weights.copy(), np.where(weights > 0, angles, 0.0)
        return len(changed)

    def picture(self) -> Array:
        """float32 (size, size)."""
        return self._grid.slice()
