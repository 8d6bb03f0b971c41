"""What a role may know of the run that it works in: handed to `create`."""

import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stream.errors import ConfigError

log = logging.getLogger("inbeam")


@dataclass(frozen=True, slots=True)
class Answer:
    """A change was taken: from which frame number on it holds, and its revision; `scan` is "" where none is open."""

    scan: str
    frame: int
    revision: int
    text: str
    """The same in words, for a person."""


class Control(Protocol):
    """The options of a running pipeline: to look at and to change, from any thread."""

    @property
    def revision(self) -> int:
        """Of the latest change: of the running scan, or between scans of what the next one begins with."""
        ...

    def change(self, path: str, value: Any, who: str, revision: int | None = None) -> Answer:
        """Set the option at `path` (processors.roi.regions). It is on disk before this returns.

        revision: the one that the caller last saw; the change is refused if there has been another since, between
        scans too. Raises ConfigError, in the words of `validate`, if the option may not change or the value is wrong.
        """
        ...

    def value(self, path: str) -> Any:
        """The option at `path` as it is for the next frame, JSON-like. Raises ConfigError if there is none."""
        ...


class Uncontrolled:
    """Outside a run nothing can be changed."""

    revision = 0

    def change(self, path: str, value: Any, who: str, revision: int | None = None) -> Answer:
        """Refuse."""
        raise ConfigError([(path, "nothing runs that could be changed")])

    def value(self, path: str) -> Any:
        """Refuse."""
        raise ConfigError([(path, "nothing runs that could be asked")])


UNCONTROLLED = Uncontrolled()


def _warn(text: str) -> None:
    log.warning(text)


@dataclass(frozen=True, slots=True)
class Context:
    """Of one entry of the configuration in one run.

    name: the path that the user knows the entry by, such as processors.integrate or sinks.0.
    document: the YAML as read, after --set: the provenance; None outside a run.
    scratch: a folder for temporary things; made by who needs it.
    control: to ask for changes.
    again: scans that are there already are to be processed once more, into other files.
    placed: shared by the sinks of a run: `path` of a file sink -> the file that it has the running scan in.
    trouble: tell, in words, that something of a scan could not be taken: the run goes on, its exit code is not 0.
    """

    name: str = ""
    document: Mapping[str, Any] | None = None
    scratch: Path | None = None
    control: Control = UNCONTROLLED
    again: bool = False
    placed: MutableMapping[str, Path] | None = None
    trouble: Callable[[str], None] = _warn


ALONE = Context()
"""For a role that is made outside a run: in tests, and by commands."""
