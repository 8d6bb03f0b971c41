"""From background and candidates to the picked pixels and peaks of a frame: what both engines end with."""

from typing import Any

import numpy as np

from processors.bragg import picking
from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import Polar
from stream.events import Array

NONE: Array = np.empty(0, np.float32)


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of a recorded intensity: the frame's own, but at most 32 bits, as pyFAI writes it."""
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return dtype.newbyteorder("=") if dtype.itemsize <= 4 else np.dtype(f"{dtype.kind}4")


class Judge:
    """Holds what does not change from frame to frame, and the room for the picked pixels."""

    def __init__(self, polar: Polar, recipe: Recipe, dark: Array, norm: Array) -> None:
        """dark, norm: flat float32, or empty."""
        self._polar, self._recipe = polar, recipe
        self._dark, self._norm = dark, norm
        self._bound = np.empty(polar.bins + 1, np.float32)
        self._picked = np.empty(polar.bin_of.size, np.int32)
        self._stray = bool(np.any((polar.position >= 0) & (polar.bin_of == polar.bins)))

    def bounds(self, mean: Array, deviation: Array) -> Array:
        """float32 (bins + 1,): no pixel of a bin below its bound can be picked. Overwritten by the next frame's."""
        recipe = self._recipe
        picking.bounds(mean, deviation, recipe.noise, recipe.cutoff_pick, recipe.cutoff_peak, self._stray, self._bound)
        return self._bound

    def judge(self, raw: Array, mean: Array, deviation: Array, candidates: Array) -> Sparse:
        """raw: flat counts, of which only candidates and the pixels around them are read. candidates: int32,
        ascending."""
        limits = self._recipe.limits
        recipe, polar = self._recipe, self._polar
        noise, position, number = np.float32(recipe.noise), polar.position, len(candidates)
        kept = picking.pick(
            raw, self._dark, self._norm, candidates, number, position, mean, deviation,
            noise, np.float32(recipe.cutoff_pick), limits, self._picked,
        )  # fmt: skip
        index = self._picked[:kept].astype(np.uint32)
        rows = np.empty((number if recipe.cutoff_peak > 0 else 0, 5))
        if recipe.cutoff_peak > 0:
            found = picking.peaks(
                raw, self._dark, self._norm, polar.shape[1], candidates, number, position, mean, deviation,
                noise, np.float32(recipe.cutoff_peak), recipe.patch_size // 2, recipe.connected, limits, rows,
            )  # fmt: skip
            rows = rows[:found]
        pos0, pos1, intensity, sigma = np.ascontiguousarray(rows[:, 1:].T, np.float32)
        return Sparse(
            mean=mean.copy(),
            deviation=deviation.copy(),
            index=index,
            intensity=self._recorded(raw, index),
            peak_index=rows[:, 0].astype(np.uint32),
            pos0=pos0,
            pos1=pos1,
            peak_intensity=intensity,
            sigma=sigma,
        )

    def _recorded(self, raw: Array, index: Array) -> Array:
        """Counts of the picked pixels, minus the dark where there is one: rounded, and held inside the type."""
        kind = stored_dtype(raw.dtype)
        counts = raw[index]
        if self._dark.size:
            counts = counts.astype(np.float64) - self._dark[index]
            if kind.kind in "iu":
                counts = np.floor(counts + 0.5)
        if kind.kind in "iu" and (self._dark.size or counts.dtype.itemsize > kind.itemsize):
            counts = np.clip(counts, np.iinfo(kind).min, np.iinfo(kind).max)
        return counts.astype(kind)
