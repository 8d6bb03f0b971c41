"""What a command is given: files that are not there, and options without effect, are told before anything is begun."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sinks.file.advice import absent
from stream.errors import ConfigError


def must_be_files(*paths: Path) -> None:
    """Raises ConfigError for every one that is not there, or is a folder."""
    _refuse([absent(path) for path in paths])


def must_be_there(*paths: Path) -> None:
    """Raises ConfigError for every one that is neither a file nor a folder."""
    _refuse([absent(path) for path in paths if not os.path.isdir(path)])


def has_no_effect(said: Mapping[str, object], text: str) -> None:
    """Raises ConfigError for every option that was given: said, its value by its name, None or False where it was not.
    text: why it has no effect here, and what to do."""
    if found := [name for name, value in said.items() if value is not None and value is not False]:
        raise ConfigError([(name, text) for name in found])


@contextmanager
def as_given(options: Mapping[str, tuple[str, object]]) -> Iterator[None]:
    """Tell what is wrong with the name that the user typed: by its place in the YAML, that name and what was given with
    it. None: nothing was, it is the YAML's own."""
    try:
        yield
    except ConfigError as error:
        typed = {place: name for place, (name, value) in options.items() if value is not None}
        problems = [(typed.get(place.partition("[")[0], place), text) for place, text in error.problems]
        raise ConfigError(problems) from error


def _refuse(problems: Sequence[str]) -> None:
    if found := [problem for problem in problems if problem]:
        raise ConfigError([("", problem) for problem in found])
