"""The errors of inbeam, sorted by who has to act.

InbeamError
├── ConfigError     the user, before the start: every problem at once, each with its YAML path
├── SourceLost      the runner: close the scan as aborted, wait, open the source again
├── BadMessage      the source: count it, note it in the ledger, go on
│   └── CorruptPayload   the worker: mark the frame as corrupt, go on
└── SinkFailed      the runner: try the sink again with the next scan, stop, or go on without it
"""

from collections.abc import Sequence


class InbeamError(Exception):
    """Base of every error that inbeam raises on purpose; its text says what to do."""


class ConfigError(InbeamError):
    """The configuration cannot be used. `problems` holds (YAML path, what is wrong and what to do)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {text}" if path else text for path, text in self.problems))


class SourceLost(InbeamError):
    """The source cannot deliver any more (connection refused, folder gone); opening it again may help."""


class BadMessage(InbeamError):
    """One message or file is malformed, truncated or hostile. `index` is the frame number where it is known."""

    def __init__(self, text: str, *, index: int | None = None) -> None:
        super().__init__(text)
        self.index = index


class Superfluous(BadMessage):
    """A message of which nothing is lost if it is left out."""


class CorruptPayload(BadMessage):
    """The pixels of a frame cannot be decoded, or do not have the size that shape and dtype ask for."""


class SinkFailed(InbeamError):
    """A file or socket cannot be written (disk full, folder gone, read-only, opened by someone else)."""
