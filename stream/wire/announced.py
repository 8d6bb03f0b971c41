"""What a detector says of a scan before its images."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from stream.events import Detector

Parts: TypeAlias = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Announced:
    """What start messages, or a first image, say of a scan; None where they are silent.

    series, unique: the detector's identities of the scan; v1 has no unique one.
    """

    series: int
    unique: str | None = None
    shape: tuple[int, int] | None = None
    dtype: np.dtype[Any] | None = None
    channels: tuple[str, ...] | None = None
    expected: int | None = None
    detector: Detector = field(default_factory=Detector)
    header: tuple[Parts, ...] = ()
    received: float | None = None
    """Unix time at which the start message came, s."""
    has_start: bool = True
    """False if there was no start message, only images."""
    name: str = ""
    """What the user calls the scan; "": the number of the series."""

    @property
    def identities(self) -> tuple[int, str | None]:
        """series, unique."""
        return self.series, self.unique

    def same(self, series: int, unique: str | None) -> bool:
        """True if a message with these identities belongs to this scan."""
        if self.unique is not None and unique is not None:
            return self.unique == unique
        return self.series == series

    def again(self, start: "Announced") -> bool:
        """True if `start` is the very start message of this scan, sent again: a unique identity says it all; without
        one, only the same bytes are the same start."""
        known = self.has_start and self.same(start.series, start.unique)
        return known and (self.unique is not None or self.header[:1] == start.header[:1])
