"""`inbeam validate CONFIG.yaml`: every error at once, each with its YAML path."""

import argparse

from stream import registry
from stream.commands.run import add_config_arguments
from stream.config import check_files, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam validate`."""
    add_config_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Load, and make every processor and sink, so that missing files are found too; nothing is opened or written."""
    config = load(options.config, options.overrides)
    check_files(config)
    for each in config.processors:
        registry.create("processors", each)
    print(f"{options.config}: valid ({config.stream.type}, ", end="")  # type: ignore[attr-defined]
    print(f"{len(config.processors)} processors, {len(config.sinks)} sinks)")
    return 0
