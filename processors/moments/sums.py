"""What is kept of the frames of one omega: sums by pixel, the largest signal, which frame is at which position."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.moments import kernels
from stream.events import Array

ENOUGH = 5
"""Frames that are weighed at once where a motor that stood still then moves."""
MOST, MOST_BYTES = 64, 4_000_000
"""Frames that are added in one pass over the sums, and how large they may be if they are more than 16."""
NONE = np.iinfo(np.int64).max
"""No frame, among the numbers of the frames with the largest signal."""


def sums_for(motors: int) -> int:
    """How many sums there are for a number of motors."""
    return 1 + 3 * motors + motors * (motors + 1) // 2


def powers(where: tuple[Array, ...]) -> list[Array]:
    """Weights of frames in each sum, of where each motor was in them: 1, x of each motor, x y of each pair (a motor
    with itself, too, by the upper triangle), x^3 of each, x^4 of each."""
    pairs = [where[a] * where[b] for a in range(len(where)) for b in range(a, len(where))]
    return [np.ones_like(where[0]), *where, *pairs, *(x * x * x for x in where), *(x * x * x * x for x in where)]


def exponents(motors: int) -> list[tuple[int, ...]]:
    """Of each motor's x in each sum, in the order of `powers`."""
    one = [tuple(int(a == b) for b in range(motors)) for a in range(motors)]
    pairs = [tuple(i + j for i, j in zip(one[a], one[b], strict=True)) for a in range(motors) for b in range(a, motors)]
    higher = [tuple(power * i for i in each) for power in (3, 4) for each in one]
    return [(0,) * motors, *one, *pairs, *higher]


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
        self._room = max(kernels.TOGETHER, min(MOST, MOST_BYTES // max(1, pixels * dtype.itemsize)))
        self._raw = np.zeros((self._room, pixels), dtype)
        self._exponents = exponents(motors)
        self._multiples: dict[tuple[bool, ...], Array] = {}
        self._numbers: list[int] = []
        self._where: list[tuple[float, ...]] = []
        self._group: Group | None = None
        self._unused = np.zeros(pixels, np.int32)

    def add(self, group: Group, index: int, where: tuple[float, ...], raw: Array) -> None:
        """One frame, raw (rows, columns): copied."""
        count = len(self._numbers)
        if self._group is not group or count == self._room:
            self.flush()
            count = 0
        self._group = group
        self._raw[count].reshape(raw.shape)[...] = raw
        self._where.append(where)
        self._numbers.append(index)
        if self._lowest:
            self._keep_weak(group, index, self._raw[count])

    def flush(self) -> None:
        """Add what has been collected."""
        numbers, where, group = self._numbers, self._where, self._group
        self._numbers, self._where, self._group = [], [], None
        if group is None or not numbers:
            return
        raw, order = self._raw, np.array(numbers, np.int64)
        if (np.diff(order) < 0).any():
            places = np.argsort(order)
            raw, order, where = raw[places], order[places], [where[place] for place in places]
        bounds = _parts(where)
        parts = list(itertools.pairwise(bounds))
        weights = np.zeros((len(parts), len(self._exponents), kernels.TOGETHER))
        of, factors = np.empty(weights.shape[:2], np.int64), np.ones(weights.shape[:2])
        positions = np.array(where).T
        known = np.array(powers(tuple(positions)))
        for part, (begin, end) in enumerate(parts):
            weights[part, :, : end - begin] = known[:, begin:end]
            still = tuple((positions[:, begin:end] == positions[:, begin : begin + 1]).all(axis=1).tolist())
            of[part] = self._multiple_of(still)
            factors[part] = _factors(positions[:, begin], still, self._exponents)
        signal = self._signal
        kernels.add(
            raw, order, np.array(bounds), weights, of, factors, signal.offset, signal.gain, signal.limits, group.sums,
            group.maximum, group.peak, group.bad,
        )  # fmt: skip
        group.weights += known.sum(axis=1)

    def _multiple_of(self, still: tuple[bool, ...]) -> Array:
        """See `kernels.add`: which sum is that without the motors that stand still."""
        found = self._multiples.get(still)
        if found is None:
            without = [tuple(0 if s else e for s, e in zip(still, each, strict=True)) for each in self._exponents]
            found = self._multiples[still] = np.array([self._exponents.index(each) for each in without])
        return found

    def _keep_weak(self, group: Group, index: int, raw: Array) -> None:
        signal, found = self._signal, np.empty(raw.size)
        total = kernels.signal_of(raw, signal.offset, signal.gain, signal.limits, self._unused, found)
        group.weak = sorted([*group.weak, Weak(total, index, found)], key=lambda each: (each.total, each.index))
        del group.weak[self._lowest :]


def _parts(where: Sequence[tuple[float, ...]]) -> list[int]:
    """Where frames are divided: after 16 of them, or when one of the motors that stood still moves."""
    bounds, begin = [0], 0
    for number in range(1, len(where)):
        count = number - begin
        turns = count >= ENOUGH and any(
            a == b != c for a, b, c in zip(where[begin], where[number - 1], where[number], strict=True)
        )
        if count == kernels.TOGETHER or turns:
            begin = number
            bounds.append(number)
    return [*bounds, len(where)]


def _factors(where: Array, still: tuple[bool, ...], exponents: Sequence[tuple[int, ...]]) -> Array:
    """float64 (sums,): what the motors that stand still make of each sum."""
    x = np.where(still, where, 1.0)
    found: Array = np.prod(x ** np.array(exponents), axis=1)
    return found


def positions_of_peaks(peak: Array, frames: Sequence[int], where: Sequence[tuple[float, ...]]) -> Array:
    """float64 (motors, pixels): where the frame with the largest signal was, of frames and where they are."""
    order = np.argsort(frames)
    numbers, places = np.asarray(frames)[order], np.array(where)[order]
    found: Array = places[np.searchsorted(numbers, np.minimum(peak, numbers[-1]))].T
    return found
