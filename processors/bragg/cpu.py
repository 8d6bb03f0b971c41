"""The CPU engine: one per worker, with its own scratch memory. Every kernel releases the GIL."""

from typing import Any

import numpy as np

from processors.bragg import clip_counts, clip_values, picking
from processors.bragg.bulk import Bulk
from processors.bragg.model import Recipe, Sparse
from processors.bragg.packed import Packed
from processors.bragg.polar import Polar
from processors.bragg.screen import Screen
from processors.bragg.selection import NONE, Judge, Seen
from processors.bragg.variance import Variance
from stream.codec.low_bytes import LowBytes
from stream.events import Array, Payload


class CpuEngine:
    """Histograms for integer frames without weights; with them by bulk, once a frame has shown the ranges of its
    counts; gathering for everything else. The answers are the same.

    dark, norm: float32 (rows, columns) or None; norm is flat * solid angle * polarization, 0 or NaN where invalid.
    """

    def __init__(
        self,
        polar: Polar,
        recipe: Recipe,
        dark: Array | None,
        norm: Array | None,
        *,
        by_bulk: bool = True,
        packed: np.dtype[Any] | None = None,
    ) -> None:
        """by_bulk: False clips all weighted frames pixel by pixel. packed: the type of the frames for `run_packed`."""
        self.polar, self.recipe = polar, recipe
        self._dark = NONE if dark is None else np.ascontiguousarray(dark, np.float32).ravel()
        self._norm = NONE if norm is None else np.ascontiguousarray(norm, np.float32).ravel()
        self._judge = Judge(polar, recipe, self._dark, self._norm)
        self._bulk: Bulk | None = None
        self._undecided = by_bulk
        self._model = clip_counts.MODELS.get(recipe.error_model, clip_counts.POISSON)
        self._formula = Variance(recipe.error_model) if "I" in recipe.error_model else None
        pixels = polar.bin_of.size
        self._mean, self._deviation = np.empty(polar.bins, np.float32), np.empty(polar.bins, np.float32)
        self._found = np.empty(pixels + 64, np.int32)  # `screen` may begin some that are none
        self._start = np.concatenate(([0], np.cumsum(polar.members))).astype(np.int64)
        counts = np.arange(clip_counts.CAP)
        low, high, dummy_low, dummy_high = recipe.limits
        self._bad = (counts < low) | (counts > high) | ((counts >= dummy_low) & (counts <= dummy_high))
        table = self._variance(counts.astype(np.float32)).astype(np.float64)
        self._bad |= ~np.isfinite(table)
        self._table = np.where(np.isfinite(table), table, 0.0)
        self._scratch: tuple[Array, ...] = ()
        self._weighted = bool(self._dark.size or self._norm.size)
        self._packed: Packed | None = None
        if packed is not None and LowBytes.suits(packed):
            bulk = self._bulk_of(packed) if self._weighted else None
            if bulk is not None:
                self._packed = Packed(bulk.wanted, packed)
            elif not self._weighted:
                self._packed = Packed((polar.bin_of < polar.bins) | (polar.position >= 0), packed)
                self._screen = Screen(polar)
                self._members = np.bincount(polar.bin_of, minlength=polar.bins + 1)

    def run(self, image: Array) -> Sparse:
        """Background, picked pixels and peaks of one frame."""
        flat = image.reshape(-1)
        if image.dtype.kind in "iu" and not self._weighted:
            self._clip_counts(flat)
            return self._pick(flat, flat)
        seen = Seen.whole(flat)
        bulk = self._bulk_of(image.dtype)
        number = self._run_bulk(flat)
        if number >= 0:
            return self._judged(seen, image.dtype, number)
        corrected = self._clip_corrected(flat)
        if bulk is not None:
            bulk.learn(self._mean, self._deviation)
        return self._pick(corrected, flat)

    @property
    def by_bytes(self) -> bool:
        """True if frames can be sparsified without being decoded, see `run_packed`."""
        return self._packed is not None

    def takes(self, payload: Payload) -> bool:
        """True if `run_packed` may be asked for this one, whose shape is the scan's."""
        ready = not self._weighted or (self._bulk is not None and self._bulk.by_bytes)
        return ready and self._packed is not None and self._packed.low.takes(payload)

    def run_packed(self, payload: Payload) -> Sparse | None:
        """What `run` says of the decoded frame, the very same numbers, from one byte per pixel. None if its counts are
        too large for that, or unlike those before. Raises CorruptPayload, as `decode` would."""
        packed = self._packed
        assert packed is not None, "ask `takes` first"
        if not packed.read(payload):
            return None
        number = self._run_bulk(packed.low) if self._weighted else self._run_bytes(packed)
        if number < 0:
            return None
        return self._judged(packed.seen(), payload.dtype, number)

    def _judged(self, seen: Seen, dtype: np.dtype[Any], number: int) -> Sparse:
        known = self._bulk.known(number) if self._bulk is not None else None
        return self._judge.judge(seen, dtype, self._mean, self._deviation, self._found[:number], known)

    def _run_bulk(self, frame: Array | LowBytes) -> int:
        """Background and candidates of a weighted frame; how many are in `_found`, or -1."""
        return -1 if self._bulk is None else self._bulk.run(frame, self._mean, self._deviation, self._found)

    def _run_bytes(self, packed: Packed) -> int:
        """The same of one without weights."""
        seen, low, bin_of = packed.seen(), packed.low, self.polar.bin_of
        hist, _, _ = self._counting()
        beyond = clip_counts.count_low(*seen, low.filled, bin_of, self._members, hist, self._found)
        self._clip_histogram(seen.counts, bin_of[seen.places], beyond)
        bound = self._judge.bounds(self._mean, self._deviation)
        number = self._screen.candidates(low.words, seen, bound, self._found)
        return self._judge.add_stray(self._found, number)

    def _bulk_of(self, dtype: np.dtype[Any]) -> Bulk | None:
        if self._undecided:
            self._undecided = False
            if Bulk.suits(self.recipe, self._norm, dtype):
                self._bulk = Bulk(self.polar, self.recipe, self._dark, self._norm, self._judge, dtype)
        return self._bulk

    def _pick(self, values: Array, raw: Array) -> Sparse:
        bound = self._judge.bounds(self._mean, self._deviation)
        number = picking.candidates(values, self.polar.bin_of, bound, self._found)
        return self._judge.judge(Seen.whole(raw), raw.dtype, self._mean, self._deviation, self._found[:number])

    def _variance(self, counts: Array) -> Array:
        """Of raw counts, float32; the dark plays no part in it (pyFAI)."""
        return np.maximum(counts, np.float32(1.0)) if self._formula is None else self._formula(counts)

    def _clip_counts(self, flat: Array) -> None:
        hist, _, _ = self._counting()
        beyond = clip_counts.count(flat, self.polar.bin_of, hist, self._found)
        self._clip_histogram(flat, self.polar.bin_of, beyond)

    def _counting(self) -> tuple[Array, ...]:
        polar = self.polar
        if not self._scratch:
            self._scratch = (
                np.empty((polar.bins + 1, clip_counts.CAP), np.uint32),
                np.empty(int(polar.members.sum()), np.float32),
                np.empty(polar.bins + 1, np.int64),
            )
        return self._scratch

    def _clip_histogram(self, counts: Array, bin_of: Array, beyond: int) -> None:
        """counts, bin_of: of the first `beyond` places in `_found`, those beyond the histogram."""
        recipe = self.recipe
        hist, tail, start = self._scratch
        clip_counts.sort_tail(counts, bin_of, self._found, beyond, recipe.limits, start, tail)
        tail = tail[: start[-1]]
        spread = self._variance(tail)
        known = np.isfinite(spread)
        if not known.all():
            start = np.concatenate(([0], np.cumsum(known)))[start]
            tail, spread = tail[known], spread[known]
        clip_counts.clip(
            hist, self._bad, self._table, start, tail, spread, self.polar.members,
            self._model, recipe.cutoff_clip, recipe.cycle, np.float32(recipe.empty), self._mean, self._deviation,
        )  # fmt: skip

    def _clip_corrected(self, flat: Array) -> Array:
        recipe, polar = self.recipe, self.polar
        if not self._scratch:
            members = int(polar.members.sum())
            self._scratch = (
                np.empty(polar.bins, np.int64),
                np.empty(flat.size, np.float32),
                *(np.empty(members, np.float32) for _ in range(3)),
            )
        fill, corrected, value, weight, spread = self._scratch
        variance = NONE if self._formula is None else self._formula(flat)
        clip_values.gather(
            flat, self._dark, self._norm, variance, polar.bin_of, self._start, recipe.limits,
            fill, corrected, value, weight, spread,
        )  # fmt: skip
        clip_values.clip(
            self._start, fill, value, weight, spread, polar.members,
            self._model, recipe.cutoff_clip, recipe.cycle, np.float32(recipe.empty), self._mean, self._deviation,
        )  # fmt: skip
        return corrected
