"""Recon3D's numbers with its bugs, to compare with what was published: see docs/topotomo.md for what each one does."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from processors.topotomography.geometry import Geometry, Grid
from processors.topotomography.projecting import Plan, Projector
from processors.topotomography.reconstructing import Projections, Voxels
from stream.events import Array

SLAB = slice(1, 5)


def theta_deg(wavelength_angstrom: float, a_angstrom: float, h: float) -> float:
    """The sine where the arc sine is meant, of the planes h00 of a cubic crystal."""
    return math.degrees(math.sin(wavelength_angstrom * abs(h) / (2 * a_angstrom)))


def plan_of(
    geometry: Geometry, grid: Grid, omegas_deg: Array, frame: tuple[int, int], centre: tuple[float, float], tilts: Array
) -> Plan:
    """tilts: float64 (2, 2), first and last position of mu and gamma, degrees. The projection is that of the first mu
    and the first gamma; the middle of mu is (last - first) / 2."""
    (first, last), (gamma, _) = tilts
    tilted = replace(geometry, upper_deg=float(first - (last - first) / 2), lower_deg=float(gamma))
    return Plan.of(tilted, grid, omegas_deg, frame, centre)


def reconstructed(found: Projections, plan: Plan, threads: int) -> Voxels:
    """A voxel beside the frame takes the pixel at its edge; the range is divided by the number of positions; density:
    a third of the sum; voxel (0, 0, 0) has the mean mu of others. No signal: all is 0, not NaN."""
    images = np.where(found.lit[:, None] > 1, np.float32(0), found.images)
    with ThreadPoolExecutor(threads) as pool:
        sums, _, bright = Projector(plan, pool, threads).nearest(images, np.minimum(found.lit, 1), clamped=True)
    points = np.array(found.points, np.float64)[:, None, None, None]
    half = (points - 1) / 2
    there = sums[0] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        index = sums[1:] / sums[0] + half
    where = np.where(there, index * (points - 1) / points - half, 0.0)
    # positions are relative to the middle: 0 degrees is meant where there is no signal, which `absolute` makes of NaN
    where[:, ~there] = np.nan
    return Voxels(np.where(there, sums[0] / 3, 0.0), where, bright / max(len(plan.weights), 1))


def absolute(where: Array) -> Array:
    """float64 (motors, x, y, z), in the motors' units: 0 where there is no signal, and the overwritten voxel."""
    found: Array = np.where(np.isfinite(where), where, 0.0)
    if min(found.shape[1:3]) > 1:
        found[0, 0, 0, 0] = found[0, SLAB, SLAB].mean()
    return found
