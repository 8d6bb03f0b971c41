"""`inbeam export FILE...`: results as text columns (.xy, .xye, .chi, .csv) or images (.edf, .tif), a file per frame;
volumes for ParaView (.vti)."""

import argparse
import string
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sinks.export import cakes, columns, pyfai, vtk
from sinks.export.results import Results, opened
from sinks.export.units import CHANGEABLE, converted
from sinks.export.write import put
from sinks.file.naming import safe
from stream.commands.given import has_no_effect
from stream.errors import ConfigError, InbeamError
from stream.events import Array

FIELDS = ("scan", "frame", "product", "file")
MOST_NAMED = 8
ALL, NAME = ":", "{scan}_{frame:05d}"
PYFAI = "pyfai"
"""NeXus as pyFAI writes it, one pattern per file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam export`."""
    formats = (*columns.FORMATS, *cakes.FORMATS, PYFAI)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="results file of inbeam, also one that grows"
    )
    parser.add_argument("-f", "--format", choices=formats, help="patterns: xy, xye, chi, csv, pyfai; cakes: edf, tif")
    parser.add_argument("-p", "--product", metavar="NAME", help="default: the one that the file's entry is about")
    parser.add_argument("--frames", metavar="LIST", help="frame numbers such as 0,5,10:20 or ::10 or -1; default: all")
    parser.add_argument("-u", "--unit", choices=CHANGEABLE, help="unit of the first column; default: as integrated")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="default: this folder")
    parser.add_argument(
        "--name",
        metavar="PATTERN",
        help=f"file names without ending, of {{scan}}, {{frame}}, {{product}}, {{file}} (default: {NAME})",
    )
    parser.add_argument("--vtk", action="store_true", help="a volume as .vti, for ParaView: SCAN_PRODUCT.vti")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(options: argparse.Namespace) -> int:
    """0: every chosen frame was written; 1: one has no data, or a file failed; 2 (ConfigError): wrong arguments."""
    if options.vtk:
        said = {"--frames": options.frames, "--name": options.name, "--unit": options.unit}
        has_no_effect(said, "a volume is exported whole, as SCAN_PRODUCT.vti: leave it out, or leave out --vtk")
    options.frames, options.name = options.frames or ALL, options.name or NAME
    _check(options)
    options.output.mkdir(parents=True, exist_ok=True)
    taken: set[Path] = set()
    failed = 0
    for path in options.files:
        try:
            if options.vtk:
                _volume(path, options, taken)
                continue
            with opened(path, options.product) as results:
                failed += _export(results, options, taken)
        except InbeamError as error:
            print(f"inbeam export: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _volume(path: Path, options: argparse.Namespace, taken: set[Path]) -> None:
    volume = vtk.read(path, options.product)
    target = Path(options.output / f"{safe(volume.scan)}_{safe(volume.product)}.vti")
    if target in taken:
        raise InbeamError(f"{target} would be written more than once: export these files into several folders")
    taken.add(target)
    put(target, vtk.content(volume), overwrite=options.overwrite)
    shape = " x ".join(str(size) for size in next(iter(volume.fields.values())).shape)
    print(f"{path}: {volume.product}, {shape} voxels, {', '.join(volume.names)} -> {target}")


def chosen(text: str, length: int) -> list[int]:
    """Frame numbers, ascending, of a list such as "0,5,10:20:2,-1" for a scan of `length` frames.

    Raises ValueError if it is no such list; a single number that the scan does not have is given all the same.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, *others = part.split(":")
        if not others:
            number = int(first)
            found.add(number + length if number < 0 else number)
        elif len(others) > 2:
            raise ValueError(part)
        else:
            bounds = [int(bound) if bound.strip() else None for bound in (first, *others)]
            found.update(range(length)[slice(*bounds)])
    return sorted(found)


def beyond(text: str, length: int) -> str:
    """The first range of such a list that begins or ends beyond a scan of `length` frames; "" if there is none."""
    for part in text.split(","):
        first, *others = part.split(":")
        start, end = (int(bound) if bound.strip() else 0 for bound in (first, (others or [""])[0]))
        if others and not (-length <= start < length and -length <= end <= length):
            return part.strip()
    return ""


def _check(options: argparse.Namespace) -> None:
    problems = []
    try:
        chosen(options.frames, 0)
    except ValueError:
        problems.append(("--frames", f"{options.frames!r}: give numbers and ranges such as 0,5,10:20"))
    try:
        name = options.name.format(**{**dict.fromkeys(FIELDS, "a"), "frame": 1})
        known = {field for _, field, _, _ in string.Formatter().parse(options.name)} - {None} <= set(FIELDS)
    except (ValueError, KeyError, IndexError, AttributeError):
        known, name = False, ""
    if not known or not name.strip() or "/" in name:
        problems.append(("--name", f"{options.name!r}: a file name of {{scan}}, {{frame}}, {{product}}, {{file}}"))
    if options.vtk and options.format:
        problems.append(("--vtk", f"is a format of its own: leave out --format {options.format}"))
    if options.output.exists() and not options.output.is_dir():
        problems.append(("--output", f"{options.output} is not a folder"))
    if problems:
        raise ConfigError(problems)


def _export(results: Results, options: argparse.Namespace, taken: set[Path]) -> int:
    """Write the chosen frames of one file and say what was done. Returns how many of them could not be written."""
    known = cakes.FORMATS if results.azimuthal is not None else tuple(columns.FORMATS)
    kind = options.format or known[0]
    if kind not in known and kind != PYFAI:
        what = "a cake" if results.azimuthal is not None else "a pattern"
        raise InbeamError(
            f"{results.path}: {results.product} is {what}: choose --format {' or '.join(known)}, not {kind}"
        )
    unit = options.unit or results.unit
    radial = converted(results.radial, results.unit, unit, results.wavelength_angstrom)
    wanted = chosen(options.frames, len(results))
    if len(results) and (not wanted or wanted[0] < 0):
        lacks = "chooses none" if not wanted else "begins before the first"
        frames = f"{len(results)} frames, numbered from 0"
        raise InbeamError(f"{results.path}: --frames {options.frames} {lacks} of its {frames}")
    if len(results) and (part := beyond(options.frames, len(results))):
        there = f"{len(results)} frames, 0 to {len(results) - 1}"
        raise InbeamError(f"{results.path}: --frames {part} reaches beyond its {there}: leave the end out for all")
    held = [index for index in wanted if results.has(index)]
    targets = {index: _target(results, options, index, kind) for index in held}
    _free(targets, options, taken)
    without_value: Counter[int] = Counter()
    for index, values, errors in results.rows(held):
        held_bins = np.isfinite(values) if errors is None else np.isfinite(values) & np.isfinite(errors)
        if not held_bins.any():
            raise InbeamError(f"{results.path}: frame {index} has no bin with a value")
        without_value[int(held_bins.size - held_bins.sum())] += 1
        for path, content in _content(results, kind, targets[index], index, (radial, unit), values, errors):
            put(path, content, overwrite=options.overwrite)
    return _tell(results, kind, options, wanted, targets, without_value)


def _content(
    results: Results, kind: str, path: Path, index: int, axis: tuple[Array, str], values: Array, errors: Array | None
) -> Iterator[tuple[Path, bytes]]:
    """What to write for one frame: one file, or two."""
    told = {**results.told, **_wavelength(results)}
    if kind == PYFAI:
        yield path, pyfai.nexus(results, index, axis, values, errors)
    elif results.azimuthal is None:
        pattern = columns.Pattern(
            results.scan, index, axis[1], axis[0], values, errors, float(results.received[index]), told, results.poni
        )
        yield path, columns.FORMATS[kind](pattern).encode("ascii")
    else:
        header = {**cakes.axes_header(*axis, results.azimuthal), **told, "scan": results.scan, "frame": str(index)}
        if kind == "edf":
            yield path, cakes.edf(values, errors, header)
            return
        yield path, cakes.tif(values, header)
        if errors is not None:
            yield path.with_name(f"{path.stem}_errors{path.suffix}"), cakes.tif(errors, header)


def _target(results: Results, options: argparse.Namespace, index: int, kind: str) -> Path:
    fields = {"scan": results.scan, "product": results.product, "file": results.path.stem}
    name = options.name.format(frame=index, **{field: safe(value) for field, value in fields.items()})
    return Path(options.output / f"{name}.{'nxs' if kind == PYFAI else kind}")


def _free(targets: Mapping[int, Path], options: argparse.Namespace, taken: set[Path]) -> None:
    """Refuse before anything is written what would be written twice, or over something."""
    names = [*targets.values()]
    twice = [path for path, number in Counter(names).items() if number > 1 or path in taken]
    if twice:
        raise InbeamError(f"{twice[0]} would be written more than once: use {{frame}} and {{file}} in --name")
    there = [path for path in names if path.is_symlink() or path.exists()]
    if there and not options.overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise InbeamError(f"{there[0]} exists{more}: nothing was written; add --overwrite, or choose another --output")
    taken.update(names)


def _wavelength(results: Results) -> Mapping[str, str]:
    known = results.wavelength_angstrom == results.wavelength_angstrom
    return {"wavelength": f"{results.wavelength_angstrom!r} angstrom"} if known else {}


def _tell(
    results: Results,
    kind: str,
    options: argparse.Namespace,
    wanted: Sequence[int],
    targets: Mapping[int, Path],
    without_value: Mapping[int, int],
) -> int:
    missing = [index for index in wanted if index not in targets]
    written = [*targets.values()]
    where = "nothing" if not written else str(written[0]) + (f" ... {written[-1].name}" if len(written) > 1 else "")
    print(f"{results.path}: {results.product}, {len(written)} of {len(wanted)} frames -> {where}")
    for bins, frames in sorted(without_value.items()):
        if bins:
            fate = "were left out" if kind in columns.FORMATS else "are NaN"
            print(f"  {bins} of {results.signal[0].size} bins have no value and {fate}, in {frames} frames")
    if missing:
        named = ", ".join(f"{index} {results.status(index)}" for index in missing[:MOST_NAMED])
        print(f"  {len(missing)} frames have no data: {named}{' ...' if len(missing) > MOST_NAMED else ''}")
    return len(missing) if options.frames != ALL or not written else 0
