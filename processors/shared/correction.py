"""What is wrong with the pixels of one channel, frozen for one scan; no corrected image is made unless someone asks.

`correct` leaves `Corrections` on the bench; a processor takes its channel's `Correction` with
`processors.correct.correction_for` in its own `start`, and either fuses it into its kernel (`integrate`) or calls
`Correction.apply` (everybody else).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.events import EMPTY, Array

Mask = NDArray[np.bool_]
Image32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """signal = raw - dark, norm = flat (pyFAI's conventions); a pixel is bad where `mask` is set or its raw count is.

    A raw count is bad where it is not within [low, high], lies within [dummy_low, dummy_high], or is not finite.

    shape: (rows, columns) of the image.
    mask: bool (rows, columns), True = bad in every frame.
    dark: float32 (rows, columns), raw counts to subtract, or None.
    flat: float32 (rows, columns), response to divide by, or None. Never 0: such pixels are in the mask.
    low, high: smallest and largest raw count that is valid.
    dummy_low, dummy_high: the interval around `dummy`; an empty interval (inf, -inf) where there is none.
    geometry_mask: as `mask`, but for what dark and flat make unusable: pyFAI takes the range of its bins from it. None:
    the same as `mask`.
    origin: where each part came from, for the provenance.
    """

    shape: tuple[int, int]
    mask: Mask
    dark: Image32 | None = None
    flat: Image32 | None = None
    low: float = -np.inf
    high: float = np.inf
    dummy_low: float = np.inf
    dummy_high: float = -np.inf
    geometry_mask: Mask | None = None
    origin: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    def bad(self, image: Array) -> Mask:
        """Bad pixels of this frame, bool (rows, columns): the static mask and what the raw counts say."""
        bad = self.mask | ~((image >= self.low) & (image <= self.high))
        if self.dummy_low <= self.dummy_high:
            bad |= (image >= self.dummy_low) & (image <= self.dummy_high)
        if image.dtype.kind == "f":
            bad |= ~np.isfinite(image)
        return bad

    def apply(self, image: Array) -> tuple[Image32, Mask]:
        """(raw - dark) / flat as float32 (rows, columns), 0 in bad pixels, and the bad pixels, bool (rows, columns)."""
        bad = self.bad(image)
        signal = np.array(image, np.float32)
        if self.dark is not None:
            signal -= self.dark
        if self.flat is not None:
            np.divide(signal, self.flat, out=signal, where=~bad)
        signal[bad] = 0
        return signal, bad


@dataclass(frozen=True, slots=True, eq=False)
class Corrections:
    """What `correct` leaves on the bench: one Correction per channel of scan `uid`."""

    uid: str
    by_channel: Mapping[str, Correction]
