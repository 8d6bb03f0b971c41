"""A slice for every radial bin, some bins at a time: what is in memory is one block of sinograms and of slices."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from processors.tomography.air import By, without_air
from processors.tomography.angles import HALF_TURN, coverage
from processors.tomography.backprojection import fbp, seen
from processors.tomography.filters import Window
from processors.tomography.half import FULL_TURN, feathered
from processors.tomography.repair import Mark, repaired
from stream.events import Array

TOGETHER = 32
"""Bins that share the way through their projections, at most; fewer where they take more than `BYTES`."""
BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Recipe:
    """How sinograms become slices. air: points at each end, and what is done with them; None: nothing."""

    centre: float
    size: int
    window: Window = "ramp"
    air: tuple[int, By] | None = None
    outliers: float | None = None
    longest_gap: int = 3
    half_acquisition: bool = False
    threads: int = 1

    @property
    def turn_deg(self) -> float:
        """What the angles have to cover."""
        return FULL_TURN if self.half_acquisition else HALF_TURN


@dataclass(frozen=True, slots=True)
class Block:
    """Bins `first` to first + n. pictures: float32 (size, size, n), NaN where not every projection sees, and in bins
    without any; replaced: int32 (n,), outliers in the sinogram of each."""

    first: int
    pictures: Array
    replaced: Array


def blocks(
    read: Callable[[int, int], Array], bins: int, angles_deg: Array, recipe: Recipe, *, at_once: int = 50
) -> Iterator[Block]:
    """read(first, end): the sinograms (angles, columns, bins) of these bins, NaN: missing."""
    for first in range(0, bins, at_once):
        end = min(first + at_once, bins)
        sinograms = read(first, end)
        pictures = np.empty((recipe.size, recipe.size, end - first), np.float32)
        replaced = np.empty(end - first, np.int32)
        together = max(1, min(TOGETHER, BYTES // (8 * max(recipe.size**2, sinograms[..., 0].size, 1))))
        for here in range(0, end - first, together):
            some = slice(here, here + together)
            pictures[..., some], replaced[some] = slices(sinograms[..., some], angles_deg, recipe)
        yield Block(first, pictures, replaced)


def slices(sinograms: Array, angles_deg: Array, recipe: Recipe) -> tuple[Array, Array]:
    """sinograms (angles, columns, n) -> pictures float32 (size, size, n), replaced int32 (n,)."""
    columns, count = sinograms.shape[1:]
    values = sinograms if recipe.air is None else without_air(sinograms, *recipe.air)
    mended = [
        repaired(values[..., each], angles_deg, longest_gap=recipe.longest_gap, outliers=recipe.outliers)
        for each in range(count)
    ]
    alike: dict[bytes, list[int]] = {}
    for each, sinogram in enumerate(mended):
        alike.setdefault(sinogram.usable.tobytes(), []).append(each)
    pictures = np.full((recipe.size, recipe.size, count), np.nan, np.float32)
    inside = seen(recipe.size, columns, recipe.centre, half_turn_only=not recipe.half_acquisition)
    for bins in alike.values():
        usable = mended[bins[0]].usable
        weights = coverage(np.where(usable, angles_deg, np.nan), turn_deg=recipe.turn_deg).weights
        if not weights.any():
            continue
        together = np.stack([np.where(usable[:, None], mended[each].values, 0.0) for each in bins], axis=2)
        wide, centre = feathered(together, recipe.centre) if recipe.half_acquisition else (together, recipe.centre)
        found = fbp(
            wide,
            np.where(weights > 0, angles_deg, 0.0),
            centre=centre,
            weights=weights,
            window=recipe.window,
            size=recipe.size,
            threads=recipe.threads,
        )
        pictures[..., bins] = np.where(inside[..., None], found, np.nan)
    return pictures, np.array([(each.marks == Mark.OUTLIER).sum() for each in mended], np.int32)
