"""The images of a map: total intensity and regions, line by line; all lines again when the regions have changed."""

from collections.abc import Mapping, Sequence

import numpy as np

from processors.mapping.layout import NAME_BYTES
from processors.mapping.lines import Line, Lines
from processors.mapping.rois import QUANTITIES, Ratio, Roi, bins_of, quantities, ratio
from stream.events import Array, Piece


class Pictures:
    """Which region is in which place of the file, and the values of every line.

    places: names of the fields' places; a region that is new in mid-scan takes the next spare one, and what has no
    place is in `homeless`. A region that is taken out keeps its place, with NaN.
    """

    def __init__(self, places: Sequence[str], ratios: Sequence[str], radial: Array, columns: int) -> None:
        self._places, self._ratio_names = tuple(places), tuple(ratios)
        self._radial, self._columns = radial, columns
        self._taken: dict[str, str] = {}
        self._rois: Mapping[str, Roi] = {}
        self._ratios: Mapping[str, Ratio] = {}

    def use(self, rois: Mapping[str, Roi], ratios: Mapping[str, Ratio]) -> list[str]:
        """The regions from now on. Returns what is wrong with them, in words."""
        self._rois, self._ratios = rois, ratios
        problems = []
        for name, roi in rois.items():
            if name not in self._taken:
                free = [place for place in self._places if place not in self._taken.values()]
                if not free:
                    problems.append(f"the file has no place left for the region {name!r}: set spare_rois higher")
                    continue
                self._taken[name] = name if name in free else free[0]
            if not len(self._radial[bins_of(roi, self._radial)]):
                problems.append(f"the region {name!r} has no bin of the radial axis: its images are NaN")
        problems += [
            f"the file has no place for the ratio {name!r}: only those of the start have one"
            for name in ratios
            if name not in self._ratio_names
        ]
        problems += [
            f"the ratio {name!r} asks for a region {region!r} that is not there: its image is NaN"
            for name, each in ratios.items()
            for region in (each.of, each.by)
            if region not in rois
        ]
        return problems

    def of_line(self, row: int, line: Line) -> Mapping[str, Piece]:
        """The images' part that this line makes."""
        return {name: Piece((row, 0), values[None]) for name, values in self._compute(line).items()}

    def whole(self, lines: Lines) -> Mapping[str, Piece]:
        """Every line again, with the regions of now; NaN where no line is."""
        length = lines.length
        images = {name: np.full((length, self._columns), np.nan) for name in self._names()}
        for row, line in lines:
            for name, values in self._compute(line).items():
                images[name][row] = values
        return {**{name: Piece((0, 0), image) for name, image in images.items() if length}, **self.labels()}

    def labels(self) -> Mapping[str, Piece]:
        """Names and limits of the regions, by place."""
        if not self._places:
            return {}
        names = np.zeros(len(self._places), f"S{NAME_BYTES}")
        ranges = np.full((len(self._places), 2), np.nan)
        for name, place in self._taken.items():
            where = self._places.index(place)
            names[where] = name.encode()
            if name in self._rois:
                ranges[where] = self._rois[name].range
        return {"roi_names": Piece((0,), names), "roi_ranges": Piece((0, 0), ranges)}

    def _names(self) -> list[str]:
        regions = [f"{place}_{each}" for place in self._places for each in QUANTITIES]
        return ["total", *regions, *self._ratio_names]

    def _compute(self, line: Line) -> Mapping[str, Array]:
        found = dict.fromkeys(self._names(), np.full(self._columns, np.nan))
        patterns = patterns_of(line.values)
        there = np.isfinite(patterns)
        found["total"] = np.where(there.any(axis=1), np.where(there, patterns, 0.0).sum(axis=1), np.nan)
        known = {name: quantities(patterns, self._radial, roi) for name, roi in self._rois.items()}
        for name, values in known.items():
            if name in self._taken:
                found |= {f"{self._taken[name]}_{each}": values[each] for each in QUANTITIES}
        for name, wanted in self._ratios.items():
            if name in self._ratio_names and wanted.of in known and wanted.by in known:
                found[name] = ratio(known[wanted.of][wanted.quantity], known[wanted.by][wanted.quantity])
        return found


def patterns_of(values: Array) -> Array:
    """float64 (points, bins): a cake's mean over the azimuth, of the bins that are there."""
    wide = np.asarray(values, np.float64)
    if wide.ndim == 2:
        return wide
    there = np.isfinite(wide)
    with np.errstate(invalid="ignore"):
        found: Array = np.where(there, wide, 0.0).sum(axis=1) / there.sum(axis=1)
    return found
