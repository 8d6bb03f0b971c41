"""`inbeam check FILE...`: verify files against their ledgers, one line each."""

import argparse
from pathlib import Path

from sinks.check import check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="file written by inbeam")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell every problem, not the first one only")


def run(args: argparse.Namespace) -> int:
    """0 if every file is sound, else 1."""
    sound = True
    for path in args.files:
        verdict = check(path)
        sound &= verdict.sound
        print(verdict.line(), flush=True)
        if args.verbose:
            for problem in verdict.problems[1:]:
                print(f"  {problem}")
    return 0 if sound else 1
