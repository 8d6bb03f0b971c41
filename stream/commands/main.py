"""`inbeam COMMAND`: finds the module of the command, imports nothing else."""

import argparse
import errno
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module

from stream.errors import ConfigError, InbeamError

INTERRUPTED = 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What any file may meet, whoever writes it."""
BEGIN_LATE = ("run", "process", "validate", "schema", "info", "completion")
"""Commands that hold nothing that Ctrl-C could leave half done, or take the signal over when they do."""
COMMANDS = {
    "run": ("stream.commands.run", "live: process a detector stream until stopped, or until N scans"),
    "process": ("stream.commands.process", "the same pipeline over recorded scans, as fast as it goes"),
    "replay": ("stream.commands.replay", "play a recorded scan or a capture as the detector, on a socket"),
    "simulate": ("stream.commands.simulate", "be a simulated detector, on a socket"),
    "capture": ("stream.commands.capture", "record a stream's messages byte for byte"),
    "set": ("stream.commands.set", "change an option of a running inbeam"),
    "validate": ("stream.commands.validate", "check a configuration: every error at once"),
    "schema": ("stream.commands.schema", "print the JSON schema of the configuration, for editors"),
    "info": ("stream.commands.info", "devices, plug-ins and versions"),
    "completion": ("stream.commands.completion", "print a script that lets bash, zsh or fish complete this command"),
    "reconstruct": ("stream.commands.reconstruct", "a slice for every radial bin of a map that turned"),
    "tomo-reconstruct": ("stream.commands.tomo_reconstruct", "slices from radiographs of a turning sample"),
    "savu": ("stream.commands.savu", "a process list of Savu as a configuration, what has no counterpart named"),
    "export": ("stream.commands.export", "write results as .xy, .chi, .csv columns or .edf, .tif images"),
    "table": ("stream.commands.table", "one row per frame: times, readings, numbers of regions, as .csv or .parquet"),
    "recompute": ("stream.commands.recompute", "measure the past with the regions of now, from the archived frames"),
    "stitch": ("stream.commands.stitch", "the scans of one sample as one series, attenuator changes taken out"),
    "keys": ("stream.commands.keys", "make CURVE keys for sockets on a network that is not trusted"),
    "check": ("stream.commands.check", "verify a file against its ledger"),
    "recover": ("stream.commands.recover", "repair a file whose writer was killed"),
    "sparsify-bragg": ("stream.commands.sparsify_bragg", "keep Bragg peaks, model the background (pyFAI's options)"),
    "diff-map": ("stream.commands.diff_map", "a map of integrated patterns (pyFAI's diff_map, its options)"),
    "diff-tomo": ("stream.commands.diff_tomo", "the same, rotation by translation (pyFAI's diff_tomo, its options)"),
    "recon3d": ("stream.commands.recon3d", "the volume of a topo-tomography scan, by Recon3D's ini file and array"),
    "recon3d-getdata": ("stream.commands.recon3d_getdata", "Recon3D's five-dimensional array out of recorded frames"),
    "densify": ("stream.commands.densify", "restore frames from a sparse file"),
    "jobs": ("stream.commands.jobs", "commands that run on when you log out, here or on a cluster"),
    "demo": ("stream.commands.demo", "a simulated EIGER2 4M through the whole pipeline, with a picture"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code: 0 only if nothing was lost or failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    try:
        with _ended_at_once():
            with _without_collection():
                options = parser((asked,) if asked in COMMANDS else ()).parse_args(arguments)
            if asked in BEGIN_LATE:
                return _run(options)
        return _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _give_up_words()


def parser(loaded: Collection[str]) -> argparse.ArgumentParser:
    """The command line; only the commands in `loaded` have their arguments, the modules of the others stay away."""
    made = argparse.ArgumentParser(prog="inbeam", description="Live processing of detector streams.")
    made.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, add_help=name in loaded)
        if name in loaded:
            found = import_module(module)
            found.add_arguments(command)
            command.set_defaults(run=found.run)
    return made


def _run(options: argparse.Namespace) -> int:
    words = "%(message)s" if sys.stderr.isatty() else "%(asctime)s %(message)s"
    logging.basicConfig(level=logging.ERROR, format=words, datefmt="%Y-%m-%d %H:%M:%S", stream=sys.stderr)
    logging.getLogger("inbeam").setLevel(logging.INFO)
    try:
        return int(options.run(options))
    except ConfigError as error:
        print(f"inbeam {options.command}: the configuration cannot be used:", file=sys.stderr)
        for path, text in error.problems:
            print(f"  {path}: {text}" if path else f"  {text}", file=sys.stderr)
        return 2
    except InbeamError as error:
        print(f"inbeam {options.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"inbeam {options.command}: {where}{error.strerror}: free space, and start again", file=sys.stderr)
        return 1


@contextmanager
def _ended_at_once() -> Iterator[None]:
    """Ctrl-C ends the process where it is. Python's own way, an exception, would come out of the middle of an import,
    which makes other errors of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Imports make many objects and no garbage: looking through them costs 0.1 s of a start, and as much again of
    every later look."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _give_up_words() -> None:
    """What cannot be said any more, because the terminal or the reader is gone, must not become the exit code: Python
    makes 120 of every one when it fails to write its last words."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Version(argparse.Action):
    """Looked up only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> None:
        from importlib.metadata import version

        parser.exit(message=f"inbeam {version('inbeam')}\n")


if __name__ == "__main__":
    sys.exit(main())
