"""From background and candidates to the picked pixels and peaks of a frame: what both engines end with."""

from typing import Any, NamedTuple

import numpy as np

from processors.bragg import picking
from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import Polar
from stream.codec.low_bytes import MARK
from stream.events import Array

NONE: Array = np.empty(0, np.float32)


class Seen(NamedTuple):
    """The raw counts of a frame: image, flat; where that is `low_bytes.MARK` and there are any `places` (int32,
    ascending), the count is the one of `counts` there."""

    image: Array
    places: Array
    counts: Array

    @classmethod
    def whole(cls, image: Array) -> "Seen":
        """Of a frame that is decoded."""
        return cls(image, np.empty(0, np.int32), image[:0])

    def of(self, index: Array) -> Array:
        """The counts of some pixels."""
        if not self.places.size:
            return self.image[index]
        found = self.image[index].astype(self.counts.dtype)
        marked = np.flatnonzero(found == MARK)
        found[marked] = self.counts[np.searchsorted(self.places, index[marked])]
        return found


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
        self.stray = np.flatnonzero((polar.position >= 0) & (polar.bin_of == polar.bins)).astype(np.int32)
        """Pixels without a bin that may be picked all the same."""

    def bounds(self, mean: Array, deviation: Array) -> Array:
        """float32 (bins + 1,): no pixel of a bin below its bound can be picked. Overwritten by the next frame's."""
        recipe = self._recipe
        picking.bounds(
            mean, deviation, recipe.noise, recipe.cutoff_pick, recipe.cutoff_peak, self.stray.size > 0, self._bound
        )
        return self._bound

    def add_stray(self, found: Array, number: int) -> int:
        """The stray pixels to the first `number` of `found`; how many are there then, ascending."""
        total = number + self.stray.size
        if self.stray.size:
            found[number:total] = self.stray
            found[:total].sort()
        return total

    def judge(
        self,
        seen: Seen,
        dtype: np.dtype[Any],
        mean: Array,
        deviation: Array,
        candidates: Array,
        known: tuple[Array, Array] | None = None,
    ) -> Sparse:
        """seen: counts, of which only candidates and the pixels around them are read. dtype: of the frame. candidates:
        int32, ascending. known: x of the candidates, NaN where they are not valid, and their counts."""
        recipe, polar, limits = self._recipe, self._polar, self._recipe.limits
        noise = np.float32(recipe.noise)
        place, kept = polar.position[candidates], np.empty(len(candidates) + 1, np.int64)
        if known is None:
            counts, x = seen.of(candidates), np.empty(len(candidates), np.float32)
            dark, norm = (array[candidates] if array.size else array for array in (self._dark, self._norm))
            picking.correct(counts, dark, norm, limits, x)
        else:
            x, counts = known
        kept = kept[: picking.pick(x, place, mean, deviation, noise, np.float32(recipe.cutoff_pick), kept)]
        index = candidates[kept].astype(np.uint32)
        rows = np.empty((len(candidates) if recipe.cutoff_peak > 0 else 0, 5))
        if recipe.cutoff_peak > 0:
            found = picking.peaks(
                seen, self._dark, self._norm, polar.shape[1], candidates, x, place, polar.position, mean, deviation,
                noise, np.float32(recipe.cutoff_peak), recipe.patch_size // 2, recipe.connected, limits, rows,
            )  # fmt: skip
            rows = rows[:found]
        pos0, pos1, intensity, sigma = np.ascontiguousarray(rows[:, 1:].T, np.float32)
        return Sparse(
            mean=mean.copy(),
            deviation=deviation.copy(),
            index=index,
            intensity=self._recorded(counts[kept], dtype, index),
            peak_index=rows[:, 0].astype(np.uint32),
            pos0=pos0,
            pos1=pos1,
            peak_intensity=intensity,
            sigma=sigma,
        )

    def _recorded(self, counts: Array, dtype: np.dtype[Any], index: Array) -> Array:
        """Counts of the picked pixels, minus the dark where there is one: rounded, and held inside the type."""
        kind = stored_dtype(dtype)
        if self._dark.size:
            counts = counts.astype(np.float64) - self._dark[index]
            if kind.kind in "iu":
                counts = np.floor(counts + 0.5)
        if kind.kind in "iu" and (self._dark.size or dtype.itemsize > kind.itemsize):
            counts = np.clip(counts, np.iinfo(kind).min, np.iinfo(kind).max)
        return counts.astype(kind)
