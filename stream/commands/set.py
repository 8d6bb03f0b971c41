"""`inbeam set KEY=VALUE`: change an option of a running inbeam, from a definite frame number on."""

import argparse
import getpass
import sys
from pathlib import Path

from stream.document import parse
from stream.errors import ConfigError
from stream.pipeline.remote import ask

DEFAULT = "tcp://127.0.0.1:45455"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam set`."""
    parser.add_argument(
        "assignments",
        nargs="+",
        metavar="KEY[=VALUE]",
        help="such as processors.integrate.monitor_reference=2.5 (the value is read as YAML); without =: show it",
    )
    parser.add_argument("--control", default=DEFAULT, help="the address of run.control (default: %(default)s)")
    parser.add_argument("--who", default=None, help="the name that the file keeps (default: your login)")
    parser.add_argument("--secret-key", type=Path, help="CURVE: our own certificate (*.key_secret)")
    parser.add_argument("--server-key", type=Path, help="CURVE: public certificate (*.key) of the running inbeam")


def run(options: argparse.Namespace) -> int:
    """0 if every change was taken."""
    if (options.secret_key is None) != (options.server_key is None):
        raise ConfigError([("--secret-key", "goes with --server-key: give both or none")])
    if addresses := [each for each in options.assignments if "://" in each.partition("=")[0]]:
        raise ConfigError([(addresses[0], f"is no option: give the address as --control {addresses[0]}")])
    keys = None if options.secret_key is None else (options.secret_key, options.server_key)
    for assignment in options.assignments:
        path, sign, text = assignment.partition("=")
        request = {"get": path}
        if sign:
            try:
                value = parse(text)
            except ValueError as error:
                raise ConfigError([(path, f"{text!r} cannot be read as YAML: {error}")]) from error
            request = {"set": path, "value": value, "who": options.who or getpass.getuser()}
        reply = ask(options.control, request, keys=keys)
        if not reply.get("ok"):
            raise ConfigError([(str(place), str(words)) for place, words in reply.get("problems", [])])
        print(reply["text"] if sign else f"{path} = {reply['value']!r}")
    sys.stdout.flush()
    return 0
