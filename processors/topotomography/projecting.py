"""Images of the detector as projections of a volume of voxels: the bins that they are put into, and the way to and fro.

Images are put into bins of a voxel's size before anything is reconstructed, by the share of each pixel that lies in a
bin, so that sums are kept: a voxel larger than a pixel would else be seen by some pixels and missed by others.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from processors.shared.announce import announce
from processors.topotomography import kernels
from processors.topotomography.geometry import AXES, Geometry, Grid
from stream.events import Array

MARGIN = 2
"""Bins of nothing on each side, so that a voxel at the edge of the frame is shared by two bins like any other."""
ALIGNED = 1e-9
HALF = 0.5
"""Of a bin's pixels: with less of them that can be believed it is left out."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Along one direction of the frame: bin k is `pitch` pixels wide and has its middle at pixel first + k pitch."""

    first: float
    pitch: float
    count: int

    @classmethod
    def over(cls, pixels: int, pitch: float) -> "Bins":
        """As many as cover the pixels, of a pitch that may be negative, and the margin."""
        inside = int(np.ceil(pixels / abs(pitch)))
        middle = (pixels - 1) / 2
        return cls(middle - pitch * ((inside - 1) / 2 + MARGIN), pitch, inside + 2 * MARGIN)

    def shares(self, pixels: int) -> Array:
        """float64 (count, pixels): how much of each pixel lies in each bin."""
        edges = self.first + self.pitch * (np.arange(self.count + 1) - 0.5)
        low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
        place = np.arange(pixels)
        found = np.minimum(high[:, None], place + 0.5) - np.maximum(low[:, None], place - 0.5)
        shares: Array = np.clip(found, 0.0, None)
        return shares


@dataclass(frozen=True, slots=True)
class Plan:
    """How the voxels of a grid are seen in all projections.

    order: the axes of the grid that are u, v and a of `kernels`. along: the direction of the frame (0 rows, 1 columns)
    whose bins are t, the other one's are c. weights: float64 (omegas, 2, 4). lines: as of `kernels.forward`.
    matrices, offsets: of pixels, `Grid.seen`.
    """

    grid: Grid
    order: tuple[int, int, int]
    along: int
    bins: tuple[Bins, Bins]
    weights: Array
    lines: bool
    matrices: Array
    offsets: Array
    frame: tuple[int, int]

    @classmethod
    def of(
        cls, geometry: Geometry, grid: Grid, omegas_deg: Array, frame: tuple[int, int], centre: tuple[float, float]
    ) -> "Plan":
        """frame: rows and columns. centre: row and column where the origin of the sample is seen."""
        pairs = [grid.seen(*geometry.projection(float(omega)), centre) for omega in omegas_deg]
        matrices = np.array([each[0] for each in pairs]).reshape(-1, 2, 3)
        offsets = np.array([each[1] for each in pairs]).reshape(-1, 2)
        axis = AXES[geometry.mode]
        u, v = (each for each in range(3) if each != axis)
        step = matrices[:, :, axis]
        along = int(np.abs(step).max(axis=0).argmax()) if len(step) else 0
        scale = np.abs(matrices).max() if len(step) else 1.0
        aligned = len(step) > 0 and np.abs(step[:, 1 - along]).max() < ALIGNED * scale
        lines = bool(aligned and np.ptp(step[:, along]) < ALIGNED * scale and np.abs(step[0, along]) > ALIGNED * scale)
        across = max(1.0, float(geometry.scale_px_per_um * grid.pitch_um[[u, v]].min()))
        straight = float(step[0, along]) if lines else max(1.0, float(geometry.scale_px_per_um * grid.pitch_um[axis]))
        bins = Bins.over(frame[along], straight), Bins.over(frame[1 - along], across)
        weights = np.empty((len(matrices), 2, 4))
        for place, (direction, each) in enumerate(zip((along, 1 - along), bins, strict=True)):
            weights[:, place, :3] = matrices[:, direction][:, [u, v, axis]] / each.pitch
            weights[:, place, 3] = (offsets[:, direction] - each.first) / each.pitch
        if lines:
            weights[:, 0, 2], weights[:, 1, 2] = 1.0, 0.0
        return cls(grid, (u, v, axis), along, bins, weights, lines, matrices, offsets, frame)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along u, v and a."""
        u, v, a = (self.grid.steps[each] for each in self.order)
        return u, v, a

    @property
    def seen(self) -> tuple[int, int]:
        """Columns and bins of a projection."""
        return self.bins[1].count, self.bins[0].count

    def only(self, used: Array) -> "Plan":
        """Of some of the projections, bool or numbers."""
        made = {name: getattr(self, name) for name in ("grid", "order", "along", "bins", "lines", "frame")}
        return Plan(**made, weights=self.weights[used], matrices=self.matrices[used], offsets=self.offsets[used])

    def binned(self, images: Array, good: Array) -> tuple[Array, Array]:
        """images (channels, rows, columns), good bool (rows, columns) -> float32 (channels, columns, bins), 0 where
        nothing can be believed; float32 (columns, bins), 1 where it can, else 0. Sums of a bin with bad pixels are
        those of its good ones, scaled up to all."""
        t, c = (each.shares(self.frame[direction]) for each, direction in zip(self.bins, self._directions, strict=True))
        turn = (lambda image: image) if self.along == 0 else np.transpose
        area = np.outer(np.full(len(c), abs(self.bins[1].pitch)), np.full(len(t), abs(self.bins[0].pitch)))
        inside = (c @ turn(good.astype(np.float64)).T) @ t.T
        believed = inside >= HALF * area
        factor = np.where(believed, area / np.where(believed, inside, 1.0), 0.0)
        sums = [(c @ turn(np.where(good, image, 0.0)).T) @ t.T * factor for image in images]
        return np.array(sums, np.float32), believed.astype(np.float32)

    def volume(self, values: Array) -> Array:
        """(..., u, v, a) -> (..., x, y, z)."""
        lead = values.ndim - 3
        found: Array = np.moveaxis(values, [lead, lead + 1, lead + 2], [lead + axis for axis in self.order])
        return found

    @property
    def _directions(self) -> tuple[int, int]:
        return self.along, 1 - self.along


class Projector:
    """To and fro between a volume and its projections, in threads; the result does not depend on how many there are.

    Each projection is one thread's, and so is each slab of the volume, so that every sum is made in one order.
    """

    def __init__(self, plan: Plan, pool: ThreadPoolExecutor, threads: int) -> None:
        self.plan, self._pool, self._threads = plan, pool, threads

    def forward(self, volume: Array) -> Array:
        """float32 (channels, u, v, a) -> float32 (omegas, channels, columns, bins)."""
        plan = self.plan
        found = np.zeros((len(plan.weights), len(volume), *plan.seen), np.float32)
        self._share(
            len(found),
            lambda first, last: kernels.forward(volume, plan.weights[first:last], plan.lines, found[first:last]),
        )
        return found

    def backward(self, projections: Array) -> Array:
        """The transpose of `forward`."""
        found = np.empty((projections.shape[1], *self.plan.shape), np.float32)
        plan = self.plan
        self._share(
            found.shape[1],
            lambda first, last: kernels.backward(projections, plan.weights, plan.lines, first, last, found),
        )
        return found

    def improve(self, volume: Array, projections: Array, share: Array, limits: Array) -> None:
        """Add to the volume in place: see `kernels.improve`."""
        plan = self.plan
        self._share(
            volume.shape[1],
            lambda first, last: kernels.improve(
                projections, plan.weights, plan.lines, first, last, share, limits, volume
            ),
        )

    def nearest(self, images: Array, lit: Array, *, clamped: bool = False) -> tuple[Array, Array, Array]:
        """sums float64 (channels, x, y, z), seen and bright int32 (x, y, z): see `kernels.nearest`."""
        plan = self.plan
        steps = plan.grid.steps
        sums = np.zeros((images.shape[1], *steps))
        seen, bright = np.zeros(steps, np.int32), np.zeros(steps, np.int32)
        self._share(
            steps[0],
            lambda first, last: kernels.nearest(
                images, lit, plan.matrices, plan.offsets, clamped, first, last, sums, seen, bright
            ),
        )
        return sums, seen, bright

    def _share(self, count: int, work: Callable[[int, int], Any]) -> None:
        bounds = np.linspace(0, count, min(self._threads, max(count, 1)) + 1).astype(int)
        for part in [self._pool.submit(work, int(first), int(last)) for first, last in pairwise(bounds)]:
            part.result()


def compile_kernels() -> None:
    """Before the frames come; some seconds the first time on a machine."""
    announce("the kernels of topo-tomography", folder=Path(__file__).parent)
    geometry, grid = Geometry("rotation_y", 10.0, 1.0), Grid((1, 1, 1), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    plan = Plan.of(geometry, grid, np.zeros(1), (2, 2), (0.0, 0.0))
    with ThreadPoolExecutor(1) as pool:
        projector = Projector(plan, pool, 1)
        nothing = np.zeros((1, 1, 1, 1), np.float32)
        projector.backward(projector.forward(nothing))
        projector.improve(nothing, projector.forward(nothing), nothing[0], np.zeros(0, np.float32))
        projector.nearest(np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 2, 2), np.uint8))
