"""`inbeam simulate`: a detector of our own that sends powder rings for as long as it is asked to."""

import argparse
import sys
from pathlib import Path

from stream.commands.given import has_no_effect
from stream.errors import InbeamError
from stream.numbers import whole
from stream.simulate import play
from stream.simulate.detectors import DETECTORS
from stream.simulate.eiger import poni, pool
from stream.simulate.scans import simulated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.description = (
        "Play a simulated detector on a socket: genuine stream2 or SIMPLON v1 messages, real bslz4 pixels."
    )
    parser.add_argument("--detector", choices=sorted(DETECTORS), default="eiger2-4m", help="default %(default)s")
    parser.add_argument("--protocol", choices=("stream2", "simplon"), default="stream2", help="default %(default)s")
    parser.add_argument("--frames", type=whole(1), metavar="N", help="images per scan (default: one scan without end)")
    parser.add_argument("--scans", type=whole(0), metavar="N", help="scans in all, 0: without end (default 1)")
    parser.add_argument(
        "--dtype", choices=("uint8", "uint16", "uint32"), help="of the pixels (default: the detector's)"
    )
    parser.add_argument(
        "--channels", type=whole(1), default=1, metavar="N", help="thresholds, stream2 only (default 1)"
    )
    parser.add_argument("--spots", type=whole(0), default=0, metavar="N", help="Bragg spots per frame (default 0)")
    parser.add_argument(
        "--pool", type=whole(1), default=8, metavar="K", help="different frames, sent by turns (default 8)"
    )
    parser.add_argument("--header-detail", choices=("all", "basic", "none"), default="all", help="default %(default)s")
    parser.add_argument(
        "--series", type=whole(0), default=1, metavar="ID", help="number of the first series (default 1)"
    )
    parser.add_argument("--poni", type=Path, metavar="FILE", help="write the geometry for pyFAI to this file first")
    play.add_arguments(parser, rate="100")


def run(args: argparse.Namespace) -> int:
    """Send; 0 if all went out or the user stopped it, 1 with a line that says why not."""
    play.check(args)
    if args.frames is None:
        has_no_effect({"--scans": args.scans}, "one scan has no end: say how long each is with --frames")
    try:
        make = DETECTORS[args.detector]
        detector = make(args.dtype, args.channels) if args.dtype else make(channels=args.channels)
        if args.poni:
            args.poni.write_text(poni(detector), encoding="utf-8")
        rate, _ = play.pace(args.rate)
        messages = simulated(
            detector,
            pool(detector, args.pool, spots=args.spots),
            protocol=args.protocol,
            frames=args.frames,
            scans=1 if args.scans is None else args.scans or None,
            frame_time_s=1 / rate if rate else 0.001,
            series=args.series,
            header_detail=args.header_detail,
        )
        return play.play(messages, args, args.protocol)
    except (InbeamError, OSError) as error:
        print(f"inbeam simulate: {error}", file=sys.stderr)
        return 1
