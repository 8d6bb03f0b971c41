"""The two vertical planes through the axis, while the sample turns, in coarser pixels: every projection is filtered row
by row, and seen along one line of each row's slice. A projection whose weight changes gives, or takes, the difference.

Conventions as in `processors.tomography`: the line of angle w and column t goes through x cos w + y sin w = t - centre.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from processors.reconstruction.beam import Beam
from processors.reconstruction.store import Store
from processors.reconstruction.width import Width, binned_centre
from processors.tomography import filters
from processors.tomography.filters import Window
from processors.tomography.growing import SAME
from processors.tomography.rings import Method, without_rings
from stream.codec.compiler import kernel
from stream.events import Array

BLOCK_BYTES = 1 << 26
"""Of lines that are in memory at once where rings are removed."""


class Planes:
    """along_x: float32 (rows, size), the plane y = 0; along_y: the plane x = 0. shape: of the detector."""

    def __init__(
        self, shape: tuple[int, int], width: Width, most: int, bad: Array, window: Window, folder: Path | None
    ) -> None:
        self.bin = (-(-shape[0] // most), -(-shape[1] // most))
        self._width = width.binned(self.bin[1])
        self.shape = (-(-shape[0] // self.bin[0]), -(-shape[1] // self.bin[1]))
        self._good = ~bad
        self._share = np.maximum(self._binned(self._good.astype(np.float64)), 1e-9)
        rows, columns = self.shape
        self._planes: Array = np.zeros((2, rows, self._width.size))
        self._store = Store((rows, columns), np.dtype("f4"), folder)
        self._response = filters.response(self._width.wide, window) / self.bin[1]
        self._weights, self._angles = np.zeros(0), np.zeros(0)
        self._made: tuple[float, int] = (float("nan"), -1)

    @property
    def plane(self) -> tuple[int, int]:
        """(rows, size) of one."""
        return self.shape[0], self._width.size

    @property
    def along_x(self) -> Array:
        """y = 0."""
        found: Array = self._planes[0].astype(np.float32)
        return found

    @property
    def along_y(self) -> Array:
        """x = 0."""
        found: Array = self._planes[1].astype(np.float32)
        return found

    def forget(self) -> None:
        """Make them anew with the next `show`."""
        self._made = (float("nan"), -1)

    def put(self, index: int, image: Array) -> None:
        """A projection: raw counts (or line integrals), of the whole detector."""
        self._store.put(index, self.seen(image))

    def seen(self, image: Array) -> Array:
        """float32: the mean of the good pixels that become one; 0 without any."""
        found: Array = (self._binned(np.where(self._good, image, 0)) / self._share).astype(np.float32)
        return found

    def _binned(self, image: Array) -> Array:
        rows, columns = self.bin
        found = image
        for axis, by in ((0, rows), (1, columns)):
            if by > 1:
                found = np.add.reduceat(found, np.arange(0, found.shape[axis], by), axis=axis, dtype=np.float64)
        return np.asarray(found, np.float64)

    def show(self, angles: Array, weights: Array, centre: float, beam: Beam | None, seconds: float) -> bool:
        """angles, weights (n,): by frame number, weight 0 is left out; beam: binned as the images, None for line
        integrals. Works at most about so many seconds; True if the planes are then those of these projections."""
        made = (centre, -1 if beam is None else beam.made)
        if made != self._made or (angles[: len(self._angles)] != self._angles)[self._weights > 0].any():
            self._planes[:], self._weights, self._made = 0, np.zeros(0), made
        more = len(weights) - len(self._weights)
        self._weights = np.concatenate([self._weights, np.zeros(more)])
        self._angles = np.where(weights > 0, angles, 0.0)
        until = time.monotonic() + seconds
        changed = np.flatnonzero(np.abs(weights - self._weights) > SAME)
        for index in changed.tolist():
            if time.monotonic() > until:
                return False
            share = weights[index] - self._weights[index]
            self._add(self._planes, self._lines(index, beam), self._angles[index], share, centre)
            self._weights[index] = weights[index]
        return True

    def show_without_rings(
        self, angles: Array, weights: Array, centre: float, beam: Beam | None, method: Method
    ) -> None:
        """All projections anew, as `show` has them, their rings removed row by row."""
        there = np.flatnonzero(weights > 0)
        rows, columns = self.shape
        together = max(1, BLOCK_BYTES // max(1, 8 * len(there) * columns))
        for first in range(0, rows, together):
            end = min(first + together, rows)
            counts = self._store.rows(there.tolist(), first, end)
            none = np.zeros((end - first, columns), bool)
            lines = counts if beam is None else beam.lines(there, counts, first, none)
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                smooth = list(
                    pool.map(partial(without_rings, method=method, angles_deg=angles[there]), lines.swapaxes(0, 1))
                )
            part = np.zeros((2, end - first, self._planes.shape[2]))
            for place, index in enumerate(there.tolist()):
                projection = np.stack([each[place] for each in smooth])
                self._add(part, projection, angles[index], weights[index], centre)
            self._planes[:, first:end] = part
        self._made = (float("nan"), -1)

    def _add(self, planes: Array, lines: Array, angle: float, weight: float, centre: float) -> None:
        radian = np.deg2rad(angle)
        wide, axis = self._width.lines(lines, binned_centre(centre, self.bin[1]))
        ready = filters.filtered(wide, self._response) * weight
        _add(planes, ready, np.cos(radian), np.sin(radian), axis)

    def _lines(self, index: int, beam: Beam | None) -> Array:
        image = self._store.image(index)
        if beam is None:
            return image
        none = np.zeros(self.shape, bool)
        found: Array = beam.lines(np.array([index]), image[None], 0, none)[0]
        return found

    def close(self) -> None:
        """Free the disk."""
        self._store.close()


def compile_kernels() -> None:
    """Before the frames come."""
    _add(np.zeros((2, 1, 2)), np.zeros((1, 2)), 1.0, 0.0, 0.5)


@kernel(fastmath={"contract"})
def _add(planes, ready, cosine, sine, centre):  # type: ignore[no-untyped-def]
    size, last = planes.shape[2], ready.shape[1] - 1
    for plane in range(2):
        step = cosine if plane == 0 else sine
        start = centre - (size - 1) / 2.0 * step
        for row in range(ready.shape[0]):
            line, projection = planes[plane, row], ready[row]
            for place in range(size):
                at = start + place * step
                if 0.0 <= at <= last:
                    before = int(at)
                    part = at - before
                    after = min(before + 1, last)
                    line[place] += projection[before] * (1.0 - part) + projection[after] * part
