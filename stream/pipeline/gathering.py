"""One gatherer as its lane sees it: frames go in, updates come out, and what they cover is kept account of.

After a restart every frame that has data is given to it once more: those that the source does not send again are read
back from our own files, in this thread, while the scan goes on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stream.events import EMPTY, Frame, FrameStatus, Item, ScanEnd, ScanStart, Update
from stream.ledger import Saved, Stored
from stream.pipeline.chain import words
from stream.pipeline.revisions import OptionSet, Revisions
from stream.products import Product
from stream.registry import Options
from stream.roles import Counters, Gatherer, Resuming
from stream.work import Work

MOST_TOLD = 5


class Gathering:
    """Has the methods of a Sink, so that a Lane can feed it."""

    lane: Literal["block", "latest"] = "block"

    def __init__(
        self,
        name: str,
        gatherer: Gatherer,
        *,
        emit: Callable[[Sequence[Update]], None],
        trouble: Callable[[str], None],
        place: int = -1,
        options: Options | None = None,
        make: Callable[[Options], Gatherer] | None = None,
    ) -> None:
        """`emit`: pass updates on to the sinks. `trouble`: tell what a product does not cover. `place`, `options`,
        `make`: as those of a `Step`."""
        self.name = name
        self.products: tuple[Product, ...] = ()
        self.refusal = ""
        self._gatherer = gatherer
        self._emit, self._trouble = emit, trouble
        self._place, self._options, self._make = place, options, make
        self._bench = Work()
        self._revisions = Revisions(OptionSet())
        self._given = _Numbers()
        self._covered: dict[str, _Numbers] = {}
        self._told = 0
        self._has = np.zeros(0, bool)
        self._taken_back, self._without_pixels = _Numbers(), _Numbers()
        self._back: Callable[[], Iterable[Frame]] | None = None

    def prepare(self, bench: Work, options: OptionSet) -> None:
        """Before `start`, in the pipeline's thread: the bench with what the processors left on it."""
        self._bench = bench
        if self._make is not None and self._place < len(options.processors):
            wanted = options.processors[self._place]
            if wanted is not self._options:
                self._gatherer, self._options = self._make(wanted), wanted

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """The gatherer declares its products; a refusal leaves it out of this scan."""
        self._scan = scan.uid
        self.products, self.refusal, self._told = (), "", 0
        self._given, self._has, self._back = _Numbers(), np.zeros(0, bool), None
        self._taken_back, self._without_pixels = _Numbers(), _Numbers()
        try:
            self.products = tuple(self._gatherer.start(scan, self._bench))
        except BaseException as error:
            self.refusal = f"{self.name}: {words(error)}"
        self._covered = {product.name: _Numbers() for product in self.products}
        return None

    def use(self, revisions: Revisions) -> None:
        """The options of the scan, by frame number."""
        self._revisions = revisions

    def restart(self, stored: Stored, read_back: Callable[[Sequence[int]], Iterable[Frame]] | None) -> NDArray[Any]:
        """After `start`, before any frame: go on behind a killed process. Returns bool (n,): frame numbers that have
        data and that the source must give again, all False if `read_back` gives them."""
        held = stored.gathered
        if self.refusal or not held.any():
            return np.zeros(0, bool)
        saved = {name: stored.products.get(name) for name in self._covered}
        self._has = np.zeros(len(held), bool)
        known = {name: found for name, found in saved.items() if found is not None}
        if isinstance(self._gatherer, Resuming) and len(known) == len(saved):
            self._resume(self._gatherer, known)
        else:
            self._emit([Update(self._scan, name, afresh=True) for name in self._covered])
        lacking = held & ~self._has
        numbers = np.flatnonzero(lacking).tolist()
        self._given.add(numbers)
        if read_back is None:
            return lacking
        self._back = lambda: read_back(numbers)
        return np.zeros(0, bool)

    def write(self, item: Item) -> None:
        """One frame, in the lane's thread; a frame that a processor failed on is a hole to the gatherer."""
        self._catch_up()
        if isinstance(item, Frame) and not self.refusal:
            index = item.index
            known = (index < len(self._has) and bool(self._has[index])) or index in self._taken_back
            if not known and not (item.status is FrameStatus.DUPLICATE and not item.payloads):
                self._take(item)

    def tick(self, counters: Counters) -> None:
        """Give what is due."""
        self._catch_up()
        if self.products:
            self._pass_on(self._gatherer.tick)

    def finish(self, end: ScanEnd) -> None:
        """Give the rest, and tell what is not covered."""
        self._catch_up()
        if self.products:
            self._pass_on_the_rest(end)
        for name, covered in self._covered.items():
            if lost := self._without_pixels.without(covered):
                self._emit([Update(self._scan, name, lost=lost)])
            if left := self._given.without(covered):
                self._trouble(f"{name} does not cover {len(left)} frames that have data: {_listed(left)}")
        self.products = ()

    def close(self) -> None:
        """Nothing is open."""

    def _resume(self, gatherer: Resuming, saved: dict[str, Saved]) -> None:
        numbers = [int(number) for number in gatherer.resume(saved)]
        self._has[[number for number in numbers if number < len(self._has)]] = True
        self._given.add(numbers)
        for covered in self._covered.values():
            covered.add(numbers)

    def _catch_up(self) -> None:
        back, self._back = self._back, None
        if back is not None:
            for frame in back():
                if frame.payloads or frame.results:  # it may come again, where a kill kept it from one of the files
                    self._taken_back.add((frame.index,))
                if self._take(frame) and not frame.payloads:
                    self._without_pixels.add((frame.index,))

    def _take(self, frame: Frame) -> bool:
        """False if the gatherer failed on it."""
        if frame.status.has_data:
            self._given.add((frame.index,))
        elif frame.payloads:
            frame = replace(frame, payloads=EMPTY, results=EMPTY)
        work = self._bench
        work.take(frame)
        revision = self._revisions.at(frame.index)
        work.hand(revision.options.of_processor(self._place))
        return self._pass_on(lambda: self._gatherer.take(work), frame)

    def _pass_on(self, give: Callable[[], Iterable[Update]], frame: Frame | None = None) -> bool:
        try:
            updates = list(give())
            for update in updates:
                self._covered[update.product].add(update.covers)
        except BaseException as error:
            self._tell(error, frame)
            return False
        if updates:
            self._emit(updates)
        return True

    def _pass_on_the_rest(self, end: ScanEnd) -> None:
        """One by one, as they are made: a volume may be larger than what there is room for at once."""
        try:
            for update in self._gatherer.finish(end):
                self._covered[update.product].add(update.covers)
                self._emit([update])
        except BaseException as error:
            self._tell(error, None)

    def _tell(self, error: BaseException, frame: Frame | None) -> None:
        self._told += 1
        if self._told <= MOST_TOLD:
            where = f"frame {frame.index}" if frame is not None else f"scan {self._scan}"
            self._trouble(f"{self.name}: {where}: {words(error)}")


class _Numbers:
    """A set of frame numbers."""

    def __init__(self) -> None:
        self._has = np.zeros(1024, bool)

    def add(self, numbers: Sequence[int] | NDArray[Any]) -> None:
        if len(numbers):
            highest = int(max(numbers))
            if highest >= len(self._has):
                self._has = np.concatenate([self._has, np.zeros(highest + 1, bool)])
            self._has[np.asarray(numbers, np.intp)] = True

    def __contains__(self, number: int) -> bool:
        return number < len(self._has) and bool(self._has[number])

    def without(self, other: "_Numbers") -> list[int]:
        mine = self._has.copy()
        length = min(len(mine), len(other._has))
        mine[:length] &= ~other._has[:length]
        return np.flatnonzero(mine).tolist()


def _listed(numbers: Sequence[int]) -> str:
    """The first few runs of frame numbers, in words."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    told = [str(first) if first == last else f"{first} to {last}" for first, last in runs[:MOST_TOLD]]
    return ", ".join(told) + (" ..." if len(runs) > MOST_TOLD else "")
