"""`inbeam COMMAND`: finds the module of the command, imports nothing else."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

from stream.errors import ConfigError, InbeamError

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
    "export": ("stream.commands.export", "write results as .xy, .chi, .csv columns or .edf, .tif images"),
    "keys": ("stream.commands.keys", "make CURVE keys for sockets on a network that is not trusted"),
    "check": ("stream.commands.check", "verify a file against its ledger"),
    "recover": ("stream.commands.recover", "repair a file whose writer was killed"),
    "sparsify-bragg": ("stream.commands.sparsify_bragg", "keep Bragg peaks, model the background (pyFAI's options)"),
    "densify": ("stream.commands.densify", "restore frames from a sparse file"),
    "demo": ("stream.commands.demo", "a simulated EIGER2 4M through the whole pipeline, with a picture"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code: 0 only if nothing was lost or failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="inbeam", description="Live processing of detector streams.")
    parser.add_argument("--version", action="version", version=f"inbeam {version('inbeam')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, add_help=name == asked)
        if name == asked:
            found = importlib.import_module(module)
            found.add_arguments(command)
            command.set_defaults(run=found.run)
    options = parser.parse_args(arguments)
    stamp = "" if sys.stderr.isatty() else "%(asctime)s "
    logging.basicConfig(
        level=logging.ERROR, format=f"{stamp}%(message)s", datefmt="%Y-%m-%d %H:%M:%S", stream=sys.stderr
    )
    logging.getLogger("inbeam").setLevel(logging.INFO)
    try:
        return int(options.run(options))
    except ConfigError as error:
        print(f"inbeam {asked}: the configuration cannot be used:", file=sys.stderr)
        for path, text in error.problems:
            print(f"  {path}: {text}" if path else f"  {text}", file=sys.stderr)
        return 2
    except InbeamError as error:
        print(f"inbeam {asked}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
