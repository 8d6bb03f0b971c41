"""Frames as one byte per pixel, straight from the packed ones, where their counts are small enough."""

from typing import Any

import numpy as np

from processors.bragg.selection import Seen
from stream.codec.low_bytes import LowBytes
from stream.events import Array, Payload

LONGEST = 15
"""Frames that are not tried where those before them had too many large counts."""


class Packed:
    """One worker's, for frames of one shape and type."""

    def __init__(self, wanted: Array, dtype: np.dtype[Any]) -> None:
        """wanted: bool (pixels,), see `LowBytes`."""
        self.low = LowBytes(wanted, dtype)
        self._untried = self._patience = 0

    def read(self, payload: Payload) -> bool:
        """See `LowBytes.read`; where that could not be done, the next frames are not tried."""
        if self._untried:
            self._untried -= 1
            return False
        done = self.low.read(payload)
        self._patience = 0 if done else min(2 * self._patience + 1, LONGEST)
        self._untried = self._patience
        return done

    def seen(self) -> Seen:
        """The frame that has been read."""
        return Seen(self.low.low, *self.low.listed)
