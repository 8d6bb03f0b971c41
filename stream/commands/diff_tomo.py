"""`inbeam diff-tomo`: the command line of pyFAI's diff_tomo, option for option, over our own pipeline.

Rotation is the slow direction, translation the fast one: the frames lie by their own numbers in a cube (rotation,
translation, radial).
"""

import argparse
from importlib.metadata import version

from stream.commands.maps import arguments
from stream.commands.maps.inputs import local
from stream.commands.maps.pipeline import Wish, corrections, needed
from stream.commands.maps.running import Shown, carry_out

NAMES = {**arguments.NAMES, "fast": "-t/--nTrans", "slow": "-r/--nRot", "npt": "-c/--nDiff"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of diff_tomo, under their own names, and a few of ours."""
    parser.add_argument("-V", "--version", action="version", version=f"inbeam {version('inbeam')}")
    arguments.add_inputs(parser, "+", "diff_tomo.h5")
    parser.add_argument(
        "-t", "--nTrans", type=arguments.count, default=1, metavar="N", help="points in translation (%(default)s)"
    )
    parser.add_argument(
        "-r", "--nRot", type=arguments.count, metavar="N", help="points in rotation; default: as many as there are"
    )
    parser.add_argument(
        "-c", "--nDiff", type=arguments.count, default=1000, metavar="N", help="radial bins (%(default)s)"
    )
    arguments.add_corrections(parser)


def run(options: argparse.Namespace) -> int:
    """0: all is well; 1: something was lost or failed; 2: wrong arguments."""
    needed({"poni": options.poni, "output": options.output}, NAMES)
    files, watch = arguments.inputs(options)
    wish = Wish(
        files=files,
        output=options.output,
        poni=local(options.poni),
        names=NAMES,
        fast={"points": options.nTrans},
        slow={"points": options.nRot} if options.nRot is not None else {},
        offset=options.offset,
        integrate={"npt": options.nDiff},
        correct=corrections(options.dark, options.flat, options.mask, NAMES),
        gpu=options.gpu,
        number=options.number,
        first=options.first,
        watch=watch,
    )
    return carry_out(wish, Shown("diff-tomo", options.verbose, options.stats, options.show))
