"""From the images of moments to voxels.

The signal of a pixel, summed over all tilts, is the sum of the densities rho of the voxels seen there; the signal
weighted with a tilt is that of rho times the voxel's own tilt. Both are ordinary projections: a reconstruction of each,
divided by each other, gives the tilt of a voxel. The positions of the motors are (position - middle) / step.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from processors.topotomography.projecting import Plan, Projector
from stream.events import Array

NOTHING = 1e-6
"""Of a voxel: what is seen of less than this is not reconstructed."""
BEYOND = 0.5
"""Steps: how far recorded positions may lie beyond the first and last nominal ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """Of one scan, as they came: images float32 (omegas, 1 + motors, rows, columns): the sums of signals, and those
    weighted with each motor's position. lit: uint8 (omegas, rows, columns), see `kernels.nearest`. points: of each
    motor."""

    images: Array
    lit: Array
    points: tuple[int, ...]

    @property
    def limits(self) -> Array:
        """float64 (motors, 1, 1, 1): a voxel's position is not larger than this, nor smaller than its negative."""
        found: Array = ((np.array(self.points) - 1) / 2 + BEYOND)[:, None, None, None]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """density float64 (x, y, z), counts of a voxel in a projection, NaN where none sees it. where: float64 (motors, x,
    y, z), positions, NaN where there is no density. completeness: float64 (x, y, z), in how many of the projections
    the voxel's pixel has signal, 0 ... 1."""

    density: Array
    where: Array
    completeness: Array


def moments(found: Projections, plan: Plan, threads: int) -> Voxels:
    """Back-projection: a voxel has the mean of all that is seen where it is. density: the mean of what is seen."""
    with ThreadPoolExecutor(threads) as pool:
        projector = Projector(plan, pool, threads)
        binned, believed = _binned(found, plan)
        sums = projector.backward(binned).astype(np.float64)
        seen = projector.backward(believed[:, None])[0].astype(np.float64)
        completeness = _completeness(found, projector)
    with np.errstate(invalid="ignore", divide="ignore"):
        density = np.where(seen > NOTHING, sums[0] / seen, np.nan)
        where = np.where(sums[0] > 0, sums[1:] / sums[0], np.nan)
    return _voxels(found, plan, density, where, completeness)


def nearest(found: Projections, plan: Plan, threads: int) -> Voxels:
    """As Recon3D: the centre of mass of what the nearest pixels have, over all projections. density: their mean, over
    those with signal."""
    with ThreadPoolExecutor(threads) as pool:
        sums, _, bright = Projector(plan, pool, threads).nearest(found.images, found.lit)
    with np.errstate(invalid="ignore", divide="ignore"):
        density = np.where(bright > 0, sums[0] / bright, np.nan)
        where = np.where(sums[0] > 0, sums[1:] / sums[0], np.nan)
    return Voxels(density, np.clip(where, -found.limits, found.limits), bright / max(len(plan.weights), 1))


def sirt(found: Projections, plan: Plan, threads: int, *, iterations: int, subsets: int) -> Voxels:
    """Simultaneous iterative reconstruction: x += C At R W (b - A x), R and C one over the sums of A's rows and
    columns, W 1 for what can be believed, else 0.

    In an iteration this is done for each of the `subsets` of the projections, every so-manieth of them. Each time, a
    density is made not negative, and the position of a voxel one of the scan's."""
    parts = [np.arange(first, len(found.images), subsets) for first in range(subsets)]
    with ThreadPoolExecutor(threads) as pool:
        binned, believed = _binned(found, plan)
        completeness = _completeness(found, Projector(plan, pool, threads))
        steps = [_Step.of(Projector(plan.only(part), pool, threads), binned[part], believed[part]) for part in parts]
        voxels = np.zeros((binned.shape[1], *plan.shape), np.float32)
        limits = found.limits.astype(np.float32).ravel()
        for _ in range(iterations):
            for step in steps:
                step.apply(voxels, limits)
    seen = np.any([step.share > 0 for step in steps], axis=0)
    density = np.where(seen, voxels[0], np.nan).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        where = np.where(voxels[0] > 0, voxels[1:].astype(np.float64) / voxels[0], np.nan)
    return _voxels(found, plan, density, where, completeness)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """Of some projections. usual: float32 (omegas, 1, columns, bins), R W. share: float32 (u, v, a), C."""

    projector: Projector
    wanted: Array
    usual: Array
    share: Array

    @classmethod
    def of(cls, projector: Projector, wanted: Array, believed: Array) -> "_Step":
        rows = projector.forward(np.ones((1, *projector.plan.shape), np.float32))
        columns = projector.backward(believed[:, None])[0]
        usual = np.where(rows > NOTHING, believed[:, None] / np.maximum(rows, NOTHING), 0).astype(np.float32)
        share = np.where(columns > NOTHING, 1 / np.maximum(columns, NOTHING), 0).astype(np.float32)
        return cls(projector, wanted, usual, share)

    def apply(self, voxels: Array, limits: Array) -> None:
        left = self.projector.forward(voxels)
        np.subtract(self.wanted, left, out=left)
        left *= self.usual
        self.projector.improve(voxels, left, self.share, limits)


def _completeness(found: Projections, projector: Projector) -> Array:
    _, _, bright = projector.nearest(found.images[:, :0], found.lit)
    return bright / max(len(found.lit), 1)


def _voxels(found: Projections, plan: Plan, density: Array, where: Array, completeness: Array) -> Voxels:
    return Voxels(plan.volume(density), np.clip(plan.volume(where), -found.limits, found.limits), completeness)


def _binned(found: Projections, plan: Plan) -> tuple[Array, Array]:
    pairs = [plan.binned(images, lit < 2) for images, lit in zip(found.images, found.lit, strict=True)]
    return np.array([each[0] for each in pairs]), np.array([each[1] for each in pairs])
