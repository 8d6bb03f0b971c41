"""The files that a command is given: whether they are there is told before anything is begun."""

import os
from collections.abc import Sequence
from pathlib import Path

from sinks.file.advice import absent
from stream.errors import ConfigError


def must_be_files(*paths: Path) -> None:
    """Raises ConfigError for every one that is not there, or is a folder."""
    _refuse([absent(path) for path in paths])


def must_be_there(*paths: Path) -> None:
    """Raises ConfigError for every one that is neither a file nor a folder."""
    _refuse([absent(path) for path in paths if not os.path.isdir(path)])


def _refuse(problems: Sequence[str]) -> None:
    if found := [problem for problem in problems if problem]:
        raise ConfigError([("", problem) for problem in found])
