"""`inbeam savu LIST`: a process list of Savu as a YAML of ours, and as a line of `inbeam tomo-reconstruct`."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from sinks.export.write import put
from stream.commands.given import must_be_files
from stream.commands.tomography.savu import Mapped, mapped, plugins_of
from stream.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam savu`."""
    parser.add_argument("file", type=Path, metavar="LIST", help="a .nxs file with a process list")
    parser.add_argument("-o", "--output", type=Path, metavar="YAML", help="default: standard output")


def run(options: argparse.Namespace) -> int:
    """0: all of it has a counterpart; 1: some plugin has none, which is told."""
    if options.output is not None and options.output.exists():
        raise ConfigError([("--output", f"{options.output} is there already: give another name")])
    must_be_files(options.file)
    found = mapped(plugins_of(options.file))
    text = _document(options.file.name, found)
    if options.output is None:
        print(text, end="")
    else:
        put(options.output, text.encode("utf-8"), overwrite=False)
    for line in found.lacking:
        print(f"inbeam savu: {line}", file=sys.stderr)
    return 1 if found.lacking else 0


def command(found: Mapped) -> str:
    """The line of tomo-reconstruct that does the same, with FILE and FOLDER to be filled in."""
    steps = found.steps
    words = ["inbeam", "tomo-reconstruct", "-i", "FILE", "-o", "FOLDER"]
    words += ["--median-filter-size", str(steps.get("median", 0))]
    if (phase := steps.get("phase")) is not None:
        words += [
            "--phase",
            ",".join(f"{phase[key]:g}" for key in ("pixel_m", "distance_m", "energy_kev", "delta_beta")),
        ]
    if steps.get("scale_down", 1) > 1:
        words += ["--scale-down", str(steps["scale_down"])]
    if found.centre is not None:
        words += ["--cor", f"{found.centre:g}"]
    return shlex.join([*words, *(word for pair in found.offline.items() for word in pair)])


def _document(name: str, found: Mapped) -> str:
    lines = [f"# Made of Savu's process list {name}, plugin by plugin:", *(f"#   {each}" for each in found.told)]
    if found.steps.get("logarithm", True):
        lines += ["# From files, with the algorithm as it was:", f"#   {command(found)}"]
    tomography: dict[str, Any] = {"type": "tomography"}
    if found.centre is not None:
        tomography["centre"] = found.centre
    if (rings := found.offline.get("--remove-stripes")) is not None:
        tomography["rings"] = rings
    document = {
        "stream": {"type": "watch", "folder": "incoming"},
        "processors": [{"type": "projection", **(found.steps or {"logarithm": False})}, tomography],
        "sinks": [{"type": "hdf5", "path": "{scan}_slices.h5"}],
    }
    return "\n".join(lines) + "\n" + yaml.safe_dump(document, sort_keys=False)
