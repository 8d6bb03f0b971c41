"""`inbeam recon3d INIFILE`: the volume of a topo-tomography scan that lies as Recon3D's array, by its ini file."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from processors.moments.positions import Motor, Positions
from processors.shared.grid import Direction
from processors.topotomography import original
from processors.topotomography.gathered import Images, Recipe
from processors.topotomography.geometry import HALF_TURN, covered_deg, is_seen
from processors.topotomography.options import CleaningOptions, Config
from processors.topotomography.projecting import Plan, compile_kernels
from stream.commands.given import has_no_effect
from stream.commands.original3d import ini
from stream.commands.original3d.arrays import Stack, opened
from stream.commands.original3d.target import write
from stream.errors import ConfigError
from stream.events import Array
from stream.numbers import whole

ROUNDS = 10
"""Iterations of sirt, and subsets of each."""
OFF = 0.4
"""Of a step: how far a position may be from where equal steps would have it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam recon3d`."""
    parser.add_argument("inifile", type=Path, metavar="INIFILE", help="as of Recon3D: lines of KEY VALUE")
    parser.add_argument("rotation_centre", nargs="?", type=float, help="column of the rotation axis; default: nx/2")
    parser.add_argument(
        "-m", "--method", choices=("recon3d", "sirt", "moments"), default="recon3d", help="see docs/topotomo.md"
    )
    parser.add_argument("--bug-compat", action="store_true", help="recon3d with the bugs of the original")
    parser.add_argument("--iterations", type=whole(1), metavar="N", help="of sirt (10)")
    parser.add_argument("--subsets", type=whole(1), metavar="N", help="of sirt (10)")
    parser.add_argument("--min-sum", type=float, default=0.0, metavar="COUNTS", help="pixels with less have no signal")
    parser.add_argument("--least-density", type=float, default=0.0, metavar="SHARE", help="voxels with less are NaN")
    parser.add_argument("--force", action="store_true", help="also if omega covers less than 180 degrees")
    parser.add_argument("--array", metavar="FILE", help="default: dataarray_final.npy, dataarray.npy or dataarray.h5")
    parser.add_argument("--threads", type=whole(1), metavar="N", help="default: one per core")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: recon3d.h5 beside the array")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there")


def run(options: argparse.Namespace) -> int:
    """0: done; 1: done, but projections lack tilts and are left out; ConfigError: what cannot be used, and why."""
    began = time.perf_counter()
    if options.method != "sirt":
        given = {"--iterations": options.iterations, "--subsets": options.subsets}
        has_no_effect(given, "belongs to --method sirt: give that, or leave it out")
    said = ini.read(options.inifile)
    for key in said.unknown:
        print(f"inbeam recon3d: {options.inifile}: {key!r} means nothing here", file=sys.stderr)
    target = options.output or said.folder / "recon3d.h5"
    angles = said.folder / "grain_ang.npy" if options.output is None else target.with_name("grain_ang.npy")
    for path in (target, angles):
        if path.exists() and not options.overwrite:
            raise ConfigError([("--output", f"{path} is there already: choose another name, or --overwrite")])
    with opened(said.folder, options.array) as stack:
        job = _job(said, stack, options)
        images = _images(stack, job, options.min_sum)
        used = job.recipe.used(images, complete=False)
        _check_range(job.omegas[used], whole=bool(used.all()), force=options.force)
        found = job.recipe.final(images, used)
        about = {"ini": str(options.inifile), "array": str(stack.path), **job.about}
    write(target, job.recipe.plan.grid, found, job.positions.motors, about, said.values)
    np.save(angles, np.stack([*(found[name] for name in job.names), found["density"]], axis=-1).astype(np.float64))
    shape = " x ".join(map(str, job.recipe.plan.grid.steps))
    print(f"{target}, {angles.name}: {shape} voxels in {time.perf_counter() - began:.2f} s; {about['summary']}")
    if used.all():
        return 0
    left = ", ".join(f"{each:.6g}" for each in job.omegas[~used][:8])
    print(
        f"inbeam recon3d: {int((~used).sum())} projections lack tilts and are left out: omega = {left}", file=sys.stderr
    )
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    names: tuple[str, str]
    positions: Positions
    omegas: Array
    recipe: Recipe
    about: Mapping[str, Any]


def _job(said: ini.Ini, stack: Stack, options: argparse.Namespace) -> _Job:
    first, second, _ = stack.axes
    motors = [_motor(name, stack.axes[name]) for name in (first, second)]
    omegas = stack.axes["omega"]
    covered = _check_range(omegas, whole=True, force=options.force)
    rows, columns = stack.shape[3:]
    centre = (rows / 2, columns / 2 if options.rotation_centre is None else options.rotation_centre)
    mode = "rotation_y" if first == "mu" else said.mode()
    upper, lower = (0.0, motors[1].middle) if mode == "rotation_y" else (motors[0].middle, motors[1].middle)
    if mode == "vertical":
        upper = lower = 0.0  # its tilts are not defined: the volume stands as in their middle
    geometry = said.geometry(mode, upper, lower)
    config = _config(said, geometry, motors, omegas, options)
    grid, angle = config.volume.made(), config.theta_deg()
    made = geometry.made(theta_deg=angle)
    if config.bug_compat:
        ends = np.array([[stack.axes[name].min(), stack.axes[name].max()] for name in (first, second)])
        plan = original.plan_of(made, grid, omegas, (rows, columns), centre, ends)
    else:
        plan = Plan.of(made, grid, omegas, (rows, columns), centre)
    compile_kernels()
    threads = options.threads or len(os.sched_getaffinity(0))
    turning = Motor(Direction("omega", len(omegas), float(omegas[0]), 1.0, "deg", True), "omega")
    positions = Positions((motors[0], motors[1]), turning, False, 0, True)
    cells = motors[0].points * motors[1].points
    cone = "" if covered >= HALF_TURN - 1e-3 else ": less than 180, a cone of directions is not seen"
    bugs = " with the bugs of the original" if config.bug_compat else ""
    summary = f"{config.method}{bugs}; {len(omegas)} projections over {covered:.6g} degrees{cone}; theta {angle:.6g}"
    about = {"summary": summary, "configuration": config.model_dump(mode="json")}
    return _Job((first, second), positions, omegas, Recipe(config, plan, cells, threads), about)


def _config(said: ini.Ini, geometry: Any, motors: Any, omegas: Array, options: argparse.Namespace) -> Config:
    given = [
        {"motor": each.reading, "first": each.direction.first, "step": each.direction.step, "points": each.points}
        for each in motors
    ]
    try:
        return Config(
            motors=given,
            omega={"motor": "omega", "points": len(omegas)},
            positions="steps",
            geometry=geometry,
            volume=said.volume(),
            cleaning=CleaningOptions(),
            method=options.method,
            bug_compat=options.bug_compat,
            iterations=options.iterations or ROUNDS,
            subsets=options.subsets or ROUNDS,
            least_completeness=0.0 if options.bug_compat else said.completeness,
            least_density=options.least_density,
            force=options.force,
        )
    except ValueError as error:
        raise ConfigError([(str(said.path), str(error))]) from error


def _motor(name: str, positions: Array) -> Motor:
    """Of equal steps. Raises ConfigError where the positions are not such."""
    count = len(positions)
    step = float(positions[-1] - positions[0]) / (count - 1) if count > 1 else 1.0
    wanted = positions[0] + step * np.arange(count)
    if step == 0 or np.abs(positions - wanted).max() > OFF * abs(step):
        text = "its positions are no equal steps: make the array with `inbeam recon3d-getdata`"
        raise ConfigError([(f"{name}.npy", text)])
    return Motor(Direction(name, count, float(positions[0]), step, "deg", True), name)


def _check_range(omegas: Array, *, whole: bool, force: bool) -> float:
    """Degrees that these projections cover. Raises ConfigError where a cone is not seen, unless forced."""
    step = float(np.median(np.diff(np.sort(omegas)))) if len(omegas) > 1 else 0.0
    covered = covered_deg(omegas, step)
    if not is_seen(covered, step, whole=whole) and not force:
        text = f"{len(omegas)} projections cover {covered:.6g} degrees: with less than 180 a cone is not seen, and"
        raise ConfigError([("omega", f"{text} tilts there are wrong. --force reconstructs all the same")])
    return covered


def _images(stack: Stack, job: _Job, min_sum: float) -> Images:
    """Sums over the tilts at every omega, and those weighted with the positions; a cell with NaN is no frame."""
    rows, columns = stack.shape[3:]
    images = Images.empty(job.names, job.positions, (rows, columns))
    steps = [np.arange(count) - (count - 1) / 2 for count in stack.shape[:2]]
    for omega in range(stack.shape[2]):
        frames = stack.projection(omega)
        there = np.isfinite(frames).all(axis=(2, 3))
        frames[~there] = 0.0
        total = frames.sum(axis=(0, 1))
        lit = total > min_sum
        images.lit[omega] = lit
        images.frames[omega] = int(there.sum())
        images.images[omega, 0] = np.where(lit, total, 0)
        images.images[omega, 1] = np.where(lit, np.tensordot(steps[0], frames.sum(axis=1), 1), 0)
        images.images[omega, 2] = np.where(lit, np.tensordot(steps[1], frames.sum(axis=0), 1), 0)
    return images
