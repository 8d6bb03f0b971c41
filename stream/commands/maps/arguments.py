"""Options that diff_map and diff_tomo share, with pyFAI's names and defaults; those marked (new) are ours."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from stream.commands.given import has_no_effect
from stream.commands.maps.inputs import expand, local, numbered
from stream.errors import ConfigError
from stream.formats.hdf5.opening import split
from stream.numbers import whole

NAMES: Mapping[str, str] = {
    "first_number": "--first",
    "files": "FILE",
    "folder": "FILE",
    "output": "-o/--output",
    "path": "-o/--output",
    "poni": "-p/--poni",
    "dark": "-d/--dark",
    "flat": "-f/--flat",
    "mask": "-m/--mask",
    "offset": "-O/--offset",
    "device": "-g/--gpu",
}


count = whole(1)
"""A number of points."""


def add_inputs(parser: argparse.ArgumentParser, files: str, output: str | None) -> None:
    """Input and output."""
    parser.add_argument(
        "FILE", nargs=files, help='input files, folders (with -P and -e), or patterns in quotes such as "*.edf"'
    )
    shown = "default: %(default)s" if output else "mandatory"
    parser.add_argument("-o", "--output", metavar="OUT", default=output, help=f"HDF5 file with the map ({shown})")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the configuration that is run")
    parser.add_argument("-P", "--prefix", default="", help="of a folder take the files that begin with this")
    parser.add_argument("-e", "--extension", default="", help="of a folder take the files that end with this")
    parser.add_argument(
        "--number",
        choices=("name", "position"),
        help="frame number of an image file: that in its name, so that a missing file leaves a hole; or its position, "
        "as pyFAI counts (new, default: name, where all have a number)",
    )
    parser.add_argument(
        "--first",
        type=whole(0),
        metavar="N",
        help="number in the name of the first frame; default: the lowest there is (new)",
    )
    parser.add_argument(
        "--watch", action="store_true", help="FILE is one folder, which is followed while it fills (new)"
    )
    parser.add_argument("--show", action="store_true", help="print the pipeline as YAML, and run nothing (new)")


def add_corrections(parser: argparse.ArgumentParser) -> None:
    """Corrections, geometry, and what is common at the end."""
    parser.add_argument("-d", "--dark", metavar="FILE,FILE", help="dark images to average and subtract")
    parser.add_argument("-f", "--flat", metavar="FILE,FILE", help="flat images to average and divide by")
    parser.add_argument("-m", "--mask", metavar="FILE", help="mask, nonzero = bad pixel; default: the detector's own")
    parser.add_argument("-p", "--poni", metavar="FILE", help="geometry, a PONI file (mandatory)")
    parser.add_argument("-O", "--offset", type=whole(0), default=None, metavar="N", help="leave out the first N frames")
    parser.add_argument("-g", "--gpu", action="store_true", help="integrate with OpenCL on a GPU")
    parser.add_argument("-S", "--stats", action="store_true", help="save statistics as a picture, OUT_stats.png")


def inputs(options: argparse.Namespace, more: tuple[str, ...] = ()) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """The files in order, or the folder and how it is watched. more: files of a configuration, before those given.

    Raises ConfigError naming all that is not there.
    """
    names = (*more, *options.FILE)
    if not options.watch and not any(os.path.isdir(split(local(name))[0]) for name in names):
        said = {"-P/--prefix": options.prefix or None, "-e/--extension": options.extension or None}
        has_no_effect(said, "chooses among the files of a folder, and no FILE is one: leave it out")
    if options.number == "position":
        has_no_effect({"--first": options.first}, "is a number in the names: leave it out, or --number position")
    if not names:
        raise ConfigError([("FILE", "no input files: give some, a folder, or a pattern in quotes")])
    if not options.watch:
        files = tuple(expand(names, options.prefix, options.extension))
        if not numbered(files):
            said = {"--first": options.first, "--number name": options.number == "name"}
            has_no_effect(said, "is of image files that all have a number in their names: leave it out")
        return files, None
    if options.number == "position":
        raise ConfigError([("--number", "a folder that is followed counts by the numbers in the names: leave it out")])
    folder = local(names[0])
    if len(names) != 1 or not os.path.isdir(folder):
        raise ConfigError([("--watch", "follows one folder: give that alone as FILE")])
    pattern = f"{options.prefix}*{options.extension}"
    return (folder,), {"include": [pattern]} if pattern != "*" else {}
