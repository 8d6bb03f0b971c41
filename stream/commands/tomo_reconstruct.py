"""`inbeam tomo-reconstruct`: slices from radiographs of a turning sample; the options of Mantid's command."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from processors.projections import pixels, shape
from processors.reconstruction.axis import Found, find, searched
from processors.tomography import engines, rings
from processors.tomography.angles import Coverage, coverage
from processors.tomography.peers import DIRECT
from stream.commands.given import has_no_effect
from stream.commands.tomography.angles import angles_of
from stream.commands.tomography.geometry import Geometry
from stream.commands.tomography.inputs import Beside, Radiographs, opened
from stream.commands.tomography.options import STRIPES, numbers_of, rows_of, steps_of
from stream.commands.tomography.options import add_arguments as add_arguments
from stream.commands.tomography.preparing import Flats, Prepared, prepared
from stream.commands.tomography.writing import VOLUME, check_format, configuration, image, readme, volume_file
from stream.errors import ConfigError
from stream.events import Array
from stream.turning import Key

ROWS_FOR_AXIS = 6
BLOCK_BYTES = 1 << 27
"""Of sinograms that are read at a time."""
UNSURE = 1.0
"""Columns: an axis that is less certain is told, and the exit code is 1."""
DEAD = 0.01
"""Of the pixels: with more that have no flat, there is something wrong."""


@dataclass(frozen=True, slots=True)
class Axis:
    """column: in the prepared projections; given: in those of the input, turned; found: how it was found."""

    column: float
    given: float
    found: Found


def run(options: argparse.Namespace) -> int:
    """0: done; 1: done, but what came out is to be looked at; 2 (ConfigError): it cannot be done."""
    began, target = time.perf_counter(), options.output_path
    algorithm = options.algorithm or engines.ALGORITHMS[options.tool][0]
    _first_look(options, algorithm)
    steps = steps_of(options)
    flats = Flats(options.which_flats, numbers_of(options.exclude), options.raw, options.monitor)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([("--output-path", f"{target} cannot be made: {error}")]) from error
    named = Beside(options.input_path_flat, options.input_path_dark, options.in_img_format)
    with opened(options.input_path, named) as scan:
        angles = angles_of(options.angles, options.max_angle, scan)
        numbers = scan.numbers(Key.PROJECTION)
        if beyond := sorted(number for number in flats.exclude if number >= len(scan.keys)):
            text = f"there is no frame {beyond[0]}: {scan.source} has {len(scan.keys)}, numbered from 0"
            raise ConfigError([("--exclude", text)])
        kept = ~np.isin(numbers, sorted(flats.exclude))
        angles, numbers = angles[kept], numbers[kept]
        progress, device = _progress("projections"), options.device
        with prepared(scan, numbers, steps, flats, target, options.threads, progress, device) as ready:
            half = bool(options.half_acquisition or scan.half)
            axis = _axis(options, scan, ready, angles, half)
            rows = rows_of(options.slices, ready.lines.shape[1])
            about = {
                "command": shlex.join(["inbeam", *sys.argv[1:]]),
                "name": scan.name,
                "source": scan.source,
                "kind": scan.kind,
                "steps": steps.model_dump(mode="json", exclude_defaults=True),
                "flats": {**asdict(flats), "exclude": sorted(flats.exclude)},
                "device": ready.device,
                "angles_deg": [float(each) for each in angles],
                "axis": {"column": axis.column, "of_the_input": axis.given, "how": axis.found.words},
                "reconstruction": {
                    "tool": options.tool, "algorithm": algorithm, "iterations": options.num_iter,
                    "window": options.window, "stripes": STRIPES[options.remove_stripes],
                    "slices": [rows[0], rows[-1] + 1], "circular_mask": options.circular_mask,
                    "half_acquisition": half, "cut_off": options.cut_off, "median": options.out_median_filter,
                },
            }  # fmt: skip
            if half and (options.tool, algorithm) not in (("inbeam", "gridrec"), ("inbeam", "fbp")):
                raise ConfigError([("--algorithm", "half-acquisition needs gridrec or fbp of inbeam")])
            geometry = Geometry(axis.column, ready.lines.shape[2], half)
            _reconstruct(options, algorithm, ready, angles, geometry, rows, about)
            if options.pre_processed:
                _write_projections(options, ready)
            covered = coverage(angles, turn_deg=geometry.turn_deg)
            remarks = _remarks(scan, ready, covered, axis)
    took = time.perf_counter() - began
    size = geometry.size
    told = {
        "input": f"{scan.source} ({scan.kind}), images of {scan.shape[0]} x {scan.shape[1]} pixels",
        "command": about["command"],
        "projections": f"{len(angles)}, {ready.stage.shape[0]} x {ready.stage.shape[1]} pixels when prepared on "
        f"{ready.device}",
        "flats, darks": f"{ready.flats}, {ready.darks} ({flats.which})",
        "angles": covered.words,
        "axis": f"column {axis.given:.3f} of the input; {axis.found.words}",
        "slices": f"{len(rows)} of {size} x {size} pixels, absorption per pixel, by {options.tool} {algorithm}",
        "no flat": f"{ready.unusable} pixels, whose flat is not above the dark",
        "set right": f"{ready.counted.mended} pixels between their neighbours, {ready.counted.outliers} outliers, "
        f"{ready.counted.low} too dark for a logarithm",
        "seconds": f"{took:.1f}",
    }
    readme(target, told, remarks)
    configuration(target, about)
    if options.verbose:
        print("\n".join(f"{name}: {value}" for name, value in told.items()))
    print(f"{target / VOLUME}: {told['slices']}; {told['axis']}; {took:.1f} s")
    for remark in remarks:
        print(f"inbeam tomo-reconstruct: {remark}", file=sys.stderr)
    return 1 if remarks else 0


def _first_look(options: argparse.Namespace, algorithm: str) -> None:
    engines.check(options.tool, algorithm)
    if options.window != "ramp" and algorithm not in DIRECT:
        raise ConfigError([("--window", f"{algorithm} does not filter: leave it out")])
    check_format(options.out_img_format)
    beside = (*(options.input_path_flat or ()), *(options.input_path_dark or ()))
    if not any(path.is_dir() for path in (options.input_path, *beside)):
        has_no_effect({"--in-img-format": options.in_img_format}, "chooses among the images of a folder: leave it out")
    if options.mcp_corrections == "yes":
        text = "corrections of overlapping counts need the shutter's times, which the images do not have: leave it out"
        raise ConfigError([("--mcp-corrections", text)])
    if (options.output_path / VOLUME).exists():
        raise ConfigError([("--output-path", f"{options.output_path} holds a volume already: choose another folder")])
    for name, low, high in (("circular_mask", 0.0, 2.0), ("cut_off", 0.0, 1.0)):
        value = getattr(options, name)
        if value is not None and not low <= value < high:
            raise ConfigError([(f"--{name.replace('_', '-')}", f"must be from {low:g} to less than {high:g}")])


def _axis(options: argparse.Namespace, scan: Radiographs, ready: Prepared, angles: Array, half: bool) -> Axis:
    columns = ready.lines.shape[2]
    told = options.cor if options.cor is not None else scan.axis
    if np.isfinite(told):
        column = ready.stage.centre(told)
        if not 0 <= column <= columns - 1:
            raise ConfigError([("--cor", f"column {told:g} lies outside of the region that is kept")])
        return Axis(column, told, Found(column, 0.0, "given"))
    if half:
        raise ConfigError([("--cor", "near an edge the axis cannot be found: give its column")])
    rows = np.unique(np.linspace(0, ready.lines.shape[1] - 1, ROWS_FOR_AXIS + 2).astype(int)[1:-1])
    lines = np.ascontiguousarray(ready.lines[:, rows])
    found = find(lines, angles)
    search, contrast = searched(lines, angles, found.column)
    found = Found(**{**asdict(found), "searched": search, "contrast": contrast})
    return Axis(found.column, ready.stage.input_column(found.column), found)


def _reconstruct(
    options: argparse.Namespace,
    algorithm: str,
    ready: Prepared,
    angles: Array,
    geometry: Geometry,
    rows: range,
    about: dict[str, Any],
) -> None:
    size, stripes = geometry.size, STRIPES[options.remove_stripes]
    inside = shape.circle((size, size), options.circular_mask) & geometry.seen if options.circular_mask else None
    weights = geometry.weights(angles)

    def one(sinogram: Array) -> Array:
        if stripes is not None:
            sinogram = rings.without_rings(sinogram, stripes, angles)  # type: ignore[arg-type]
        wide, centre = geometry.completed(sinogram)
        picture = engines.slice_of(
            wide, angles, centre, engine=options.tool, algorithm=algorithm, iterations=options.num_iter,
            window=options.window, size=size, weights=weights,
        )  # fmt: skip
        return pixels.median(picture, options.out_median_filter) if options.out_median_filter > 1 else picture

    threads = options.threads if options.tool == "inbeam" else 1
    limits = [float("inf"), float("-inf")]
    with volume_file(options.output_path / VOLUME, (len(rows), size, size), about) as data:
        progress = _progress("slices")
        for place, picture in enumerate(_in_threads(one, _sinograms(ready.lines, rows), threads)):
            known = picture if inside is None else picture[inside]
            limits = [min(limits[0], float(known.min())), max(limits[1], float(known.max()))]
            data[place] = picture if inside is None or options.cut_off else np.where(inside, picture, np.nan)
            progress(place + 1, len(rows))
        for place, row in enumerate(rows):
            if options.cut_off:
                picture = pixels.cut_off(data[place], options.cut_off, *limits)
                data[place] = picture if inside is None else np.where(inside, picture, np.nan)
            if options.out_img_format != "none":
                folder = options.output_path / "reconstructed"
                folder.mkdir(exist_ok=True)
                name = f"out_recon_slice_{row:06d}.{options.out_img_format}"
                image(folder / name, data[place], (limits[0], limits[1]))


def _sinograms(lines: Array, rows: range) -> Iterator[Array]:
    """Many rows at a time: on disk the lines of one row lie far apart."""
    together = max(1, BLOCK_BYTES // (lines[:, 0].size * lines.itemsize))
    for first in range(rows.start, rows.stop, together):
        block = np.array(lines[:, first : min(first + together, rows.stop)].swapaxes(0, 1), order="C")
        yield from block


def _in_threads(one: Callable[[Array], Array], sinograms: Iterable[Array], threads: int) -> Iterator[Array]:
    """In their order, some ahead of what is taken, so that memory does not grow."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = []
        for sinogram in sinograms:
            waiting.append(pool.submit(one, sinogram))
            if len(waiting) > 2 * threads:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def _write_projections(options: argparse.Namespace, ready: Prepared) -> None:
    folder = options.output_path / "pre_processed"
    folder.mkdir(exist_ok=True)
    kind = "tiff" if options.out_img_format == "none" else options.out_img_format
    limits = float(ready.lines.min()), float(ready.lines.max())
    for number, lines in enumerate(ready.lines):
        image(folder / f"out_preproc_proj_image{number:06d}.{kind}", np.asarray(lines), limits)


def _remarks(scan: Radiographs, ready: Prepared, covered: Coverage, axis: Axis) -> list[str]:
    """What a person must know before believing the slices."""
    found = []
    if ready.raw:
        found.append("there was no flat field: a preview, whose values are no absorption")
    if ready.unusable > DEAD * scan.shape[0] * scan.shape[1]:
        found.append(f"the flat is not above the dark in {ready.unusable} pixels: put between their neighbours")
    if not axis.found.uncertainty <= UNSURE:
        found.append(f"the axis is unsure ({axis.found.words}): look at the slices, and give --cor")
    elif axis.found.how != "given" and abs(axis.found.searched - axis.found.column) > UNSURE:
        found.append(f"the search finds the axis elsewhere ({axis.found.words}): look at the slices, and give --cor")
    if covered.covered_deg < 0.95 * covered.turn_deg:
        found.append(f"{covered.words}: directions are missing in the slices")
    return [*found, *(note for note in scan.notes if "image keys" in note)]


def _progress(what: str) -> Any:
    def show(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{of} {what}", end="\n" if done == of else "", file=sys.stderr, flush=True)

    return show
