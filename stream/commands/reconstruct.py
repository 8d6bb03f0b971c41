"""`inbeam reconstruct FILE`: a slice for every radial bin of a map whose one direction turned."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from processors.diffraction.live import AIR_POINTS, State, cut_off
from processors.diffraction_tomography import UNSURE
from processors.mapping.layout import RADIAL_CHUNK
from processors.tomography.air import absorption, without_air
from processors.tomography.angles import coverage
from processors.tomography.centre import Centre, estimate
from processors.tomography.filters import WINDOWS
from processors.tomography.half import size_of
from processors.tomography.repair import Mark, Repaired, repaired
from processors.tomography.volume import Block, Recipe, blocks
from stream.commands.given import must_be_files
from stream.commands.volumes.source import Turned, opened
from stream.commands.volumes.target import write
from stream.errors import ConfigError
from stream.events import Array
from stream.numbers import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam reconstruct`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="results of diffraction_tomography, map, diff-tomo")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: beside it, FILE_volume.h5")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.add_argument("--map", metavar="NAME", help="name of the map, if there are several")
    parser.add_argument("--rotation", choices=("slow", "fast"), help="direction that turns; default: as recorded, slow")
    parser.add_argument(
        "--angles", metavar="FIRST:LAST", help="degrees, both included; or a file with a number for each projection"
    )
    parser.add_argument("--centre", type=float, metavar="COLUMN", help="of the axis, from 0; default: as recorded")
    parser.add_argument("--centre-from", metavar="READING", help="estimate it by the absorption of a diode's reading")
    parser.add_argument("--window", choices=WINDOWS, help="default: as recorded, else ramp")
    parser.add_argument("--air", type=int, metavar="POINTS", help="at each end; 0: no correction; default: as recorded")
    parser.add_argument("--air-by", choices=("subtract", "divide"), help="what is done with it")
    parser.add_argument("--outliers", type=float, metavar="SIGMA", help="0: none; default: as recorded, else none")
    parser.add_argument("--longest-gap", type=int, metavar="POINTS", help="missing points that are interpolated (3)")
    parser.add_argument("--half-acquisition", action="store_true", default=None, help="the axis lies near an edge")
    parser.add_argument("--threads", type=whole(1), help="default: one per core")


def run(options: argparse.Namespace) -> int:
    """0: done; 1: done, but projections are left out or the centre is unsure; 2 (ConfigError): wrong arguments."""
    began = time.perf_counter()
    must_be_files(options.file)
    target = options.output or options.file.with_name(f"{options.file.stem}_volume.h5")
    if target.exists() and not options.overwrite:
        raise ConfigError([("--output", f"{target} is there already: give another name, or --overwrite")])
    if target.resolve() == options.file.resolve():
        raise ConfigError([("--output", f"{target} is what is to be read: choose another name")])
    with opened(options.file, options.map, options.rotation) as turned:
        angles = angles_of(options.angles, turned)
        recipe = recipe_of(options, turned)
        total = _total(turned)
        centre = centre_of(options, turned, recipe, total, angles)
        recipe = replace(recipe, centre=centre.column)
        if recipe.half_acquisition:
            recipe = replace(recipe, size=size_of(turned.translations, centre.column))
        mended = _mended(total, angles, recipe)
        state = _state(total, mended, angles, centre, recipe.turn_deg)
        made = blocks(turned.read, len(turned.radial.values), angles, recipe, at_once=RADIAL_CHUNK)
        about = {"source": str(options.file), "map": turned.name, **asdict(recipe), "uncertainty": centre.uncertainty}
        write(
            target,
            turned,
            _shown(made, len(turned.radial.values)),
            recipe.size,
            rows={"angle": angles, "weight": np.rad2deg(state.coverage.weights)},
            sinogram=mended.values,
            marks=mended.marks,
            about=about,
            summary=state.words,
        )
        shape = f"{recipe.size} x {recipe.size} x {len(turned.radial.values)}"
    print(f"{target}: {shape} in {time.perf_counter() - began:.2f} s; {state.words}")
    return _judged(state)


def angles_of(given: str | None, turned: Turned) -> Array:
    """float64 (projections,), degrees. Raises ConfigError where nobody says them, or not as many as there are."""
    count = turned.projections
    if given is None:
        if turned.angles is None:
            raise ConfigError([("--angles", "the file does not say the angles in degrees: give --angles FIRST:LAST")])
        return turned.angles
    first, colon, last = given.partition(":")
    try:
        found = np.linspace(float(first), float(last), count) if colon else np.loadtxt(given, ndmin=1)
    except (OSError, ValueError) as error:
        raise ConfigError([("--angles", f"{given!r} is neither FIRST:LAST nor a file of numbers: {error}")]) from error
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ConfigError([("--angles", f"{len(found)} angles for {count} projections: correct {given}")])
    return found


def recipe_of(options: argparse.Namespace, turned: Turned) -> Recipe:
    """As on the command line, else as recorded. Raises ConfigError."""
    saved = turned.options
    recorded = saved.get("air") or {}
    points = recorded.get("points", 0) if options.air is None else options.air
    outliers = saved.get("outliers") if options.outliers is None else options.outliers or None
    gap = saved.get("longest_gap", 3) if options.longest_gap is None else options.longest_gap
    half = bool(saved.get("half_acquisition") if options.half_acquisition is None else options.half_acquisition)
    cores = len(os.sched_getaffinity(0))
    threads = cores if options.threads is None else options.threads
    problems = [
        (name, text)
        for name, wrong, text in (
            ("--air", points < 0, "must not be negative"),
            ("--outliers", outliers is not None and outliers < 3, "must be 3 or more, or 0 for none"),
            ("--longest-gap", gap < 0, "must not be negative"),
            ("--threads", threads < 1, "must be 1 or more"),
            ("--centre-from", None not in (options.centre, options.centre_from), "--centre says it: leave one out"),
            ("--air-by", options.air_by is not None and not points, "nothing of --air is corrected: give that too"),
            ("--centre", half and options.centre is None and not saved, "is needed for half-acquisition"),
        )
        if wrong
    ]
    if problems:
        raise ConfigError(problems)
    return Recipe(
        centre=float("nan"),
        size=turned.translations,
        window=options.window or saved.get("window", "ramp"),
        air=(points, options.air_by or recorded.get("by", "subtract")) if points else None,
        outliers=outliers,
        longest_gap=gap,
        half_acquisition=half,
        threads=threads,
    )


def centre_of(options: argparse.Namespace, turned: Turned, recipe: Recipe, total: Array, angles: Array) -> Centre:
    """As given, by a diode, as recorded, or estimated. Raises ConfigError."""
    columns = turned.translations
    if options.centre is not None:
        if not 0 <= options.centre <= columns - 1:
            raise ConfigError([("--centre", f"column {options.centre:g} is none of 0 to {columns - 1}")])
        return Centre(options.centre, 0.0)
    if options.centre_from is not None:
        points = recipe.air[0] if recipe.air is not None else AIR_POINTS
        absorbed = absorption(turned.reading(options.centre_from), points)
        return estimate(_mended(absorbed, angles, replace(recipe, air=None)).values, angles)
    if np.isfinite(turned.centre) and np.isfinite(turned.uncertainty):
        return Centre(turned.centre, turned.uncertainty)
    return estimate(_mended(total, angles, recipe).values, angles)


def _total(turned: Turned) -> Array:
    """The sum of all bins that are there, float64 (projections, translations), NaN where there are none."""
    total = np.zeros((turned.projections, turned.translations))
    there = np.zeros(total.shape, bool)
    for first in range(0, len(turned.radial.values), RADIAL_CHUNK):
        block = turned.read(first, min(first + RADIAL_CHUNK, len(turned.radial.values)))
        known = np.isfinite(block)
        total += np.where(known, block, 0.0).sum(axis=2)
        there |= known.any(axis=2)
    return np.where(there, total, np.nan)


def _mended(sinogram: Array, angles: Array, recipe: Recipe) -> Repaired:
    values = sinogram if recipe.air is None else without_air(sinogram, *recipe.air)
    return repaired(values, angles, longest_gap=recipe.longest_gap, outliers=recipe.outliers)


def _state(total: Array, mended: Repaired, angles: Array, centre: Centre, turn_deg: float) -> State:
    usable = mended.usable
    left_out = ~usable & np.isfinite(total).any(axis=1)
    covered = coverage(np.where(usable, angles, np.nan), turn_deg=turn_deg)
    counts = [int((mended.marks == mark).sum()) for mark in Mark]
    exact, found = np.zeros(len(angles)), counts[Mark.INTERPOLATED]
    return State(angles, exact, centre, covered, left_out, found, counts[Mark.OUTLIER], cut_off(mended))


def _shown(made: Iterator[Block], bins: int) -> Iterator[Block]:
    """A line that is kept up to date, on a terminal."""
    for block in made:
        done = block.first + len(block.replaced)
        if sys.stderr.isatty():
            print(f"\r{done}/{bins} bins", end="\n" if done == bins else "", file=sys.stderr, flush=True)
        yield block


def _judged(state: State) -> int:
    told = []
    if state.left_out.any():
        told.append(f"{int(state.left_out.sum())} projections are left out: too many of their points are missing")
    if not state.centre.uncertainty <= UNSURE:
        told.append("the centre of rotation is unsure: give --centre, or --centre-from a diode")
    for text in told:
        print(f"inbeam reconstruct: {text}", file=sys.stderr)
    return 1 if told else 0
