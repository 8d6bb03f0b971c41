"""What became of every frame number of one scan: the single place where the counts come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.events import EMPTY, Change, Frame, FrameStatus

States = NDArray[np.uint8]
_WITH_DATA = [status for status in FrameStatus if status.has_data]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file has of a product that belongs to the scan. covered: the frame numbers whose share is in it.

    fields: field name -> a function that reads it whole.
    """

    covered: NDArray[np.int64]
    fields: Mapping[str, Callable[[], NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Partial:
    """What one of several processes, each of which had a part of the frames, has of a product of the whole scan.

    covered: the frame numbers whose share is in it, ascending. fields: name -> what gives an array when it is indexed
    (a dataset): those that are `partial` too, the constants and the axes. axes: names of those of the signal, "." for
    none.
    """

    covered: NDArray[np.int64]
    fields: Mapping[str, Any]
    axes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds of a scan that is being resumed. `states[i]` is the FrameStatus of frame number i.

    complete: the file takes nothing more.
    products: what it has of the products that belong to the scan.
    changes: the changes of options that its frames were processed with.
    frame: reads one frame back, as far as this file has it (pixels, results, readings); None if it cannot. From any
    thread, until the scan is finished.
    same: False if the pixels of a frame are not those that the file has, or that its results were made from.
    owed: bool (n,), the frames that a gatherer must see; None: those of `states` that have data.
    """

    states: States
    complete: bool = False
    products: Mapping[str, Saved] = field(default_factory=lambda: EMPTY)
    changes: tuple[Change, ...] = ()
    frame: Callable[[int], Frame | None] = lambda index: None
    same: Callable[[Frame], bool] = lambda frame: True
    owed: NDArray[np.bool_] | None = None

    @property
    def gathered(self) -> NDArray[np.bool_]:
        """bool (n,): the frames that the products of the whole scan are to cover."""
        return np.isin(self.states, _WITH_DATA) if self.owed is None else self.owed

    def has(self, index: int) -> bool:
        """True if that frame need not be processed again."""
        return index < len(self.states) and FrameStatus(int(self.states[index])).has_data

    @classmethod
    def nothing(cls) -> "Stored":
        """A file without any frame."""
        return cls(np.zeros(0, np.uint8))

    @property
    def empty(self) -> bool:
        """True if no frame has data."""
        return not np.isin(self.states, _WITH_DATA).any()

    @classmethod
    def in_all(cls, files: Sequence["Stored"]) -> "Stored":
        """What every file has: a frame that one of them lacks is processed again. A hole of which all say the same
        stays that: a corrupt frame does not become a missing one because inbeam was started again. A gatherer is
        owed what the files with its products have: a kill may keep a frame from the archive alone."""
        length = min(len(each.states) for each in files)
        # a product may be in several files; the one that covers least is gone on with
        products: dict[str, Saved] = {}
        for name, saved in [found for each in files for found in each.products.items()]:
            if name not in products or len(saved.covered) < len(products[name].covered):
                products[name] = saved
        changes = max((each.changes for each in files), key=len)
        states = files[0].states[:length].copy()
        for each in files[1:]:
            other = each.states[:length]
            states[~np.isin(other, _WITH_DATA) & (other != states)] = FrameStatus.MISSING
        return cls(
            states,
            all(each.complete for each in files),
            products,
            changes,
            lambda index: _one(files, index),
            lambda frame: all(each.same(frame) for each in files),
            _of_any([each.gathered for each in files if each.products]),
        )


class Ledger:
    """The status of every frame number, growing as numbers are seen. Written by the ordering stage, read by anyone.

    Invariant, held by construction: each number below `expected` has exactly one status, so the counts always sum
    to `expected`.
    """

    def __init__(self, announced: int | None, stored: Stored | None = None) -> None:
        self.announced = announced
        self.repeats = 0
        """Copies that came again and were not stored: more than the DUPLICATE numbers if one came three times."""
        self._states: States = np.zeros(min(max(announced or 0, 256), 1 << 20), np.uint8)
        self._seen = 0
        self._counts = [0] * len(FrameStatus)
        """Numbers of each status, MISSING aside: asked for ten times a second, however long the scan."""
        if stored is not None:
            self._reserve(len(stored.states))
            self._states[: len(stored.states)] = stored.states
            filled = np.flatnonzero(stored.states)
            self._seen = int(filled[-1]) + 1 if len(filled) else 0
            self._counts = [int(np.count_nonzero(stored.states == status)) for status in FrameStatus]

    @property
    def expected(self) -> int:
        """Number of frame numbers: what the detector announced, or more if it sent more."""
        return max(self.announced or 0, self._seen)

    @property
    def whole(self) -> bool:
        """True if every frame that was announced is there, with data."""
        with_data = sum(self._counts[status] for status in _WITH_DATA)
        return bool(self.announced) and with_data == self.expected

    @property
    def highest(self) -> int:
        """The highest frame number seen so far, -1 before the first."""
        return self._seen - 1

    def status(self, index: int) -> FrameStatus:
        """Status of one frame number; MISSING for a number not seen yet."""
        return FrameStatus(int(self._states[index])) if index < self._seen else FrameStatus.MISSING

    def record(self, index: int, status: FrameStatus) -> None:
        """Set the status of a frame number that has arrived."""
        self._reserve(index + 1)
        self._counts[self._states[index]] -= 1
        self._counts[status] += 1
        self._states[index] = status
        self._seen = max(self._seen, index + 1)

    def counts(self) -> Mapping[FrameStatus, int]:
        """Status -> number of frame numbers; sums to `expected`."""
        counts = {status: self._counts[status] for status in FrameStatus}
        counts[FrameStatus.MISSING] = 0
        counts[FrameStatus.MISSING] = self.expected - sum(counts.values())
        return counts

    def states(self) -> States:
        """A copy: uint8 (expected,)."""
        self._reserve(self.expected)
        return self._states[: self.expected].copy()

    def _reserve(self, size: int) -> None:
        if size > len(self._states):
            grown = np.zeros(max(size, 2 * len(self._states)), np.uint8)
            grown[: len(self._states)] = self._states
            self._states = grown


def _of_any(files: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
    if not files:
        return None
    found = np.zeros(max(map(len, files)), bool)
    for has in files:
        found[: len(has)] |= has
    return found


def _one(files: Sequence[Stored], index: int) -> Frame | None:
    """A frame with everything that any of the files has of it. The row of a file that does not have it says nothing."""
    found = [frame for each in files if each.has(index) and (frame := each.frame(index)) is not None]
    if not found:
        return None
    return replace(
        found[0],
        payloads=next((frame.payloads for frame in found if frame.payloads), EMPTY),
        results={name: values for frame in found for name, values in frame.results.items()},
        readings={name: value for frame in found for name, value in frame.readings.items()},
    )
