"""`inbeam stitch SAMPLE/`: the scans of one sample as one series in time, the changes of the attenuator taken out."""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from sinks.export.series import Series, series
from sinks.export.write import put
from sinks.stitching.corrections import Plan, factors_of, plan_of, planned, written
from sinks.stitching.joining import Joined, joined
from sinks.stitching.steps import Step, from_counts, from_reading
from sinks.stitching.writing import as_hdf5, as_picture, own
from stream.commands.given import has_no_effect, must_be_there
from stream.errors import ConfigError, InbeamError

ENDINGS = (".h5", ".hdf5", ".nxs")
COUNTS = "_counts"
STEP = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam stitch`."""
    parser.add_argument(
        "sample", nargs="+", type=Path, metavar="SAMPLE", help="folder of the sample's results files, or the files"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="NAME",
        help="makes NAME.h5, .png and .yaml (default: SAMPLE_stitched)",
    )
    parser.add_argument(
        "--regions", metavar="A,B", help="regions whose raw counts show the changes of the attenuator (default: all)"
    )
    parser.add_argument("--reading", metavar="NAME", help="a reading that changes with the attenuator")
    parser.add_argument("--step", type=float, metavar="X", help="smallest step, a factor (default: 1.5)")
    parser.add_argument(
        "--event", action="append", default=[], metavar="NAME=S", help="a line in the picture, s after the first frame"
    )
    parser.add_argument("--search", action="store_true", help="search for changes anew, replacing NAME.yaml")
    parser.add_argument("--overwrite", action="store_true", help="replace NAME.h5 and NAME.png")


def run(options: argparse.Namespace) -> int:
    """0: stitched; 1: the files could not be; 2 (ConfigError): wrong arguments, or a wrong NAME.yaml."""
    if options.reading is not None:
        has_no_effect({"--step": options.step}, "is of counts, and --reading shows the changes: leave one out")
    if not (options.step is None or options.step > 1):
        raise ConfigError([("--step", f"{options.step}: give a factor above 1")])
    must_be_there(*options.sample)
    events = dict(_event(text) for text in options.event)
    sample, base = _names(options)
    rows = joined(_read(options.sample))
    regions = _regions(rows, options.regions)
    path = base.with_name(f"{base.name}.yaml")
    known = plan_of(path) if path.exists() else None
    if known is not None:
        if not options.search:
            said = {"--reading": options.reading, "--step": options.step}
            has_no_effect(said, f"is for a search, and {path} has the corrections: add --search, or leave it out")
        events = {**known.events, **events}
    if known is None or options.search:
        plan = planned(_steps(rows, regions, options), rows, events)
    else:
        plan = Plan(corrections=known.corrections, events=events)
        print(f"corrections of {path} (--search looks for them anew)")
    factors = factors_of(plan, rows, regions)
    for suffix, content in ((".h5", as_hdf5), (".png", as_picture)):
        put(base.with_name(base.name + suffix), content(rows, factors, plan, sample), overwrite=options.overwrite)
    text = written(plan, factors, sample, [name.removesuffix(COUNTS) for name in regions])
    if known is None or options.search:
        put(path, text.encode("utf-8"), overwrite=True)
    print(f"{len(rows)} frames of {len(rows.labels)} scans ({rows.left_out} without data) -> {base}.h5, .png, .yaml")
    for line in text.splitlines():
        if line.startswith("  "):
            print(line)
    return 0


def _read(given: list[Path]) -> list[tuple[str, Series]]:
    found: list[tuple[str, Series]] = []
    for place in given:
        inside = (
            sorted(path for path in place.rglob("*") if path.suffix.lower() in ENDINGS) if place.is_dir() else [place]
        )
        for path in inside:
            label = str(path.relative_to(place).with_suffix("")) if place.is_dir() else path.stem
            if own(path):
                continue
            try:
                made = series(path)
            except InbeamError:
                if not place.is_dir():
                    raise
                print(f"{path} is no results file: left out", file=sys.stderr)
                continue
            if not any(name.endswith(COUNTS) for name in made.columns):
                print(f"{path} has no regions of interest: left out", file=sys.stderr)
                continue
            found.append((label, made))
    if not found:
        raise InbeamError(f"{', '.join(map(str, given))}: no file with regions of interest: process the scans first")
    labels = [label for label, _ in found]
    if len(set(labels)) < len(labels):
        raise InbeamError("two files have the same name: name their folder instead")
    return found


def _regions(rows: Joined, wanted: str | None) -> list[str]:
    have = [name for name in rows.columns if name.endswith(COUNTS)]
    everywhere = [
        name
        for name in have
        if all(np.isfinite(rows.columns[name][rows.scan == number]).any() for number in range(len(rows.labels)))
    ]
    if wanted is None:
        if not everywhere:
            raise InbeamError("no region is in all scans: process them with the same regions, or name --regions")
        return everywhere
    names = [f"{name.strip()}{COUNTS}" for name in wanted.split(",")]
    if unknown := [name.removesuffix(COUNTS) for name in names if name not in everywhere]:
        known = ", ".join(name.removesuffix(COUNTS) for name in everywhere) or "none"
        raise ConfigError([("--regions", f"{unknown[0]!r} is not in all scans; there are: {known}")])
    return names


def _steps(rows: Joined, regions: list[str], options: argparse.Namespace) -> list[Step]:
    if options.reading is None:
        return from_counts({name: rows.columns[name] for name in regions}, options.step or STEP)
    name = f"reading_{options.reading}"
    if name not in rows.columns:
        known = ", ".join(each.removeprefix("reading_") for each in rows.columns if each.startswith("reading_"))
        raise ConfigError([("--reading", f"no scan has the reading {options.reading!r}; there are: {known or 'none'}")])
    return from_reading(rows.columns[name])


def _event(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    try:
        found = float(seconds)
    except ValueError:
        found = math.nan
    if not name or not math.isfinite(found):
        raise ConfigError([("--event", f"{text!r}: write NAME=SECONDS")])
    return name, found


def _names(options: argparse.Namespace) -> tuple[str, Path]:
    first = options.sample[0].resolve()
    sample = first.name if first.is_dir() else first.stem
    base = options.output or Path(f"{sample}_stitched")
    if not base.parent.is_dir():
        raise ConfigError([("--output", f"{base.parent} is not a folder")])
    return sample, base
