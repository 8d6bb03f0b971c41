"""A volume of topo-tomography: what it costs against the original's loop over voxels, which is timed for some of them.

    python bench/topotomo.py [--voxels 100] [--omegas 60] [--tilts 31] [--side 150]

The original: for each voxel, where it is seen at every omega, the mosaicity maps of these pixels out of the
five-dimensional array (uint16), their sum, its centre of mass, and a weight, in NumPy as in recon3d.py, on one core.
Ours: the same voxels from the images of moments, whose cost per frame is that of bench/mosaicity.py. CPU time of all
threads, the least of several.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
from common import table
from scipy import ndimage

from processors import topotomo
from processors.moments.positions import positions_of
from processors.topotomography.gathered import Images, Recipe
from processors.topotomography.projecting import Plan, compile_kernels
from stream import ScanStart
from stream.events import Array, Detector

REPEATS = 3
SOME = 400
"""Voxels of the original's loop that are timed."""
THETA_DEG = 10.3754


def original(voxels: int, omegas: Array, tilts: int, side: int, scale: float) -> float:
    """Seconds of a voxel."""
    array = np.empty((tilts, tilts, len(omegas), side, side), np.uint16)
    array[:] = np.random.default_rng(1).poisson(3, (side, side)).astype(np.uint16)
    cosine, sine = np.cos(np.radians(omegas)), np.sin(np.radians(omegas))
    nothing, one = np.zeros(len(omegas)), np.ones(len(omegas))
    turn = np.array([[cosine, nothing, sine], [nothing, one, nothing], [-sine, nothing, cosine]]).transpose(2, 0, 1)
    theta = -np.radians(THETA_DEG)
    lean = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    there = scale * (np.diag([1, -1, -1]) @ lean @ turn)
    pitch = side / 1.5 / scale / voxels
    places = np.random.default_rng(2).integers(0, voxels, (SOME, 3))
    began = time.process_time()
    for place in places:
        seen = np.matmul(there, pitch * (place - (voxels - 1) / 2))
        row, column = (np.rint(seen[:, axis] + side / 2).astype(int).clip(0, side - 1) for axis in (1, 2))
        seen_there = array[:, :, range(len(omegas)), row, column]
        ndimage.center_of_mass(np.sum(seen_there, 2))
        if np.sum(seen_there) > 0:
            np.sum(seen_there) / len(np.where(seen_there != 0))
    return (time.process_time() - began) / SOME


def recipe_of(voxels: int, omegas: Array, tilts: int, side: int, scale: float) -> tuple[Recipe, Images]:
    """With images of a sample that is everywhere."""
    motors = [{"motor": name, "first": 0, "step": 0.032, "points": tilts} for name in ("mu", "gamma")]
    config = topotomo.Config(
        motors=motors,
        omega={"motor": "omega", "first": 0, "step": 180 / len(omegas), "points": len(omegas), "unit": "deg"},
        geometry={"theta_deg": THETA_DEG, "magnification": scale},
        volume={"steps": (voxels,) * 3, "size_um": (side / 1.5 / scale,) * 3},
        positions="steps",
    )
    scan = ScanStart("one", "one", (side, side), np.dtype("u2"), ("data",), None, Detector(), 0.0)
    images = Images.empty(("mu", "gamma"), positions_of(config, scan, {}), (side, side))
    dice = np.random.default_rng(1)
    for omega in range(len(omegas)):
        found = {"sum": dice.poisson(900, (side, side)).astype(float), "frames": np.int32(tilts**2)}
        images.take(
            omega, found | {f"com_{name}": dice.uniform(0, 0.032 * tilts, (side, side)) for name in images.names}
        )
    plan = Plan.of(config.geometry.made(), config.volume.made(), omegas, (side, side), (side / 2, side / 2))
    return Recipe(config, plan, tilts**2, 1), images


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, usual in (("voxels", 100), ("omegas", 60), ("tilts", 31), ("side", 150)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    options = parser.parse_args()
    omegas, scale = np.arange(options.omegas) * 180.0 / options.omegas, 7.5
    theirs = original(options.voxels, omegas, options.tilts, options.side, scale) * options.voxels**3
    compile_kernels()
    plain, images = recipe_of(options.voxels, omegas, options.tilts, options.side, scale)
    used = plain.used(images, complete=True)
    rows = [(f"the original's loop over {options.voxels}^3 voxels ({SOME} timed), one core", f"{theirs:.0f} s", "")]
    for method in ("recon3d", "moments", "sirt"):
        recipe = replace(plain, config=plain.config.model_copy(update={"method": method}))
        for threads in (1, 2):
            each = replace(recipe, threads=threads)
            cpu, wall = np.inf, np.inf
            for _ in range(REPEATS):
                began, before = time.perf_counter(), time.process_time()
                each.final(images, used)
                cpu, wall = min(cpu, time.process_time() - before), min(wall, time.perf_counter() - began)
            told = f"{cpu:.2f} s of CPU, {wall:.2f} s: **{theirs / cpu:.0f} ×**"
            rows.append((f"`method: {method}`, {threads} thread(s)", told, "≥ 300 ×" if threads == 1 else ""))
    shape = f"{options.omegas} omegas, {options.tilts} x {options.tilts} tilts, {options.side} x {options.side} pixels"
    table(f"topo-tomography: {options.voxels}^3 voxels from {shape}", rows)


if __name__ == "__main__":
    main()
