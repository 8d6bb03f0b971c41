"""What there is to watch of several receivers together."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReceiverFigures:
    """One receiver. up: its process is there, and heard. frames: of finished scans, those that masters have of it."""

    number: int
    up: bool
    restarts: int
    frames: int


@dataclass(frozen=True, slots=True)
class TogetherFigures:
    """A snapshot. had, expected: of the scan that is open, whoever has the frames; 0 where there is none, or where it
    is not known. masters: files of whole scans. troubles: of which the exit code is 1."""

    receivers: Sequence[ReceiverFigures]
    had: int
    expected: int
    masters: int
    troubles: int
