"""`inbeam keys NAME`: a pair of CURVE keys, for sockets on a network that is not trusted (docs/network.md)."""

import argparse
from pathlib import Path

from stream.errors import ConfigError
from stream.wire.keys import make


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam keys`."""
    parser.add_argument("name", metavar="NAME", help="whose keys these are: monitor, viewer ...")
    parser.add_argument("--folder", type=Path, default=Path("keys"), help="where they go (default: keys)")


def run(options: argparse.Namespace) -> int:
    """0: both files are there; 1: one cannot be written."""
    if not options.name or options.name != Path(options.name).name or options.name.startswith("."):
        raise ConfigError([("NAME", f"{options.name!r}: a plain name such as monitor")])
    public, secret = make(options.folder, options.name)
    print(f"{public}  carry it to the other end\n{secret}  stays here, readable by you alone")
    return 0
