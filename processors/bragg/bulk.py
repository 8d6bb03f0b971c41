"""Clipping by bulk: keeps the ranges of counts from frame to frame, and says when they did not fit. See clip_bulk."""

from typing import Any

import numpy as np

from processors.bragg import clip_bulk, clip_counts
from processors.bragg.adding import Adder
from processors.bragg.bulk_sums import SHIFT
from processors.bragg.model import Recipe
from processors.bragg.polar import Polar
from processors.bragg.selection import Judge
from stream.codec.low_bytes import LowBytes
from stream.events import Array

MARGIN, FEW = 0.93, 1.5
"""A range goes MARGIN - FEW / sqrt(pixels) of the way from the mean to what is clipped, or to what may be picked."""
MANY = 16
"""More than one in MANY: the ranges are chosen anew."""
TRIES = 3
BRIGHT = 64
"""Where more than one pixel in BRIGHT is in a bin that reaches beyond a byte, the ranges are of two."""
LEAST_NORM = 1e-20
"""Below it a corrected count may be beyond float32."""


class Bulk:
    """One worker's, for frames of one integer type. dark, norm: flat float32, or empty."""

    def __init__(
        self, polar: Polar, recipe: Recipe, dark: Array, norm: Array, judge: Judge, dtype: np.dtype[Any]
    ) -> None:
        self._polar, self._recipe, self._judge = polar, recipe, judge
        self._dark, self._norm = dark, norm
        self._unsigned = np.dtype(f"u{dtype.itemsize}")
        bins, pixels = polar.bins, polar.bin_of.size
        usable = np.isfinite(norm) & (norm != 0) if norm.size else np.ones(pixels, bool)
        if dark.size:
            usable &= np.isfinite(dark)
        self.wanted = usable & ((polar.bin_of < bins) | (polar.position >= 0))
        """bool (pixels,): whose counts are looked at."""
        self._bins = np.where(usable, polar.bin_of, polar.bin_of.dtype.type(bins))
        self._totals = np.zeros((bins, 4))
        weight, offset = (
            array.astype(np.float64) if array.size else fill for array, fill in ((norm, 1.0), (dark, 0.0))
        )
        for column, values in enumerate((np.ones(pixels), weight, np.square(weight), offset)):
            chosen = np.broadcast_to(values, pixels)[usable]
            self._totals[:, column] = np.bincount(self._bins[usable], chosen, bins + 1)[:bins]
        largest = max(int(self._totals[:, clip_bulk.NUMBER].max(initial=0)), 1)
        limits = recipe.limits
        least, self._most = int(max(np.ceil(limits[0]), 0)), int(np.iinfo(dtype).max)
        span = least, int(min(np.floor(limits[1]), self._most, (2**SHIFT - 1) // largest))
        self._model = clip_counts.MODELS[recipe.error_model]
        self._adder = Adder(self._bins, bins, dark, norm, self._model != clip_counts.POISSON, span)
        self._lower, self._upper = np.full(bins, np.inf, np.float32), np.full(bins, -np.inf, np.float32)
        self._known = False
        self._out, self._start = np.zeros((bins, 4)), np.zeros(bins + 1, np.int64)
        self._kept, self._tried = np.empty((2, bins, 2), np.float32)
        room = self._adder.apart.size
        self._x, self._raw = np.empty(room, np.float32), np.empty(room, np.int64)
        self._values, self._sorted = np.empty((3, room), np.float32), np.empty((3, room), np.float32)
        self._spoilt, self._unfit = np.zeros(bins, np.bool_), np.zeros(bins, np.bool_)

    @staticmethod
    def suits(recipe: Recipe, norm: Array, dtype: np.dtype[Any]) -> bool:
        """True for counts whose variance is theirs, and norms that are positive; dummies must not be small counts."""
        _, _, dummy_low, dummy_high = recipe.limits
        if dtype.kind not in "iu" or dtype.itemsize > 4 or recipe.error_model not in clip_counts.MODELS:
            return False
        if dummy_low <= dummy_high and dummy_high >= 0 and dummy_low <= 65535:
            return False
        used = norm[np.isfinite(norm) & (norm != 0)]
        return bool(used.size == 0 or used.min() >= LEAST_NORM)

    @property
    def by_bytes(self) -> bool:
        """True if `run` can do a frame of one byte per pixel."""
        return self._known and not self._adder.wide

    def known(self, number: int) -> tuple[Array, Array] | None:
        """x and counts of the candidates that `run` has found; None where some are not among those set apart."""
        return None if self._judge.stray.size else (self._x[:number], self._raw[:number])

    def run(self, frame: Array | LowBytes, mean: Array, deviation: Array, found: Array) -> int:
        """Background of one frame, flat, into mean and deviation (bins,), the candidates, ascending, into `found`.
        Returns how many; -1 if it cannot be done so: then the frame is to be clipped otherwise, and `learn` told of
        it."""
        if not self._known:
            return -1
        before = self._lower.copy(), self._upper.copy()
        self._unfit[:] = False
        for _ in range(TRIES):
            number = self._clip(frame, mean, deviation)
            if number < 0:
                break
            bound = self._judge.bounds(mean, deviation)
            bulky = self._totals[:, clip_bulk.NUMBER] > self._out[:, clip_bulk.NUMBER]
            unfit = self._spoilt | (bulky & (self._upper > bound[:-1]))
            if not unfit.any():
                break
            if not self._unfit.any():
                self._tried[:] = self._kept
            self._unfit |= unfit
            self._lower[unfit], self._upper[unfit] = np.inf, -np.inf  # all its pixels are set apart
            self._adder.apply(self._lower, self._upper, unfit)
        else:
            number = -1
        if number < 0:
            self._lower[:], self._upper[:] = before
            self._known = False  # the ranges of counts are those of the last try
            return -1
        if self._unfit.any():
            self._choose(mean, bound, self._kept[:, 0], self._kept[:, 1], before)
        elif number * MANY > self._bins.size:
            self._choose(mean, bound, self._kept[:, 0], self._kept[:, 1])
        adder = self._adder
        many = clip_bulk.candidates(
            adder.apart, number, self._values, adder.counts, self._most, adder.own, bound, found, self._x, self._raw
        )
        return self._judge.add_stray(found, int(many))

    def learn(self, mean: Array, deviation: Array) -> None:
        """Choose the ranges from the background of a frame that was clipped otherwise."""
        members = self._polar.members
        most = np.sqrt(2 * np.log(np.maximum(members, 3) / np.sqrt(2 * np.pi)))
        reach = deviation * np.maximum(self._recipe.cutoff_clip, most).astype(np.float32)
        if not self._recipe.cycle:
            reach = np.full_like(reach, np.inf)
        bound, before = self._judge.bounds(mean, deviation), (self._lower.copy(), self._upper.copy())
        if self._unfit.any():
            lower, upper = np.fmax(mean - reach, self._tried[:, 0]), np.fmin(mean + reach, self._tried[:, 1])
            self._choose(mean, bound, lower, upper, before)
        else:
            self._choose(mean, bound, mean - reach, mean + reach)
        self._known = True

    def _clip(self, frame: Array | LowBytes, mean: Array, deviation: Array) -> int:
        recipe, adder = self._recipe, self._adder
        number = adder.add(frame.low, frame) if isinstance(frame, LowBytes) else adder.add(frame.view(self._unsigned))
        if number < 0:
            return -1
        clip_bulk.correct_apart(
            adder.apart, adder.counts, adder.own, number, self._most, recipe.limits, self._dark, self._norm,
            self._out, self._start, self._values,
        )  # fmt: skip
        clip_bulk.sort_apart(number, self._start, self._values, adder.own, *self._sorted)
        clip_bulk.clip(
            adder.added, self._totals, self._out, self._start, *self._sorted, self._polar.members,
            self._model, recipe.cutoff_clip, recipe.cycle, np.float32(recipe.empty), self._lower, self._upper,
            self._kept, mean, deviation, self._spoilt,
        )  # fmt: skip
        return number

    def _choose(
        self, mean: Array, bound: Array, lower: Array, upper: Array, before: tuple[Array, Array] | None = None
    ) -> None:
        """Ranges of x well inside of what is kept, and below what may be picked. before: where some did not fit a
        frame, only those are made anew, to suit it and the frames before."""
        near = np.float32(MARGIN) - np.float32(FEW) / np.sqrt(np.maximum(self._polar.members, 1), dtype=np.float32)
        with np.errstate(invalid="ignore"):
            bottom = np.asarray(mean - near * (mean - lower), np.float32)
            top = np.asarray(mean + near * (np.minimum(upper, bound[:-1]) - mean), np.float32)
        if before is None:
            self._lower, self._upper = bottom, top
            self._adder.widen(self._is_bright(top))
            self._adder.apply(bottom, top, np.ones(mean.size, np.bool_))
        else:
            unfit = self._unfit
            self._lower[unfit] = np.fmax(before[0], bottom)[unfit]
            self._upper[unfit] = np.fmin(before[1], top)[unfit]
            self._adder.apply(self._lower, self._upper, unfit)

    def _is_bright(self, top: Array) -> bool:
        """True if many pixels are in bins that reach, with the mean of their weights, beyond what a byte holds."""
        pixels = np.maximum(self._totals[:, clip_bulk.NUMBER], 1)
        counts = (top * self._totals[:, clip_bulk.NORM] + self._totals[:, clip_bulk.DARK]) / pixels
        bright = counts > self._adder.highest_narrow
        return bool(pixels[bright].sum() * BRIGHT > pixels.sum())
