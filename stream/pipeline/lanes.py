"""The lanes of one run: those of the sinks, and before them those of the gatherers, whose updates the sinks take."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.config import RunOptions
from stream.events import Change, Frame, ScanEnd, ScanStart, Update
from stream.latency import Histogram
from stream.ledger import Stored
from stream.pipeline.entries import Closing, Opening
from stream.pipeline.figures import LaneFigures
from stream.pipeline.gathering import Gathering
from stream.pipeline.lane import Lane, Policy
from stream.pipeline.revisions import OptionSet, Revisions
from stream.products import Product
from stream.roles import Counters, Sink, Timed
from stream.work import Work


@dataclass(frozen=True, slots=True)
class Completed:
    """What became of a scan in the sinks: where they have it, in words, and the names of those that failed on it.

    files: of each sink, in their order; None where it has none, has failed, or has left alone what was there. there:
    those that were left alone.
    """

    end: ScanEnd
    kept: Sequence[str]
    failed: Sequence[str]
    files: Sequence[Path | None]
    there: Sequence[Path | None]


class Lanes:
    """All that leads from the order stage to the sinks. `close` ends every thread."""

    def __init__(
        self,
        options: RunOptions,
        *,
        retried: Collection[str],
        linked: Collection[str],
        counters: Callable[[], Counters],
        failed: Callable[[Lane, Exception], None],
    ) -> None:
        """`retried`, `linked`: see `Pipeline`. Called from the lanes' threads: `counters`, and `failed` when a sink
        takes nothing more."""
        self._options, self._linked, self._retried = options, linked, retried
        self._counters, self._failed = counters, failed
        self._sinks: list[Lane] = []
        self._gatherers: list[tuple[Gathering, Lane]] = []
        self._closings: list[Closing] = []

    def begin(self, sinks: Mapping[str, tuple[Sink, bool]], gatherings: Sequence[Gathering]) -> None:
        """A lane of its own for each; the first is at work, and asks for the counters, before the last is made."""
        for name, (sink, required) in sinks.items():
            self._sinks.append(self._lane(name, sink, _policy(sink, required), required))
        policy: Policy = "block" if self._options.gather_when_full == "block" else "give up"
        self._gatherers = [(each, self._lane(each.name, each, policy, False)) for each in gatherings]

    def _lane(self, name: str, sink: Sink, policy: Policy, required: bool) -> Lane:
        return Lane(
            name,
            sink,
            policy=policy,
            capacity_bytes=int(self._options.sink_mb * 1e6),
            required=required,
            retry=name in self._retried,
            counters=self._counters,
            failed=self._failed,
        )

    @property
    def fill(self) -> float:
        """Of the fullest sink: 0 empty ... 1 full."""
        return max((lane.fill for lane in self._sinks), default=0.0)

    @property
    def figures(self) -> tuple[LaneFigures, ...]:
        """How each sink and each gatherer keeps up."""
        return tuple(
            LaneFigures(lane.name, lane.fill, lane.waiting_s, lane.given_up, lane.error is not None)
            for lane in (*self._sinks, *(lane for _, lane in self._gatherers))
        )

    @property
    def visible(self) -> Histogram:
        """How long the frames took until they could be seen: of the sink that takes longest; empty where none knows."""
        found = [lane.sink.visible for lane in self._sinks if isinstance(lane.sink, Timed)]
        return max(found, key=lambda each: each.total_s, default=Histogram())

    def settle(self) -> None:
        """Wait for the sinks that may still fail at the end of the scan before, and must not."""
        for lane, closing in list(zip(self._sinks, self._closings, strict=False)):
            if lane.required and not lane.retry:
                closing.answered.wait()

    def open_gatherers(self, scan: ScanStart, bench: Callable[[], Work], options: OptionSet) -> tuple[Product, ...]:
        """Start every gatherer; the products that they declare."""
        for gathering, _ in self._gatherers:
            gathering.prepare(bench(), options)
        _answers([lane.open(scan, ()) for _, lane in self._gatherers])
        return tuple(product for gathering, _ in self._gatherers for product in gathering.products)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why gatherers cannot take the scan."""
        return tuple(gathering.refusal for gathering, _ in self._gatherers if gathering.refusal)

    def open(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """Start every sink, those that others link to first. What all files have of the scan; None: nobody has one."""
        openings: list[Opening] = []
        for first in (True, False):
            openings += _answers(
                [lane.open(scan, products) for lane in self._sinks if (lane.name in self._linked) is first]
            )
        found = [opening.stored for opening in openings if opening.stored is not None]
        return Stored.in_all(found) if found else None

    def use(self, revisions: Revisions) -> Sequence[Gathering]:
        """Give the gatherers the options of the scan; returns them."""
        gatherings = [gathering for gathering, _ in self._gatherers]
        for gathering in gatherings:
            gathering.use(revisions)
        return gatherings

    def put(self, frames: Sequence[Frame], fresh: Sequence[Frame]) -> None:
        """`frames` to every gatherer; to every sink those that no file has yet."""
        for _, lane in self._gatherers:
            lane.put(frames)
        if fresh:
            self.emit(fresh)

    def emit(self, items: Sequence[Frame | Update]) -> None:
        """To every sink. Gatherers give their updates so, from their lanes."""
        for lane in self._sinks:
            lane.put(items)

    def tell(self, change: Change) -> None:
        """A change of options, to every sink."""
        for lane in self._sinks:
            lane.tell(change)

    def finish_gatherers(self, end: ScanEnd) -> None:
        """The gatherers give the last of theirs."""
        for closing in [lane.end(end) for _, lane in self._gatherers]:
            closing.answered.wait()

    def given_up(self) -> Iterator[tuple[str, int]]:
        """Name and number of frames of every lane that could not keep up with the scan."""
        for lane in (*self._sinks, *(lane for _, lane in self._gatherers)):
            if lane.given_up:
                yield lane.name, lane.given_up

    def finish(self, end: ScanEnd) -> None:
        """The sinks complete the scan; `completed` says when they have."""
        self._closings = [lane.end(end) for lane in self._sinks]

    def completed(self) -> Completed | None:
        """The scan that every sink has completed, once."""
        closings = self._closings
        if not closings or not all(closing.answered.is_set() for closing in closings):
            return None
        self._closings = []
        failed = [lane.name for lane, closing in zip(self._sinks, closings, strict=True) if closing.failed]
        kept = [closing.kept for closing in closings if closing.kept]
        files, there = [closing.file for closing in closings], [closing.there for closing in closings]
        return Completed(closings[0].end, kept, failed, files, there)

    def close(self) -> None:
        """Everything queued is taken, every sink closed, every thread joined."""
        for lane in (*(lane for _, lane in self._gatherers), *self._sinks):
            lane.close()


def _policy(sink: Sink, required: bool) -> Policy:
    if sink.lane == "latest":
        return "latest"
    return "block" if required else "give up"


def _answers(openings: list[Opening]) -> list[Opening]:
    for opening in openings:
        opening.answered.wait()
    return openings
