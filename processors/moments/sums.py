"""What is kept of the frames of one omega: sums by pixel, the largest signal, which frame is at which position."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.moments import kernels
from stream.events import Array

NONE = np.iinfo(np.int64).max
"""No frame, among the numbers of the frames with the largest signal."""


def sums_for(motors: int) -> int:
    """How many sums there are for a number of motors."""
    return 1 + 3 * motors + motors * (motors + 1) // 2


def powers(where: tuple[float, ...]) -> list[float]:
    """Weights of a frame in each sum: 1, x of each motor, x y of each pair (a motor with itself, too, by the
    upper triangle), x^3 of each, x^4 of each."""
    pairs = [where[a] * where[b] for a in range(len(where)) for b in range(a, len(where))]
    return [1.0, *where, *pairs, *(x * x * x for x in where), *(x * x * x * x for x in where)]


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """How raw counts become signals, for all frames of a scan: see `kernels.add`.

    offset, gain: float64 (pixels,). limits: float64 (5,). mask: bool (pixels,), True = bad in every frame.
    """

    offset: Array
    gain: Array
    limits: Array
    mask: Array


@dataclass(slots=True, eq=False)
class Weak:
    """One of the weakest frames of an omega: its signals are part of the background."""

    total: float
    index: int
    signal: Array


@dataclass(slots=True, eq=False)
class Group:
    """The frames of one omega.

    frames: cell -> frame number; where: frame number -> (position - middle) / step of each motor. stale: a frame
    was replaced, the sums are to be made again.
    sums, maximum, peak, bad: as in `kernels.add`. weights: the sum of all frames' weights, float64 (sums,).
    weak: the weakest frames, the weakest first. waiting: frame numbers that are in no update yet, since a monotonic
    time.
    """

    sums: Array
    maximum: Array
    peak: Array
    bad: Array
    weights: Array
    frames: dict[int, int] = field(default_factory=dict)
    where: dict[int, tuple[float, ...]] = field(default_factory=dict)
    weak: list[Weak] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    since: float = 0.0
    stale: bool = False

    @classmethod
    def empty(cls, motors: int, pixels: int) -> "Group":
        """Without any frame."""
        nothing = np.empty(0)
        made = cls(nothing, nothing, nothing, nothing, nothing)
        made.clear(motors, pixels)
        return made

    @staticmethod
    def nbytes(motors: int, pixels: int) -> int:
        """What a group needs."""
        return (8 * sums_for(motors) + 8 + 8 + 4) * pixels

    def clear(self, motors: int, pixels: int) -> None:
        """Forget the sums, but not which frames are in them."""
        self.sums = np.zeros((sums_for(motors), pixels))
        self.maximum = np.full(pixels, -np.inf)
        self.peak = np.full(pixels, NONE)
        self.bad = np.zeros(pixels, np.int32)
        self.weights = np.zeros(sums_for(motors))
        self.weak = []

    def above_background(self) -> tuple[Array, Array]:
        """The sums and the maximum, less the mean of the weakest frames if these are the background."""
        if not self.weak:
            return self.sums, self.maximum
        level = np.mean([each.signal for each in self.weak], axis=0)
        return self.sums - self.weights[:, None] * level, self.maximum - level


class Adder:
    """Adds frames to groups, several at a time. signals of a scan: pixels of one type, as many in each frame."""

    def __init__(self, signal: Signal, dtype: "np.dtype[np.generic]", motors: int, lowest: int) -> None:
        self._signal, self._lowest = signal, lowest
        pixels = signal.offset.size
        self._raw = np.zeros((kernels.TOGETHER, pixels), dtype)
        self._weights = np.zeros((sums_for(motors), kernels.TOGETHER))
        self._numbers: list[int] = []
        self._group: Group | None = None
        self._unused = np.zeros(pixels, np.int32)

    def add(self, group: Group, index: int, where: tuple[float, ...], raw: Array) -> None:
        """One frame, raw (rows, columns): copied."""
        if self._group is not group or len(self._numbers) == kernels.TOGETHER:
            self.flush()
        self._group = group
        place = len(self._numbers)
        self._raw[place].reshape(raw.shape)[...] = raw
        self._weights[:, place] = powers(where)
        self._numbers.append(index)
        if self._lowest:
            self._keep_weak(group, index, self._raw[place])

    def flush(self) -> None:
        """Add what has been collected."""
        numbers, group = self._numbers, self._group
        self._numbers, self._group = [], None
        if group is None or not numbers:
            return
        self._weights[:, len(numbers) :] = 0.0
        signal = self._signal
        kernels.add(
            self._raw, np.array(numbers, np.int64), self._weights, signal.offset, signal.gain, signal.limits,
            group.sums, group.maximum, group.peak, group.bad,
        )  # fmt: skip
        group.weights += self._weights.sum(axis=1)

    def _keep_weak(self, group: Group, index: int, raw: Array) -> None:
        signal, found = self._signal, np.empty(raw.size)
        total = kernels.signal_of(raw, signal.offset, signal.gain, signal.limits, self._unused, found)
        group.weak = sorted([*group.weak, Weak(total, index, found)], key=lambda each: (each.total, each.index))
        del group.weak[self._lowest :]


def positions_of_peaks(peak: Array, frames: Sequence[int], where: Sequence[tuple[float, ...]]) -> Array:
    """float64 (motors, pixels): where the frame with the largest signal was, of frames and where they are."""
    order = np.argsort(frames)
    numbers, places = np.asarray(frames)[order], np.array(where)[order]
    found: Array = places[np.searchsorted(numbers, np.minimum(peak, numbers[-1]))].T
    return found
