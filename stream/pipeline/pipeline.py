"""Inbox, workers, order, outlets: one scan after the other through all of them.

A scan opens completely (every processor prepared, every sink's file laid out) before its first frame is worked on, so
that a sink that cannot write is noticed while the detector still holds the frames, and a resumed file can say what it
already has. It closes in the same way: the boundary waits until no worker has anything in hand.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from stream.config import RunOptions
from stream.events import Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.ledger import Ledger, Stored
from stream.pipeline.boundaries import Boundaries
from stream.pipeline.chain import Chain
from stream.pipeline.inbox import Inbox, Ticket
from stream.pipeline.lane import Closing, Opening, Outlet
from stream.pipeline.order import Order
from stream.pipeline.report import Meter, Report, ScanReport, reach
from stream.roles import Counters, Sink

MOST_NOTES = 100


class Pipeline:
    """Owns the threads between source and sinks. `put` is called from the source's thread only."""

    def __init__(
        self,
        chains: Sequence[Chain],
        gather: Chain,
        sinks: Mapping[str, tuple[Sink, bool]],
        options: RunOptions,
        *,
        failed: Callable[[], None] = lambda: None,
        ended: Callable[[ScanEnd], None] = lambda end: None,
        expired: Callable[[], object] = lambda: None,
    ) -> None:
        """`sinks`: name -> (sink, required). Called from any thread: `failed` when the run cannot go on, `ended` when
        every sink has completed a scan, `expired` when a silent scan has been ended."""
        self.report = Report()
        self._chains, self._gather, self._options = chains, gather, options
        self._failed, self._ended, self._expired = failed, ended, expired
        self._inbox = Inbox(int(options.inbox_mb * 1e6), options.when_full, len(chains))
        self._meter = Meter()
        self._ordering = threading.Condition(threading.Lock())
        self._broken = False
        self._ledger = Ledger(None)
        self._order: Order | None = None
        self._scan: ScanStart | None = None
        self._stored: Stored | None = None
        self._boundaries = Boundaries(options.scan_timeout_s, time.monotonic())
        self._notes: list[str] = []
        self._closings: list[Closing] = []
        self._putting = threading.Lock()
        self._stopping = threading.Event()
        self._outlets = [
            Outlet(
                name,
                sink,
                capacity_bytes=int(options.sink_mb * 1e6),
                required=required,
                counters=self.counters,
                failed=self._sink_failed,
                refused=self.report.run_failed,
            )
            for name, (sink, required) in sinks.items()
        ]
        self._workers = [
            threading.Thread(target=self._work, args=(chain,), name=f"inbeam-worker-{number}", daemon=True)
            for number, chain in enumerate(chains)
        ]
        self._clock = threading.Thread(target=self._tick, name="inbeam-clock", daemon=True)
        for thread in (*self._workers, self._clock):
            thread.start()

    def put(self, event: Event) -> None:
        """Take one event from the source; blocks while the inbox is full."""
        if isinstance(event, Note):
            self._note(event.text, harmless=event.harmless)
            return
        with self._putting:
            items, note = self._boundaries.take(event)
            if note:
                self._note(note)
            self._put(items)
            self._boundaries.heard(time.monotonic())

    def _put(self, items: Sequence[ScanStart | Frame | ScanEnd]) -> None:
        for item in items:
            if isinstance(item, Frame):
                self._meter.received += 1
            self._inbox.put(item)

    @property
    def scans(self) -> int:
        """Scans that have ended, however."""
        return self._boundaries.ended

    @property
    def open_scan(self) -> str | None:
        """uid of the scan that the source has begun and not ended."""
        return self._boundaries.open

    def close(self) -> Report:
        """No more events: everything accepted is finished, every sink closed, every thread joined."""
        self._inbox.close()
        for worker in self._workers:
            worker.join()
        self._stopping.set()
        self._clock.join()
        for outlet in self._outlets:
            outlet.close()
        self._report_ended()
        return self.report

    def counters(self) -> Counters:
        """A snapshot for progress lines and monitors."""
        ledger, scan, order = self._ledger, self._scan, self._order
        counts = ledger.counts()
        arrived = sum(number for status, number in counts.items() if status is not FrameStatus.MISSING)
        lost = max(order.given_up - arrived, 0) if order is not None else counts[FrameStatus.MISSING]
        return self._meter.snapshot(
            Counters(
                scan=scan.name if scan else "",
                expected=ledger.announced,
                received=self._meter.received,
                missing=lost,
                duplicate=ledger.repeats,
                late=counts[FrameStatus.LATE],
                corrupt=counts[FrameStatus.CORRUPT],
                failed=counts[FrameStatus.FAILED],
                dropped=counts[FrameStatus.DROPPED],
                bad_messages=self.report.notes,
                inbox_fill=self._inbox.fill,
                sink_fill=max((outlet.fill for outlet in self._outlets), default=0.0),
            )
        )

    def _work(self, chain: Chain) -> None:
        while tickets := self._inbox.take():
            try:
                first = tickets[0]
                if isinstance(first.item, ScanStart):
                    self._open(first.item, first.sequence)
                elif isinstance(first.item, ScanEnd):
                    self._close(first.item)
                else:
                    self._process(chain, tickets)
            except BaseException as error:
                self._run_failed(error)
            finally:
                self._inbox.done(tickets)

    def _process(self, chain: Chain, tickets: Sequence[Ticket]) -> None:
        finished: list[tuple[int, Frame | None]] = []
        for ticket in tickets:
            assert isinstance(ticket.item, Frame)
            stored = self._stored is not None and self._stored.has(ticket.item.index)
            finished.append((ticket.sequence, None if stored else chain.process(ticket.item)))
        with self._ordering:
            if self._order is not None:
                now = time.monotonic()
                self._emit([ready for seq, frame in finished for ready in self._order.push(seq, frame, now)])
                self._ordering.notify_all()
                # The worker with the frame that all others wait for is never among those that wait here.
                while self._order.crowded and not self._broken:
                    self._ordering.wait()

    def _open(self, scan: ScanStart, sequence: int) -> None:
        products, *_ = [chain.start(scan) for chain in self._chains]
        products += self._gather.start(scan)
        for chain in (self._chains[0], self._gather):
            if chain.refusal:
                self._processor_failed(f"{chain.refusal} (the frames are kept, marked as failed)")
        openings = [outlet.open(scan, products) for outlet in self._outlets]
        for opening in openings:
            opening.answered.wait()
        self._stored = self._stored_before(openings)
        with self._ordering:
            woken = self._scan is not None and self._scan.uid == scan.uid and self._stored is None
            self._ledger = Ledger(scan.expected, Stored(self._ledger.states()) if woken else self._stored)
            self._scan = scan
            self._order = Order(
                self._ledger,
                first_sequence=sequence,
                frames=self._options.reorder_frames,
                seconds=self._options.reorder_ms / 1e3,
                max_bytes=int(self._options.sink_mb * 1e6),
            )
        self._meter.begin(already=int(self._stored.states.astype(bool).sum()) if self._stored else 0)

    def _stored_before(self, openings: Sequence[Opening]) -> Stored | None:
        """What need not be processed again. A new file beside one that is complete already (the same recorded scan
        with other settings, or with one more sink) lacks every frame; a sink without a file lacks none."""
        found = [opening.stored for opening in openings]
        if all(stored is None for stored in found):
            return None
        lacking = any(
            outlet.keeps_frames and outlet.error is None and stored is None
            for outlet, stored in zip(self._outlets, found, strict=True)
        )
        return Stored.nothing() if lacking else Stored.in_all([stored for stored in found if stored is not None])

    def _close(self, end: ScanEnd) -> None:
        if self._order is None or self._scan is None:
            return
        with self._ordering:
            self._emit(self._order.end())
            self._order = None
        if end.status.open_ended:
            self._ledger.announced = None
        elif end.announced is not None:
            self._ledger.announced = max(end.announced, self._ledger.announced or 0)
        end = replace(end, expected=self._ledger.expected, counts=self._ledger.counts())
        for problem in dict.fromkeys(each for chain in (*self._chains, self._gather) for each in chain.finish(end)):
            self._processor_failed(problem)
        how_far = reach(end.status, self._ledger.highest, end.announced)
        end = replace(end, notes=(*end.notes, *filter(None, [how_far]), *self._notes)[:MOST_NOTES])
        self._notes = []
        self._report_ended()
        self._closings = [outlet.end(end) for outlet in self._outlets]
        self.report.add(ScanReport.of(self._scan, end, highest=self._ledger.highest, repeats=self._ledger.repeats))

    def _emit(self, frames: Sequence[Frame]) -> None:
        """In frame order to the gathering processors and to every sink. The caller holds the ordering lock."""
        if not frames:
            return
        if not self._gather.empty:
            frames = [self._gathered(frame) for frame in frames]
        self._meter.finish(frames)
        for frame in frames:
            if frame.status in (FrameStatus.FAILED, FrameStatus.CORRUPT):
                self.report.first_problem(frame)
        for outlet in self._outlets:
            outlet.put(frames)

    def _gathered(self, frame: Frame) -> Frame:
        """Behind the gathering processors, which may fail on a frame that the order stage has let through."""
        found = self._gather.process(frame)
        if found.status is not frame.status:
            self._ledger.record(found.index, found.status)
        return found

    def _tick(self) -> None:
        while not self._stopping.wait(0.1):
            with self._ordering:
                if self._order is not None:
                    self._emit(self._order.tick(time.monotonic()))
                self._report_ended()
            self._expire()

    def _report_ended(self) -> None:
        """Tell once that every sink has completed the last scan."""
        closings = self._closings
        if closings and all(closing.answered.is_set() for closing in closings):
            self._closings = []
            self._ended(closings[0].end)

    def _expire(self) -> None:
        """Close a scan of which nothing has been heard for too long. A source that is busy putting is not silent."""
        if not self._putting.acquire(blocking=False):
            return
        try:
            silent = self._boundaries.fall_asleep(time.monotonic())
            if silent is not None:
                end, text = silent
                self._note(text, harmless=True)  # what it cost is in the ledger
                self._put([end])
        finally:
            self._putting.release()
        if silent is not None:
            self._expired()

    def _note(self, text: str, *, harmless: bool = False) -> None:
        self.report.note(text, harmless=harmless)
        if len(self._notes) < MOST_NOTES:
            self._notes.append(text)

    def _processor_failed(self, text: str) -> None:
        self.report.processor_failed(text)
        if len(self._notes) < MOST_NOTES:
            self._notes.append(text)

    def _sink_failed(self, outlet: Outlet, error: Exception) -> None:
        self.report.sink_failed(outlet.name, error, required=outlet.required)
        if outlet.required:
            self._failed()

    def _run_failed(self, error: BaseException) -> None:
        self.report.run_failed(error)
        with self._ordering:
            self._broken = True
            self._ordering.notify_all()
        self._failed()
