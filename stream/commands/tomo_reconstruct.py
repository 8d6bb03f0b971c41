"""`inbeam tomo-reconstruct`: slices from radiographs of a turning sample; the options of Mantid's command."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from processors.projections import pixels, shape
from processors.projections.options import Steps
from processors.reconstruction.axis import Found, find, searched
from processors.tomography import engines, rings
from processors.tomography.angles import Coverage, coverage
from processors.tomography.filters import WINDOWS
from stream.commands.tomography.angles import angles_of
from stream.commands.tomography.geometry import Geometry
from stream.commands.tomography.inputs import Beside, Radiographs, opened
from stream.commands.tomography.preparing import Flats, Prepared, prepared
from stream.commands.tomography.writing import VOLUME, check_format, configuration, image, readme, volume_file
from stream.errors import ConfigError
from stream.events import Array

ROWS_FOR_AXIS = 6
UNSURE = 1.0
"""Columns: an axis that is less certain is told, and the exit code is 1."""
DEAD = 0.01
"""Of the pixels: with more that have no flat, there is something wrong."""
STRIPES = {"none": None, "wf": "wavelet-fourier", "wavelet-fourier": "wavelet-fourier", "ti": "titarenko"} | {
    each: each for each in ("titarenko", "sorting")
}


@dataclass(frozen=True, slots=True)
class Axis:
    """column: in the prepared projections; given: in those of the input, turned; found: how it was found."""

    column: float
    given: float
    found: Found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam tomo-reconstruct`."""
    data = parser.add_argument_group("data")
    data.add_argument("-i", "--input-path", type=Path, required=True, help="NXtomo, Data Exchange, folder of images")
    data.add_argument("-o", "--output-path", "--output", type=Path, required=True, help="folder, made if need be")
    data.add_argument("--input-path-flat", type=Path, nargs="+", help="folders or files; default: flat* beside it")
    data.add_argument("--input-path-dark", type=Path, nargs="+", help="folders or files; default: dark* beside it")
    data.add_argument("--in-img-format", help="fits, tiff, ...; default: what is there")
    data.add_argument("--exclude", metavar="NUMBERS", help="flats and darks of no use, by frame number: 3,10-12")
    data.add_argument("--which-flats", choices=("mean", "nearest", "before", "after"), default="mean")
    data.add_argument("--raw", action="store_true", help="a preview without any flat: by each projection's brightest")
    data.add_argument("--monitor", action="store_true", help="divide by the file's reading of the beam")
    data.add_argument("--angles", metavar="SAID", help="FIRST:LAST, FIRST+STEP, or a file (file[a:b]): degrees")
    data.add_argument("--max-angle", type=float, help="angles from 0 to this, the last projection included")
    data.add_argument("-c", "--cor", type=float, help="column of the axis; 0: middle of the first; default: found")
    before = parser.add_argument_group("projections, in this order")
    before.add_argument("--rotation", type=int, default=0, help="by so many times 90 degrees, clockwise; -1: none")
    before.add_argument("--air-region", metavar="[x1,y1,x2,y2]", help="that nothing covers, of the turned image")
    before.add_argument("--region-of-interest", metavar="[x1,y1,x2,y2]", help="of the turned image; x2, y2 left out")
    before.add_argument("--pre-cut-off", type=float, help="transmission below it becomes 0, then the least above 0")
    before.add_argument("--outliers", type=float, help="from the median of 3 x 3, transmission: bright and dark ones")
    before.add_argument("--median-filter-size", type=int, default=3, help="0: none")
    before.add_argument("--phase", metavar="PIXEL_M,DISTANCE_M,ENERGY_KEV,DELTA_BETA", help="Paganin's retrieval")
    before.add_argument("--scale-down", type=int, default=0, help="blocks of so many pixels become one, their mean")
    before.add_argument("--remove-stripes", choices=STRIPES, default="none", help="rings; the original's wf")
    before.add_argument("--mcp-corrections", choices=("yes", "no"), default="no", help="the original has none either")
    slices = parser.add_argument_group("slices")
    slices.add_argument("-t", "--tool", choices=engines.ENGINES, default="inbeam")
    slices.add_argument(
        "-a", "--algorithm", help="; ".join(f"{k}: {', '.join(v)}" for k, v in engines.ALGORITHMS.items())
    )
    slices.add_argument("-n", "--num-iter", type=int, default=50, help="rounds of iterative ones")
    slices.add_argument("--window", choices=WINDOWS, default="ramp", help="of the filter, inbeam only")
    slices.add_argument("--slices", metavar="FIRST:END", help="rows of the prepared projections; default: all")
    slices.add_argument(
        "--half-acquisition", action="store_true", help="the axis lies near an edge, a full turn shows both sides"
    )
    slices.add_argument("--cut-off", type=float, help="values below it, of the way from least to most, become least")
    slices.add_argument("--out-median-filter", type=int, default=0, help="of each slice")
    slices.add_argument(
        "--circular-mask",
        type=float,
        default=0.94,
        help="NaN outside of so much of the radius, and of what is always seen",
    )
    slices.add_argument("--out-img-format", choices=("tiff", "tif", "fits", "fit", "png", "none"), default="tiff")
    slices.add_argument("--pre-processed", action="store_true", help="write the prepared projections as images too")
    slices.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    slices.add_argument("-v", "--verbose", action="count", default=0, help="say what is done")


def run(options: argparse.Namespace) -> int:
    """0: done; 1: done, but what came out is to be looked at; 2 (ConfigError): it cannot be done."""
    began, target = time.perf_counter(), options.output_path
    algorithm = options.algorithm or engines.ALGORITHMS[options.tool][0]
    _first_look(options, algorithm)
    steps = _steps(options)
    flats = Flats(options.which_flats, _numbers(options.exclude), options.raw, options.monitor)
    target.mkdir(parents=True, exist_ok=True)
    named = Beside(options.input_path_flat, options.input_path_dark, options.in_img_format)
    with opened(options.input_path, named) as scan:
        angles = angles_of(options.angles, options.max_angle, scan)
        with prepared(scan, steps, flats, target, options.threads, _progress("projections")) as ready:
            half = bool(options.half_acquisition or scan.half)
            axis = _axis(options, scan, ready, angles, half)
            rows = _rows(options.slices, ready.lines.shape[1])
            about = {
                "command": shlex.join(["inbeam", *sys.argv[1:]]),
                "name": scan.name,
                "source": scan.source,
                "kind": scan.kind,
                "steps": steps.model_dump(mode="json", exclude_defaults=True),
                "flats": {**asdict(flats), "exclude": sorted(flats.exclude)},
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
        "projections": f"{len(angles)}, {ready.stage.shape[0]} x {ready.stage.shape[1]} pixels when prepared",
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
    print(f"{target / VOLUME}: {told['slices']}; {told['axis']}; {took:.1f} s")
    for remark in remarks:
        print(f"inbeam tomo-reconstruct: {remark}", file=sys.stderr)
    return 1 if remarks else 0


def _first_look(options: argparse.Namespace, algorithm: str) -> None:
    engines.check(options.tool, algorithm)
    check_format(options.out_img_format)
    if options.mcp_corrections == "yes":
        text = "corrections of overlapping counts need the shutter's times, which the images do not have: leave it out"
        raise ConfigError([("--mcp-corrections", text)])
    if (options.output_path / VOLUME).exists():
        raise ConfigError([("--output-path", f"{options.output_path} holds a volume already: choose another folder")])
    for name, low, high in (("circular_mask", 0.0, 2.0), ("cut_off", 0.0, 1.0)):
        value = getattr(options, name)
        if value is not None and not low <= value < high:
            raise ConfigError([(f"--{name.replace('_', '-')}", f"must be from {low:g} to less than {high:g}")])


def _steps(options: argparse.Namespace) -> Steps:
    phase = None
    if options.phase is not None:
        keys = ("pixel_m", "distance_m", "energy_kev", "delta_beta")
        values = options.phase.split(",")
        if len(values) != len(keys):
            raise ConfigError(
                [("--phase", f"needs {len(keys)} numbers with commas between them, not {options.phase!r}")]
            )
        phase = dict(zip(keys, values, strict=True))
    outliers = options.outliers and {"difference": options.outliers, "kind": "both"}
    try:
        return Steps.model_validate(
            {
                "rotate": max(options.rotation, 0),
                "air": _area("--air-region", options.air_region),
                "crop": _area("--region-of-interest", options.region_of_interest),
                "cut_off": options.pre_cut_off and {"part": options.pre_cut_off},
                "outliers": outliers or None,
                "median": options.median_filter_size if options.median_filter_size > 1 else None,
                "phase": phase,
                "scale_down": max(options.scale_down, 1),
            }
        )
    except ValidationError as error:
        problems = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        raise ConfigError(problems) from error


def _area(option: str, given: str | None) -> dict[str, Any] | None:
    """[x1, y1, x2, y2], whole or as 1.000000, which Mantid's window sends; "" and "[]": none."""
    words = (given or "").strip("[]() ")
    if not words:
        return None
    try:
        numbers = [float(each) for each in words.replace(",", " ").split()]
        left, top, right, bottom = (int(each) for each in numbers)
    except ValueError as error:
        raise ConfigError([(option, f"needs four numbers, [x1, y1, x2, y2], not {given!r}")]) from error
    if [left, top, right, bottom] != numbers:
        raise ConfigError([(option, f"are pixels, whole numbers, not {given!r}")])
    return {"x": [left, right], "y": [top, bottom]}


def _numbers(given: str | None) -> frozenset[int]:
    found: set[int] = set()
    for each in (given or "").split(",") if given else ():
        first, _, last = each.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise ConfigError([("--exclude", f"{each!r} is no frame number and no range of them, such as 10-12")])
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _rows(given: str | None, count: int) -> range:
    if given is None:
        return range(count)
    first, _, end = given.partition(":")
    try:
        rows = range(count)[int(first or 0) : int(end or count)]
    except ValueError as error:
        raise ConfigError([("--slices", f"{given!r} is not FIRST:END")]) from error
    if not len(rows):
        raise ConfigError([("--slices", f"{given} is none of the {count} rows")])
    return rows


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

    def one(row: int) -> Array:
        sinogram: Array = np.ascontiguousarray(ready.lines[:, row])
        if stripes is not None:
            sinogram = rings.without_rings(sinogram, stripes)  # type: ignore[arg-type]
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
        for place, picture in enumerate(_in_threads(one, rows, threads)):
            limits = [min(limits[0], float(picture.min())), max(limits[1], float(picture.max()))]
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


def _in_threads(one: Any, rows: range, threads: int) -> Iterator[Array]:
    """In their order, some ahead of what is taken, so that memory does not grow."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = []
        for row in rows:
            waiting.append(pool.submit(one, row))
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
    if covered.covered_deg < 0.95 * covered.turn_deg:
        found.append(f"{covered.words}: directions are missing in the slices")
    return [*found, *(note for note in scan.notes if "image keys" in note)]


def _progress(what: str) -> Any:
    def show(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{of} {what}", end="\n" if done == of else "", file=sys.stderr, flush=True)

    return show
