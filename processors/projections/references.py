"""Flats and darks that come with a scan, one by one, as running sums of each series."""

from dataclasses import dataclass

import numpy as np

from processors.projections.normalise import OpenBeam, Series, Which, chosen, open_beam
from stream.events import Array


@dataclass(slots=True)
class _Sum:
    first: int
    last: int
    total: Array
    count: int = 0
    numbers: int = 0
    monitor: float = 0.0

    def add(self, number: int, image: Array, monitor: float) -> None:
        self.first, self.last = min(self.first, number), max(self.last, number)
        self.total += image
        self.count += 1
        self.numbers += number
        self.monitor += monitor

    @property
    def series(self) -> Series:
        mean = (self.total / self.count).astype(np.float32)
        return Series(self.numbers / self.count, mean, self.count, self.monitor / self.count)


class References:
    """Frames whose numbers follow each other are one series."""

    def __init__(self) -> None:
        self._flats: list[_Sum] = []
        self._darks: list[_Sum] = []
        self._averaged: tuple[list[Series], list[Series]] | None = None
        self._made: dict[tuple[float, int], OpenBeam] = {}

    def add(self, kind: str, number: int, image: Array, monitor: float = float("nan")) -> None:
        """kind: flat or dark; number: of the frame; image: counts."""
        sums = self._flats if kind == "flat" else self._darks
        near = [each for each in sums if each.first - 1 <= number <= each.last + 1]
        if not near:
            near = [_Sum(number, number, np.zeros(image.shape))]
            sums.append(near[0])
        near[0].add(number, image, monitor)
        self._averaged = None
        self._made.clear()

    @property
    def flats(self) -> int:
        """How many have come."""
        return sum(each.count for each in self._flats)

    @property
    def darks(self) -> int:
        """How many have come."""
        return sum(each.count for each in self._darks)

    def beam(self, number: float, which: Which = "before") -> OpenBeam | None:
        """For a projection; None where there is no such flat. before: the last series before it, else the first behind.

        Darks: the mean of all. Raises ValueError where no flat is above its dark.
        """
        if not self._flats:
            return None
        if self._averaged is None:
            self._averaged = [each.series for each in self._flats], [each.series for each in self._darks]
        series, darks = self._averaged
        if which == "before":
            earlier = [each for each in series if each.place < number]
            flat = max(earlier, key=lambda each: each.place) if earlier else min(series, key=lambda each: each.place)
        else:
            flat = chosen(series, number, which)
        key = (flat.place, flat.count)
        if key not in self._made:
            dark = chosen(darks, number, "mean").flat if darks else None
            self._made[key] = open_beam(flat.flat, dark, monitor=flat.monitor)
        return self._made[key]
