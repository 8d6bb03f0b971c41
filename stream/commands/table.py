"""`inbeam table FILE...`: what results files have of every frame, one row each, as .csv or .parquet."""

import argparse
import sys
from pathlib import Path

from sinks.export.series import series
from sinks.export.tables import as_csv, as_parquet
from sinks.export.write import put
from stream.errors import ConfigError, InbeamError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam table`."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="results file of inbeam, also one that grows"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--csv", dest="kind", action="store_const", const="csv", default="csv", help="text (the default)")
    kind.add_argument("--parquet", dest="kind", action="store_const", const="parquet", help="needs inbeam[table]")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="default: this folder")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(options: argparse.Namespace) -> int:
    """0: every file has its table; 1: one failed; 2 (ConfigError): wrong arguments."""
    if options.output.exists() and not options.output.is_dir():
        raise ConfigError([("--output", f"{options.output} is not a folder")])
    targets = [options.output / f"{path.stem}.{options.kind}" for path in options.files]
    if len(set(targets)) < len(targets):
        raise ConfigError([("files", "two of them have the same name: write their tables into different folders")])
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path, target in zip(options.files, targets, strict=True):
        try:
            found = series(path)
            content = as_csv(found) if options.kind == "csv" else as_parquet(found)
            put(target, content, overwrite=options.overwrite)
        except InbeamError as error:
            print(f"inbeam table: {error}", file=sys.stderr)
            failed += 1
            continue
        began = "start of exposure" if found.time_from == "absolute_time" else "arrival, no start of exposure is known"
        print(f"{path}: {len(found)} frames, {len(found.columns)} columns -> {target} (time: Unix, s, of {began})")
        for note in found.notes:
            print(f"  {note}")
    return 1 if failed else 0
