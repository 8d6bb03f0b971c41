"""One worker's passes over the bulk of frames: ranges of counts for every pixel, scratch memory, and what comes out."""

from typing import Any

import numpy as np

from processors.bragg import bulk_sums
from processors.bragg.bulk_sums import BLOCK, COPIES, EVERY, SHIFT
from processors.bragg.ranges import ranges
from processors.bragg.selection import NONE
from stream.codec.low_bytes import LowBytes
from stream.events import Array

ROOM = 8
"""One pixel in ROOM may be set apart."""
UNEVEN = 2**-10
"""Weights that differ by more are not made whole numbers: the smallest would not be what they are."""
BITS: Array = np.empty(0, np.uint64)


class Adder:
    """For frames of one integer type. bins: uint16 (pixels,), `n_bins` where a pixel belongs to none. dark, norm: flat
    float32, or empty. scatters: sums for the scatter about a mean are wanted. limits: the smallest and largest count
    that may belong to the bulk."""

    def __init__(
        self, bins: Array, n_bins: int, dark: Array, norm: Array, scatters: bool, limits: tuple[int, int]
    ) -> None:
        self._bins, self._n_bins, self._dark, self._norm, self._limits = bins, n_bins, dark, norm, limits
        self._four = bins[: bins.size // 4 * 4].view(np.uint64)
        belongs = bins < n_bins
        self._weights, self._unit = _whole(norm, belongs) if scatters and not dark.size and norm.size else (NONE, 1.0)
        pixels = [np.bincount(bins[copy::COPIES], minlength=n_bins + 1)[:n_bins] for copy in range(COPIES)]
        self._narrow_shifts, highest = _packing(int(np.max(pixels, initial=1)), self._weights.size > 0)
        self._table = _table(*self._narrow_shifts)
        self._highest = {1: min(highest, limits[1]), 2: min(EVERY[2] - 1, limits[1])}
        self.wide = False
        """The ranges are of two bytes; else of one."""
        self._spans = _spans(bins, n_bins)
        self._zeros = np.zeros(self._spans.shape[1], np.uint64)
        self._first, self._last = self._nothing(np.uint8)
        self._scatters = scatters
        scattered = scatters and not self._weights.size
        self._scatter = np.zeros((COPIES if scattered else 0, n_bins + 1, 2))
        self._sums = np.zeros((COPIES, n_bins + 1), np.uint64)
        self._cross = np.zeros((COPIES, n_bins + 1 if self._weights.size else 0), np.uint64)
        self._flags, self._kept, self._addends = np.zeros(BLOCK, np.uint8), np.zeros(BLOCK, np.uint8), NONE
        room = bins.size // ROOM + 2 * BLOCK
        self.apart, self.counts, self.own = (
            np.empty(room, np.int32),
            np.empty(room, np.int64),
            np.empty(room, np.uint16),
        )
        """Of the pixels set apart: places, bins, raw counts (see `correct_apart`)."""
        self.added = np.zeros((n_bins, 4))
        """Sums over the bulk, see `bulk_sums`."""

    @property
    def highest_narrow(self) -> int:
        """The largest count that may belong to the bulk while the ranges are of one byte."""
        return self._highest[1]

    def widen(self, wide: bool) -> None:
        """Before all ranges are made anew."""
        if wide != self.wide:
            self.wide = wide
            self._first, self._last = self._nothing(np.uint16 if wide else np.uint8)
        if wide and self._scatters and not self._scatter.size:
            self._scatter = np.zeros((COPIES, self._n_bins + 1, 2))
        if wide and not self._addends.size:
            self._addends = np.zeros(BLOCK, np.uint32)

    def apply(self, lower: Array, upper: Array, anew: Array) -> None:
        """Make the ranges of counts from ranges of x, float32 (bins,), for the bins that are `anew`."""
        limits = self._limits[0], self._highest[self._first.itemsize]
        into = (self._first, self._last, self._zeros)
        places = (self._bins, self._spans)
        ranges(*places, self._dark, self._norm, lower, upper, anew, limits, *into)

    def _nothing(self, kind: type[np.unsignedinteger[Any]]) -> tuple[Array, Array]:
        """Ranges without a count; but pixels without a bin are never set apart."""
        belongs = self._bins < self._n_bins
        first, last = belongs.astype(kind), np.where(belongs, kind(0), kind(np.iinfo(kind).max))
        return first, last

    def add(self, raw: Array, low: LowBytes | None = None) -> int:
        """One pass over the unsigned counts of a frame, or those of `low`; how many are set apart, -1: too many."""
        ranges = (self._first, self._last)
        flags = self._flags.view(np.uint64).reshape(-1, 8)
        into = (self.apart, self.counts, self.own)
        if self.wide:
            number = bulk_sums.add_bulk(raw, self._bins, *ranges, self._sums, self._addends, self._flags, flags, *into)
            shifts, cross = (SHIFT, 0), self._cross[:, :0]
        else:
            known = (BITS, BITS) if low is None else (low.filled, self._zeros)
            views = (self._kept, self._kept.view(np.uint32)), (self._flags, flags)
            number = bulk_sums.add_narrow(
                raw, self._bins, self._four, *ranges, self._weights, self._table, *known, self._sums, self._cross,
                *views, *into,
            )  # fmt: skip
            shifts, cross = self._narrow_shifts, self._cross
        if number < 0:
            return -1
        if low is not None:
            bulk_sums.fill_marks(self.apart, self.counts, number, *low.listed)
        scatter = self._scatter if self._scatters and (self.wide or not self._weights.size) else self._scatter[:0]
        if scatter.size:
            bulk_sums.add_scatter(raw, self._bins, *ranges, self._dark, self._norm, scatter)
        words = np.uint64(shifts[0]), np.uint64(shifts[1])
        bulk_sums.unpack(self._sums, cross, scatter, words, self._unit, self.added)
        return int(number)


def _whole(norm: Array, belongs: Array) -> tuple[Array, float]:
    """Weights as whole numbers of 32 bits, and the unit of them: of float32 in 8 binades not a bit is lost. Empty where
    they are too uneven."""
    used = norm[belongs]
    if not used.size or used.min() < used.max() * UNEVEN:
        return NONE, 1.0
    unit = float(used.max()) / bulk_sums.WEIGHT
    weights = np.zeros(norm.size, np.uint32)
    weights[belongs] = np.rint(used.astype(np.float64) / unit).astype(np.uint32)
    return weights, unit


def _spans(bins: Array, n_bins: int) -> Array:
    """uint16 (2, pixels / 64): the first and the last bin among 64 pixels; first > last where there is none."""
    padded = np.full(-(-bins.size // 64) * 64, n_bins, np.uint16)
    padded[: bins.size] = bins
    each = padded.reshape(-1, 64)
    return np.stack((each.min(axis=1), np.where(each < n_bins, each, 0).max(axis=1)))


def _packing(pixels: int, squares: bool) -> tuple[tuple[int, int], int]:
    """Shifts of what is packed into one word with a sum of counts, see `unpack`, and the largest count for which no sum
    over so many pixels runs over."""
    if not squares:
        return (SHIFT, 0), min(EVERY[1] - 1, (2**SHIFT - 1) // pixels)
    for highest in range(EVERY[1] - 1, 0, -1):
        first, second = (pixels * highest).bit_length(), (pixels * highest**2).bit_length()
        if first + second + pixels.bit_length() <= 64:
            return (first + second, first), highest
    return (SHIFT, 0), 0


def _table(filled_shift: int, square_shift: int) -> Any:
    """uint64 (256,): what each count adds to the packed sums. (Counts that are too large for that are never added.)"""
    counts = np.arange(256, dtype=np.uint64)
    squares = counts**2 << np.uint64(square_shift) if square_shift else np.zeros(256, np.uint64)
    return counts + squares + ((counts > 0).astype(np.uint64) << np.uint64(filled_shift))
