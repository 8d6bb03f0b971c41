"""Into how many parts recorded scans were divided before: who goes on with them must divide them in the same way."""

import glob
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sinks.file import provenance, repair
from stream.commands.dividing import MERGED
from stream.config import Config
from stream.errors import ConfigError
from stream.sources.files import found

LOOKED_AT = 200
"""Of the files that could be parts of these scans, the newest."""


def parts(config: Config, asked: int | None, usual: int) -> int:
    """How many parts there are to be: as before, else as asked for, else as usual. Raises ConfigError."""
    if config.run.again:
        return asked or usual
    before = dict(_before(config))
    counts = sorted(set(before.values()))
    if len(counts) > 1:
        two = [f"{_named(before, count)} is one of {count} parts of its scan" for count in counts[:2]]
        text = ", ".join(two)
        raise ConfigError([("FILES", f"{text}: process these scans one by one")])
    if counts and asked not in (None, counts[0]):
        text = f"{_named(before, counts[0])} is one of {counts[0]} parts of its scan, not of {asked}"
        raise ConfigError([("--parts", f"{text}: leave --parts out to go on with them, or write to another place")])
    return counts[0] if counts else asked or usual


def _before(config: Config) -> Iterator[tuple[Path, int]]:
    """The parts of the scans that are there, and into how many that scan was divided. Any of them may be missing."""
    wanted = {os.path.realpath(path.partition("::")[0]) for path in found(config.document["stream"]["files"])}
    for sink in config.document["sinks"]:
        if sink["type"] in MERGED:
            for path in _like(os.path.expanduser(str(sink["path"]))):
                made = _division(path)
                if made is not None and made[0] in wanted:
                    yield path, made[1]


def _like(pattern: str) -> list[Path]:
    """The parts whose names a pattern can have made, also with a number behind."""
    stem, suffix = os.path.splitext(pattern)
    fixed = [glob.escape(piece) for piece in re.split(r"\{[^}]*\}", stem)]
    paths = [Path(name) for name in glob.glob("*".join(fixed) + ".r[0-9]*" + glob.escape(suffix))]
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)[:LOOKED_AT]


def _division(path: Path) -> tuple[str, int] | None:
    """(the recording, into how many parts) of a file; None if it is no part, or cannot be read."""
    try:
        with repair.looked_into(path) as file:
            told = file[provenance.GROUP]
            source, folder = (told[name][()].decode() for name in ("source", "working_directory"))
            document: Mapping[str, Any] = yaml.safe_load(told["configuration"][()])
        return os.path.realpath(os.path.join(folder, source.partition("::")[0])), int(document["stream"]["part"][1])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, yaml.YAMLError):
        return None


def _named(before: Mapping[Path, int], count: int) -> Path:
    return next(path for path, each in before.items() if each == count)
