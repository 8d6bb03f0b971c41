"""`inbeam densify`: restore frames from a sparse file, with the options of fabio's densify_Bragg."""

import argparse
import glob
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

from sinks.sparse_frames import densify as library
from stream.errors import ConfigError, InbeamError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of densify_Bragg, under their own names."""
    parser.add_argument("IMAGE", nargs="*", help="sparse files, of inbeam or pyFAI")
    parser.add_argument("-V", "--version", action="version", version=f"inbeam {version('inbeam')}")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each file")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    parser.add_argument("-l", "--list", action="store_true", help="list the output formats")
    parser.add_argument(
        "-o", "--output", help="output file; {basename} is replaced (default: input_dense.h5 or input_000001.h5)"
    )
    parser.add_argument("-O", "--output-format", default="lima", help="lima or eiger (%(default)s)")
    parser.add_argument("-D", "--dummy", type=float, help="value of masked pixels; default: that of the file")
    parser.add_argument(
        "-N", "--noise", type=float, default=1.0, help="scale of the background's noise, 0: none (%(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="restore, but write nothing")


def run(options: argparse.Namespace) -> int:
    """0: every file was restored; 1: one was not; 2 (ConfigError): wrong arguments."""
    if options.list:
        print(f"output formats: {', '.join(library.FORMATS)}")
        return 0
    style = options.output_format.lower().removesuffix("image")
    names: list[str] = []
    for name in options.IMAGE:
        names += glob.glob(name) if glob.has_magic(name) and not os.path.exists(name) else [name]
    names.sort()
    problems = [("IMAGE", "no input file specified")] if not names else []
    if style not in library.FORMATS:
        problems.append(("--output-format", f"{options.output_format!r}: use one of {', '.join(library.FORMATS)}"))
    if options.noise < 0:
        problems.append(("--noise", "must not be negative"))
    targets = [library.output_name(name, options.output, style) for name in names]
    if len(set(targets)) < len(targets):
        problems.append(("--output", "several files would be written to one name: use {basename} in it"))
    if problems:
        raise ConfigError(problems)
    failed = 0
    for name, target in zip(names, targets, strict=True):
        began = time.perf_counter()
        try:
            frames = library.densify(
                name,
                target,
                style=style,
                dummy=options.dummy,
                noise=options.noise,
                dry_run=options.dry_run,
                progress=_progress(name),
            )
        except InbeamError as error:
            if options.debug:
                raise
            print(f"inbeam densify: {error}", file=sys.stderr)
            failed += 1
            continue
        where = "nothing written" if options.dry_run else str(target)
        print(f"{name} -> {where}: {frames} frames in {time.perf_counter() - began:.2f} s")
    return 1 if failed else 0


def _progress(name: str) -> Callable[[int, int], None]:
    """A line that is kept up to date, on a terminal."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{name}: {done}/{total}", end=end, file=sys.stderr, flush=True)

    return show
