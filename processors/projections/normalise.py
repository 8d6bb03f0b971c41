"""From counts to transmission: (image - dark) / (flat - dark), as tomopy, Mantid and NXtomo's readers have it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array

How: TypeAlias = Literal["mean", "median"]
Which: TypeAlias = Literal["mean", "nearest", "before", "after"]


@dataclass(frozen=True, slots=True)
class OpenBeam:
    """dark, gain: float32 (rows, columns); gain = 1 / (flat - dark), NaN where the flat is not above the dark.

    unusable: how many such pixels there are. monitor: reading of the beam while the flats were taken, NaN: unknown.
    """

    dark: Array
    gain: Array
    unusable: int
    monitor: float = float("nan")

    def transmission(self, image: Array, monitor: float | None = None) -> Array:
        """image (rows, columns), counts -> float32, 1 in the open beam, NaN where that is not known.

        monitor: the reading of this projection; the beam of the flats stands for 1. Raises ValueError where it, or that
        of the flats, is not above 0.
        """
        found = np.empty(image.shape, np.float32)
        _divided(image, self.dark, self.gain, self.factor(monitor), found)
        return found

    def factor(self, monitor: float | None) -> float:
        """Of a projection with this reading. Raises ValueError as `transmission`."""
        if monitor is None:
            return 1.0
        if not (monitor > 0 and self.monitor > 0):
            raise ValueError(
                f"the monitor reads {monitor:g}, and {self.monitor:g} for the flat fields: nothing to divide by"
            )
        return self.monitor / monitor


def open_beam(flat: Array, dark: Array | None = None, *, monitor: float = float("nan")) -> OpenBeam:
    """flat, dark: (rows, columns), already averaged; no dark: 0. Raises ValueError where no flat is above its dark."""
    below = np.zeros(flat.shape, np.float32) if dark is None else np.asarray(dark, np.float32)
    difference = np.asarray(flat, np.float32) - below
    usable = difference > 0
    if not usable.any():
        raise ValueError("no pixel of the flat is above the dark: they may be exchanged, or the shutter was closed")
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(usable, 1.0 / difference.astype(np.float64), np.nan)
    return OpenBeam(below, gain, int((~usable).sum()), monitor)


def averaged(images: Array, how: How = "mean") -> Array:
    """(n, rows, columns) -> float32 (rows, columns)."""
    stack = np.asarray(images)
    found = stack.mean(axis=0, dtype=np.float64) if how == "mean" else np.median(stack, axis=0)
    return np.asarray(found, np.float32)


@dataclass(frozen=True, slots=True)
class Series:
    """Flat fields that were taken one after the other. place: mean of their frame numbers. flat: float32, averaged."""

    place: float
    flat: Array
    count: int
    monitor: float = float("nan")


def grouped(numbers: Sequence[int]) -> list[list[int]]:
    """Positions in `numbers` (rising frame numbers) of each unbroken run: the series of flats or darks."""
    runs: list[list[int]] = []
    for position, number in enumerate(numbers):
        if runs and number == numbers[runs[-1][-1]] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    return runs


def chosen(series: Sequence[Series], number: float, which: Which) -> Series:
    """The flat for frame `number`: mean of all flats; of the nearest series (the later of two as near, as tomopy's
    `normalize_nf`); of all that were taken before, or after, it. Raises ValueError without any."""
    wanted = {
        "mean": list(series),
        "nearest": sorted(series, key=lambda each: (abs(each.place - number), -each.place))[:1],
        "before": [each for each in series if each.place < number],
        "after": [each for each in series if each.place > number],
    }[which]
    if not wanted:
        where = f" {which} frame {number:g}" if which in ("before", "after") else ""
        raise ValueError(f"there is no flat field{where}")
    if len(wanted) == 1:
        return wanted[0]
    counts = np.array([each.count for each in wanted], np.float64)
    flat = sum(each.flat.astype(np.float64) * each.count for each in wanted) / counts.sum()
    monitor = float(np.average([each.monitor for each in wanted], weights=counts))
    return replace(wanted[0], flat=np.asarray(flat, np.float32), count=int(counts.sum()), monitor=monitor)


@kernel
def _divided(image, dark, gain, factor, found):  # type: ignore[no-untyped-def]
    rows, columns = image.shape
    for row in range(rows):
        for column in range(columns):
            found[row, column] = (np.float64(image[row, column]) - dark[row, column]) * gain[row, column] * factor
