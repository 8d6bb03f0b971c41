"""The numbers of every region of a frame: pixel lists made once per set of regions, one pass over them per frame."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.regions import kernels, levels, original
from processors.regions.extent import beyond
from processors.regions.field import Rays
from processors.regions.options import Config
from processors.regions.pixels import Pixels, nothing, pixels_of
from processors.regions.shapes import Shape, background_of
from processors.shared.correction import Correction
from stream.errors import ConfigError
from stream.events import Array

HALF = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """found: float64 (regions, columns of `kernels`), before any monitor. pixels, masked: int32 (regions,).

    profiles_y, profiles_x: the profiles of all regions one after the other, means per pixel; lengths_y, lengths_x:
    int32 (regions,). raw_widths: (regions, 2), along y and x, the original's without interpolation; empty without
    `compat`.
    """

    found: NDArray[np.float64]
    masked: NDArray[np.int32]
    profiles_y: NDArray[np.float64]
    profiles_x: NDArray[np.float64]
    lengths_y: NDArray[np.int32]
    lengths_x: NDArray[np.int32]
    raw_widths: NDArray[np.float64]


class Regions:
    """One set of regions, for one scan and one worker."""

    def __init__(
        self, config: Config, correction: Correction, rays: Rays, known: dict[Shape, Pixels], *, strict: bool = True
    ) -> None:
        """known: pixels of shapes that have been looked for before, by shape; new ones are put there.

        Raises ConfigError for a ring without a geometry; not `strict`: it is empty, and `refused` says why.
        """
        self.refused: list[str] = []
        self.clipped: dict[str, str] = {}
        """Regions that reach beyond the detector -> how far, and what is left of them, in words."""
        self.config = config
        names = [name for name, region in config.regions.items() if region is not None]
        self.places = np.array([place for place, name in enumerate(config.places) if name], np.int64)
        lists = []
        for name in names:
            region = config.regions[name]
            assert region is not None
            if region not in known:
                try:
                    known[region] = pixels_of(region, correction.mask, rays)
                except ConfigError as error:
                    if strict:
                        raise
                    self.refused.append(f"the region {name!r} has no pixels: {error.problems[0][1]}")
                    known[region] = nothing()
            lists.append(known[region])
            if len(known[region].index) and (where := beyond(region, correction.shape, rays)):
                self.clipped[name] = f"({where}): {len(known[region].index)} of its pixels are on it and not masked"
            if config.profiles is not None and max(lists[-1].bins_y, lists[-1].bins_x) > config.profiles:
                words = f"{max(lists[-1].bins_y, lists[-1].bins_x)} values, and there is room for {config.profiles}"
                words = f"a profile of the region {name!r} has {words}"
                if strict:
                    raise ConfigError([(f"{config.name}.profiles", f"{words}: set it higher")])
                self.refused.append(f"{words}: it is NaN; set `profiles` higher")
        self.empty = [name for name, each in zip(names, lists, strict=True) if not len(each.index) + each.masked]
        self._lists = lists
        self._starts = _starts([len(each.index) for each in lists])
        self._first_y, self._first_x = (
            _starts([each.bins_y for each in lists]),
            _starts([each.bins_x for each in lists]),
        )
        joined = {
            name: np.concatenate([getattr(each, name) for each in lists]) if lists else np.zeros(0, kind)
            for name, kind in (("index", "i4"), ("row", "u2"), ("column", "u2"), ("bin_y", "i4"), ("bin_x", "i4"))
        }
        along = [(each.along_y, each.along_x) for each in lists]
        self._arrays = joined
        self._along_y, self._along_x = (
            np.concatenate([pair[axis] for pair in along]) if along else np.zeros(0, np.float32) for axis in (0, 1)
        )
        self._number_y = _numbers([each.bin_y for each in lists], self._first_y)
        self._number_x = _numbers([each.bin_x for each in lists], self._first_x)
        self._middle = _means([(each.row, each.column) for each in lists])
        self._centre = _means(along)
        backgrounds = [[names.index(each) for each in background_of(name, config.regions)] for name in names]
        self._first_behind = _starts([len(each) for each in backgrounds])
        self._behind = np.array([each for behind in backgrounds for each in behind], np.int64)
        linear = [getattr(config.regions[name], "fit", "mean") == "linear" for name in names]
        self._fits = np.where(linear, kernels.LINEAR, kernels.MEAN).astype(np.int64)
        self._which = np.unique(self._behind)
        self._overlaps = np.array([_overlap(lists, each, behind) for each, behind in enumerate(backgrounds)], bool)
        self.overlapping = [name for name, overlaps in zip(names, self._overlaps, strict=True) if overlaps]
        corrected = correction.dark is not None or correction.flat is not None
        index = joined["index"]
        dark = np.zeros(correction.shape, np.float32) if correction.dark is None else correction.dark
        flat = np.ones(correction.shape, np.float32) if correction.flat is None else correction.flat
        self._correct = np.array([int(corrected)])
        self._dark = dark.reshape(-1)[index] if corrected else np.zeros(0, np.float32)
        self._gain = (1.0 / flat.reshape(-1)[index]).astype(np.float32) if corrected else np.zeros(0, np.float32)
        self._limits = np.array([correction.low, correction.high, correction.dummy_low, correction.dummy_high])
        self._step = np.array([[each.step_y, each.step_x] for each in lists]).reshape(-1, 2)
        self._masked = np.array([each.masked for each in lists], np.int64)

    @property
    def index(self) -> Array:
        """Flat places of all pixels of all regions, int32: those that are looked at."""
        return self._arrays["index"]

    def measure(self, image: Array) -> Measured:
        """The numbers of one frame (rows, columns)."""
        return self._measure(image.reshape(-1), self.index)

    def measure_taken(self, counts: Array) -> Measured:
        """The numbers of a frame of which there are the pixels of `index` alone, in its order."""
        return self._measure(counts, np.arange(counts.size, dtype=np.int32))

    def _measure(self, raw: Array, index: Array) -> Measured:
        arrays, count = self._arrays, len(self._lists)
        planes, spreads = self._levels(raw, index)
        found = np.full((count, kernels.COLUMNS), np.nan)
        sum_y, sum_x = np.zeros(self._first_y[-1]), np.zeros(self._first_x[-1])
        number_y, number_x = self._number_y.copy(), self._number_x.copy()
        kernels.measure(
            raw, self._starts, index, arrays["row"], arrays["column"], self._along_y, self._along_x,
            arrays["bin_y"], arrays["bin_x"], self._first_y, self._first_x, self._middle, self._centre, planes, spreads,
            self._correct, self._dark, self._gain, self._limits, found, sum_y, number_y, sum_x, number_x,
        )  # fmt: skip
        found[self._overlaps, kernels.NET_VARIANCE] = np.nan
        kernels.widths(
            sum_y, number_y, self._first_y, sum_x, number_x, self._first_x, self._step, HALF, found
        )  # which makes means of the profiles
        raw_widths = np.zeros((0, 2))
        if self.config.compat == "sp2014":
            raw_widths = self._original(sum_y, sum_x, found)
        used = found[:, kernels.PIXELS].astype(np.int64)
        return Measured(
            found=found,
            masked=(self._masked + np.diff(self._starts) - used).astype(np.int32),
            profiles_y=sum_y,
            profiles_x=sum_x,
            lengths_y=np.diff(self._first_y).astype(np.int32),
            lengths_x=np.diff(self._first_x).astype(np.int32),
            raw_widths=raw_widths,
        )

    def _levels(self, raw: Array, index: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        count, arrays = len(self._lists), self._arrays
        planes, spreads = np.zeros((count, 3)), np.zeros((count, 3, 3))
        if not len(self._which):
            return planes, spreads
        found = np.zeros((count, kernels.MOMENTS))
        kernels.moments(
            raw, self._starts, index, arrays["row"], arrays["column"], self._middle, self._which,
            self._correct, self._dark, self._gain, self._limits, found,
        )  # fmt: skip
        levels.levels(found, self._middle, self._first_behind, self._behind, self._fits, planes, spreads)
        return planes, spreads

    def _original(
        self, profiles_y: NDArray[np.float64], profiles_x: NDArray[np.float64], found: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The original's widths in place of ours; returns those without interpolation."""
        raw = np.full((len(self._lists), 2), np.nan)
        for axis, (profiles, first, column) in enumerate(
            ((profiles_y, self._first_y, kernels.WIDTH_Y), (profiles_x, self._first_x, kernels.WIDTH_X))
        ):
            for region, step in enumerate(self._step[:, axis]):
                profile = profiles[first[region] : first[region + 1]]
                raw[region, axis] = original.raw_width(profile) * step
                found[region, column] = original.fine_width(profile) * step
        return raw


def _overlap(lists: list[Pixels], region: int, behind: list[int]) -> bool:
    """True if pixels are in the region and in its background: the error would have to know of both."""
    return any(len(np.intersect1d(lists[region].index, lists[each].index, assume_unique=True)) for each in behind)


def _starts(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _numbers(bins: list[NDArray[np.int32]], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of each bin of all profiles."""
    each = [np.bincount(found, minlength=int(size)) for found, size in zip(bins, np.diff(first), strict=True)]
    return np.concatenate(each).astype(np.int64) if each else np.zeros(0, np.int64)


def _means(places: list[tuple[Any, Any]]) -> NDArray[np.float64]:
    """(regions, 2): the middle of each; 0 of an empty one."""
    found = [[float(np.mean(each, dtype=np.float64)) if len(each) else 0.0 for each in pair] for pair in places]
    return np.array(found, np.float64).reshape(-1, 2)
