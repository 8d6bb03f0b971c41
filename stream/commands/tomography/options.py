"""The options of `inbeam tomo-reconstruct`, and what they stand for."""

import argparse
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from processors.projections.options import Steps
from processors.shared.device import WORDS
from processors.tomography import engines
from processors.tomography.filters import WINDOWS
from stream.errors import ConfigError
from stream.numbers import whole

OF_STEP = {
    "rotate": "--rotation", "air": "--air-region", "crop": "--region-of-interest", "cut_off": "--pre-cut-off",
    "median": "--median-filter-size",
}  # fmt: skip
"""Where the option of a step is not called as the step is."""
STRIPES = {"none": None, "wf": "wavelet-fourier", "wavelet-fourier": "wavelet-fourier", "ti": "titarenko"} | {
    each: each for each in ("titarenko", "sorting")
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam tomo-reconstruct`."""
    data = parser.add_argument_group("data")
    data.add_argument("-i", "--input-path", type=Path, required=True, help="NXtomo, Data Exchange, folder of images")
    data.add_argument("-o", "--output-path", "--output", type=Path, required=True, help="folder, made if need be")
    data.add_argument("--input-path-flat", type=Path, nargs="+", help="folders or files; default: flat* beside it")
    data.add_argument("--input-path-dark", type=Path, nargs="+", help="folders or files; default: dark* beside it")
    data.add_argument("--in-img-format", help="fits, tiff, ...; default: what is there")
    data.add_argument("--exclude", metavar="NUMBERS", help="frames of no use, by their number: 3,10-12")
    data.add_argument("--which-flats", choices=("mean", "nearest", "before", "after"), default="mean")
    data.add_argument("--raw", action="store_true", help="a preview without any flat: by each projection's brightest")
    data.add_argument("--monitor", action="store_true", help="divide by the file's reading of the beam")
    data.add_argument("--angles", metavar="SAID", help="degrees: FIRST:LAST, FIRST+STEP, FILE[a:b], FILE::/path")
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
    before.add_argument("--device", default="auto", help=f"for all but the phase: {WORDS}")
    before.add_argument("--mcp-corrections", choices=("yes", "no"), default="no", help="the original has none either")
    slices = parser.add_argument_group("slices")
    slices.add_argument("-t", "--tool", choices=engines.ENGINES, default="inbeam")
    slices.add_argument(
        "-a", "--algorithm", help="; ".join(f"{k}: {', '.join(v)}" for k, v in engines.ALGORITHMS.items())
    )
    slices.add_argument("-n", "--num-iter", type=whole(1), default=50, help="rounds of iterative ones")
    slices.add_argument("--window", choices=WINDOWS, default="ramp", help="of the filter of filtered back-projection")
    slices.add_argument("--slices", metavar="FIRST:END", help="rows of the prepared projections; default: all")
    slices.add_argument(
        "--half-acquisition", action="store_true", help="the axis lies near an edge, a full turn shows both sides"
    )
    slices.add_argument("--cut-off", type=float, help="values below it, of the way from least to most, become least")
    slices.add_argument("--out-median-filter", type=whole(0), default=0, help="of each slice")
    slices.add_argument(
        "--circular-mask",
        type=float,
        default=0.94,
        help="NaN outside of so much of the radius, and of what is always seen",
    )
    slices.add_argument("--out-img-format", choices=("tiff", "tif", "fits", "fit", "png", "none"), default="tiff")
    slices.add_argument("--pre-processed", action="store_true", help="write the prepared projections as images too")
    slices.add_argument("--threads", type=whole(1), default=os.cpu_count() or 1)
    slices.add_argument("-v", "--verbose", action="count", default=0, help="print what the README says")


def steps_of(options: argparse.Namespace) -> Steps:
    """What is done to projections. Raises ConfigError."""
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
        problems = [(option_of(str(each["loc"][0])), _words(each)) for each in error.errors()]
        raise ConfigError(problems) from error


def option_of(step: str) -> str:
    """The option by which a step is asked for."""
    return OF_STEP.get(step, f"--{step.replace('_', '-')}")


def _words(problem: Any) -> str:
    """What pydantic says, with the part of the option where there is one."""
    text = str(problem["msg"]).removeprefix("Value error, ")
    return ": ".join([*map(str, problem["loc"][1:]), text])


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


def numbers_of(given: str | None) -> frozenset[int]:
    """Frame numbers, of 3,10-12. Raises ConfigError."""
    found: set[int] = set()
    for each in (given or "").split(",") if given else ():
        first, _, last = each.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise ConfigError([("--exclude", f"{each!r} is no frame number and no range of them, such as 10-12")])
        if int(last or first) < int(first):
            raise ConfigError([("--exclude", f"{each!r} ends before its first frame")])
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def rows_of(given: str | None, count: int) -> range:
    """Of FIRST:END. Raises ConfigError."""
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
