"""Phantoms of topo-tomography: grains in layers, what a detector sees of them, and how wrong a reconstruction is.

The forward model is that of Recon3D's white paper, written again in plain NumPy, point by point: every point of the
sample adds 1 to the pixel nearest to where it is seen, in the frame of its own tilts, at every omega.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

AL_THETA_DEG = float(np.degrees(np.arcsin(0.7293 / (2 * 4.0495 / 2))))
"""Aluminium 200 at 17 keV, as in Recon3D's example."""


@dataclass(frozen=True)
class Phantom:
    """points: (n, 3), micrometres; tilts: int (n, 2), steps of mu and gamma; truth: float (2, x, y, z), NaN outside."""

    points: np.ndarray
    tilts: np.ndarray
    truth: np.ndarray


def layered(voxels: int, size_um: float, steps: tuple[int, int], *, fine: int = 3, seed: int = 1) -> Phantom:
    """An egg of layers, some voxels thick, across all three axes, with tilts at random: smooth ones would hide a
    wrong theta. `fine`: points along each side of a voxel."""
    dice = np.random.default_rng(seed)
    place = (np.arange(voxels) - (voxels - 1) / 2) / voxels
    x, y, z = np.meshgrid(place, place, place, indexing="ij")
    inside = (x / 0.36) ** 2 + (y / 0.44) ** 2 + (z / 0.31) ** 2 < 1
    thick = max(1, voxels // 8)
    number = np.arange(voxels) // thick
    layer = number[None, :, None] * 3 + (x > 0.1) + (z + 0.5 * x > 0.05)
    found = [dice.integers(0, count, layer.max() + 1)[layer] for count in steps]
    voxel = np.argwhere(inside)
    within = (np.indices((fine,) * 3).reshape(3, -1).T - (fine - 1) / 2) / fine
    spots = (voxel[:, None] + within[None] - (voxels - 1) / 2).reshape(-1, 3) * size_um / voxels
    tilts = np.array([np.repeat(each[inside], len(within)) for each in found]).T
    return Phantom(spots, tilts, np.where(inside, np.array(found, float), np.nan))


def seen(points: np.ndarray, omega_deg: float, theta_deg: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Where points are seen from the middle, written out: sin(theta) along the beam, cos(theta) along the axis."""
    omega, theta = np.radians(omega_deg), np.radians(theta_deg)
    x, y, z = points.T
    along = x * np.cos(omega) + z * np.sin(omega)
    return scale * (np.sin(theta) * along - np.cos(theta) * y), scale * (x * np.sin(omega) - z * np.cos(omega))


def moments(phantom: Phantom, omegas: Any, theta_deg: float, scale: float, frame: tuple[int, int]) -> np.ndarray:
    """float (omegas, 3, rows, columns): sum over all tilts of the signal, and weighted with either tilt's step."""
    found = np.zeros((len(omegas), 3, *frame))
    for number, omega in enumerate(omegas):
        row, column = seen(phantom.points, omega, theta_deg, scale)
        row, column = np.rint(row + frame[0] / 2).astype(int), np.rint(column + frame[1] / 2).astype(int)
        there = (row >= 0) & (column >= 0) & (row < frame[0]) & (column < frame[1])
        flat = row[there] * frame[1] + column[there]
        for place, weight in enumerate([None, *phantom.tilts[there].T]):
            counted = np.bincount(flat, weight, frame[0] * frame[1])
            found[number, place] = counted.reshape(frame)
    return found


def frames(phantom: Phantom, omega: float, theta: float, scale: float, frame: tuple[int, int], tilts: Any) -> Any:
    """uint16 (mu, gamma, rows, columns) at one omega."""
    found = np.zeros((*tilts, *frame), np.uint16)
    row, column = seen(phantom.points, omega, theta, scale)
    row, column = np.rint(row + frame[0] / 2).astype(int), np.rint(column + frame[1] / 2).astype(int)
    there = (row >= 0) & (column >= 0) & (row < frame[0]) & (column < frame[1])
    np.add.at(found, (*phantom.tilts[there].T, row[there], column[there]), 1)
    return found


def inner(truth: np.ndarray) -> np.ndarray:
    """Voxels all of whose neighbours belong to the sample."""
    inside = np.isfinite(truth[0])
    found = inside.copy()
    for axis in range(3):
        for way in (1, -1):
            found &= np.roll(inside, way, axis)
    return found


def scan_frames(phantom: Phantom, omegas: Any, theta: float, scale: float, frame: tuple[int, int], tilts: Any) -> Any:
    """Every frame of a topo-tomography scan, and the readings that belong to it: tilts in steps of 0.032 degrees."""
    for omega in omegas:
        images = frames(phantom, omega, theta, scale, frame, tilts)
        for mu, gamma in np.ndindex(*tilts):
            yield images[mu, gamma], {"mu": 0.032 * mu, "gamma": 0.032 * gamma, "omega": float(omega)}
