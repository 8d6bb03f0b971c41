"""`inbeam validate CONFIG.yaml [FILES...]`: every error at once, each with its YAML path; with files, also whatever
their first frame shows."""

import argparse

from stream import registry
from stream.commands.run import add_config_arguments
from stream.commands.submissions import Submissions
from stream.config import load
from stream.errors import ConfigError
from stream.pipeline.rehearsal import rehearse
from stream.preflight import preflight
from stream.wire.endpoint import reached, taken
from stream.wire.socket_options import ConnectionOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam validate`."""
    add_config_arguments(parser)
    parser.add_argument("files", nargs="*", help="recorded scans like those to come: their first frame is tried")


def run(options: argparse.Namespace) -> int:
    """Load, look into every file that the configuration names, try it on the given files; nothing is written."""
    config = load(options.config, options.overrides)
    preflight(config)
    if config.run.control is not None and (problem := taken(config.run.control)):
        raise ConfigError([("run.control", problem)])
    if config.run.on_end:
        Submissions(config)
    for each in config.processors:
        registry.create("processors", each)
    if options.files:
        scan, products = rehearse(config, options.files)
        preflight(config, products)
        shapes = "; ".join(f"{each.name} {[field.shape for field in each.fields]}" for each in products)
        print(f"scan {scan.name}, {scan.shape[0]} x {scan.shape[1]} {scan.dtype}: {shapes or 'no results'}")
    if isinstance(config.stream, ConnectionOptions) and not config.stream.bind:
        there = reached(config.stream.endpoint)
        if there is not None:
            print(f"{config.stream.endpoint}: {'connected' if there else 'not connected: nobody listens there now'}")
    print(f"{options.config}: valid ({config.stream.type}, ", end="")  # type: ignore[attr-defined]
    print(f"{len(config.processors)} processors, {len(config.sinks)} sinks)")
    return 0
