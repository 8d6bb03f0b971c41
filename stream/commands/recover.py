"""`inbeam recover FILE...`: repair files whose writer was killed, and say what they hold."""

import argparse
import sys
from pathlib import Path

from sinks.file.parts import continuation
from sinks.file.repair import recover
from sinks.sparse_frames.merge import merge_late
from stream.errors import SinkFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="file written by inbeam")


def run(args: argparse.Namespace) -> int:
    """0 if every file can be used now, else 1."""
    failed = False
    for path in args.files:
        try:
            found, next_part = recover(path), continuation(path)
            if next_part:
                merge_late(path)
            print(found.line(next_part), flush=True)
        except SinkFailed as error:
            print(f"inbeam recover: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0
