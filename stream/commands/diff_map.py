"""`inbeam diff-map`: the command line of pyFAI's diff_map (pyFAI-diffmap), option for option, over our own pipeline.

There is no window: what the map looks like while it grows, the sink `monitor` shows.
"""

import argparse
from importlib.metadata import version
from typing import Any

from stream.commands.maps import arguments
from stream.commands.maps.inputs import local
from stream.commands.maps.pipeline import Wish, beside, corrections, needed
from stream.commands.maps.running import Shown, carry_out
from stream.errors import ConfigError

NAMES = {
    **arguments.NAMES,
    "fast": "-t/--fast",
    "slow": "-r/--slow",
    "zigzag": "--zigzag",
    "npt": "-c/--npt",
    "npt_azimuthal": "--npt-azim",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of diff_map, under their own names, and a few of ours."""
    parser.add_argument("-V", "--version", action="version", version=f"inbeam {version('inbeam')}")
    arguments.add_inputs(parser, "*", None)
    parser.add_argument(
        "-t",
        "--fast",
        type=arguments.count,
        metavar="N",
        help="points of the fast motion; mandatory, if no source says",
    )
    parser.add_argument(
        "-r",
        "--slow",
        type=arguments.count,
        metavar="N",
        help="points of the slow motion; default: as many as there are",
    )
    parser.add_argument("--zigzag", action="store_true", help="back and forth: every other line runs back")
    parser.add_argument("-c", "--npt", type=arguments.count, metavar="N", help="radial bins (1000)")
    parser.add_argument(
        "--npt-azim", type=arguments.count, metavar="N", help="azimuthal bins, 1: a pattern, no cake (1)"
    )
    arguments.add_corrections(parser)
    parser.add_argument("--gui", action="store_true", help="refused: there is no window")
    parser.add_argument("--no-gui", action="store_true", help="as it always is")
    parser.add_argument("--config", metavar="FILE", help="JSON file saved by pyFAI-diffmap; the options go before it")


def run(options: argparse.Namespace) -> int:
    """0: all is well; 1: something was lost or failed; 2: wrong arguments."""
    if options.gui:
        text = "there is no window: leave it out, and see the map with the sink `monitor` or in the file"
        raise ConfigError([("--gui", text)])
    saved = _saved(options.config) if options.config is not None else {}
    given: dict[str, Any] = {
        "poni": options.poni and local(options.poni),
        "output": options.output,
        "dark": options.dark,
        "flat": options.flat,
        "mask": options.mask,
        "offset": options.offset,
    }
    chosen = {**saved, **{key: value for key, value in given.items() if value is not None}}
    geometry = saved.get("geometry") if "poni" not in chosen else None
    if geometry is not None and "output" in chosen:
        chosen["poni"] = str(beside(chosen["output"], "_geometry.poni"))
    needed(chosen, NAMES, made=geometry is not None)
    files, watch = arguments.inputs(options, saved.get("files", ()))
    integrate = dict(saved.get("integrate", {}))
    if options.npt is not None:
        integrate["npt"] = options.npt
    if options.npt_azim is not None:
        integrate["npt_azimuthal"] = options.npt_azim if options.npt_azim > 1 else None
    wish = Wish(
        files=files,
        output=chosen["output"],
        poni=chosen["poni"],
        names=NAMES,
        fast=_points(saved.get("fast", {}), options.fast),
        slow=_points(saved.get("slow", {}), options.slow),
        offset=chosen.get("offset", 0),
        zigzag=options.zigzag or saved.get("zigzag", False),
        integrate=integrate,
        correct={
            **saved.get("correct", {}),
            **corrections(chosen.get("dark"), chosen.get("flat"), chosen.get("mask"), NAMES),
        },
        gpu=options.gpu or saved.get("gpu", False),
        number=options.number,
        first=options.first,
        watch=watch,
        geometry=geometry,
    )
    return carry_out(wish, Shown("diff-map", options.verbose, options.stats, options.show))


def _points(saved: dict[str, Any], given: int | None) -> dict[str, Any]:
    return saved if given is None else {**saved, "points": given}


def _saved(path: str) -> dict[str, Any]:
    from stream.commands.maps.diffmap_config import read  # pyFAI takes a second to import

    return read(path)
