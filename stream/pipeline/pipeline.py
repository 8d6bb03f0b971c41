"""Inbox, workers, order, lanes: one scan after the other through all of them.

A scan opens completely before its first frame is worked on (see `stream.pipeline.beginning`). It closes in the same
way: the boundary waits until no worker has anything in hand, and the sinks complete their files when the gatherers have
given the last of theirs.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from stream.config import RunOptions
from stream.events import EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.latency import RECEIVED_TO_VISIBLE
from stream.ledger import Ledger, Stored
from stream.pipeline.beginning import Beginning
from stream.pipeline.boundaries import Boundaries
from stream.pipeline.chain import Chain
from stream.pipeline.control import RunControl
from stream.pipeline.figures import Figures
from stream.pipeline.gathering import Gathering
from stream.pipeline.inbox import Inbox, Ticket
from stream.pipeline.known import Known
from stream.pipeline.lane import Lane
from stream.pipeline.lanes import Completed, Lanes
from stream.pipeline.order import Order
from stream.pipeline.report import Meter, Report, ScanReport, reach
from stream.pipeline.revisions import OptionSet
from stream.roles import Counters, Sink

MOST_NOTES = 100


class Pipeline:
    """Owns the threads between source and sinks. `put` is called from the source's thread only."""

    def __init__(
        self,
        chains: Sequence[Chain],
        sinks: Mapping[str, tuple[Sink, bool]],
        options: RunOptions,
        *,
        retried: Collection[str] = (),
        linked: Collection[str] = (),
        gatherings: Callable[["Pipeline"], Sequence[Gathering]] = lambda pipeline: (),
        control: RunControl | None = None,
        spare: Callable[[], Chain] = lambda: Chain([]),
        failed: Callable[[], None] = lambda: None,
        ended: Callable[[ScanReport, Completed], None] = lambda scan, completed: None,
        expired: Callable[[], object] = lambda: None,
    ) -> None:
        """`gatherings`: made with `emit` and `report` of this pipeline. `sinks`: name -> (sink, required). `retried`:
        those that are tried again with the next scan when they have failed. `linked`: those that are opened before the
        others, which link to them. `spare`: makes one more chain like the others. Called from any thread: `failed` when
        the run cannot go on, `ended` when every sink has completed a scan, `expired` when a silent scan has been ended.
        """
        self.report = Report()
        self.control = control or RunControl(OptionSet())
        self._chains, self._options = chains, options
        self._failed, self._ended, self._expired = failed, ended, expired
        self._inbox = Inbox(int(options.inbox_mb * 1e6), options.when_full, len(chains))
        self._meter = Meter()
        self._ordering = threading.Condition(threading.Lock())
        self._broken = False
        self._halted = False
        """True once a sink has failed without which the run is not worth while: no further scan is taken."""
        self._ledger = Ledger(None)
        self._order: Order | None = None
        self._scan: ScanStart | None = None
        self._known: Known | None = None
        """Of frames that the files had already; None: they had none."""
        self._boundaries = Boundaries(options.scan_timeout_s, time.monotonic())
        self._notes: list[str] = []
        self._ending: ScanReport | None = None
        self._putting = threading.Lock()
        self._stopping = threading.Event()
        self._lanes = Lanes(options, retried=retried, linked=linked, counters=self.counters, failed=self._sink_failed)
        self._beginning = Beginning(
            chains,
            self._lanes,
            self.control,
            spare=spare,
            refused=self._processor_failed,
            trouble=self.report.trouble,
        )
        self.emit = self._lanes.emit
        """Pass what a gatherer gives on to every sink. Called from the gatherers' lanes."""
        self._lanes.begin(sinks, gatherings(self))
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
                self.control.came(item.index)
            elif isinstance(item, ScanStart):
                self.control.begin(item.uid)
            else:
                self.control.ended(item.scan)
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
        self._lanes.close()
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
                sink_fill=self._lanes.fill,
            )
        )

    def figures(self) -> Figures:
        """The same and more, of the whole run, for who watches over it for weeks."""
        found, open_ledger = self.report.frames, self._ledger if self._order is not None else None
        if open_ledger is not None:
            counters = self.counters()
            for status, count in open_ledger.counts().items():
                found[status] += counters.missing if status is FrameStatus.MISSING else count
        frames, nbytes = self._inbox.taken
        return Figures(
            frames=found,
            received=frames,
            received_bytes=nbytes,
            unusable=self.report.notes,
            scans=self.scans,
            inbox_fill=self._inbox.fill,
            lanes=self._lanes.figures,
            latencies={**self._meter.latencies, RECEIVED_TO_VISIBLE: self._lanes.visible},
        )

    def _work(self, chain: Chain) -> None:
        while tickets := self._inbox.take(chain.at_once):
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
        if self._order is None:  # the scan was not taken
            return
        known = self._known
        finished: list[tuple[int, Frame | None, bool]] = []
        for ticket, after in zip_longest(tickets, tickets[1:]):
            assert isinstance(ticket.item, Frame)
            following = after.item if after is not None and isinstance(after.item, Frame) else None
            again = known is not None and known.has(ticket.item)
            wanted = known is None or not again or known.wants(ticket.item)
            done = chain.process(ticket.item, following) if wanted else None
            finished.append((ticket.sequence, done, again and wanted))
        with self._ordering:
            if self._order is not None:
                now = time.monotonic()
                push = self._order.push
                self._emit([ready for seq, frame, again in finished for ready in push(seq, frame, now, again=again)])
                self._ordering.notify_all()
                # The worker with the frame that all others wait for is never among those that wait here.
                while self._order.crowded and not self._broken:
                    self._ordering.wait()

    def _open(self, scan: ScanStart, sequence: int) -> None:
        self._lanes.settle()
        if self._halted:
            self.report.trouble(f"scan {scan.name} was not taken: a sink that is required had failed before")
            return
        stored, self._known = self._beginning.open(scan)
        with self._ordering:
            woken = self._scan is not None and self._scan.uid == scan.uid and stored is None
            self._ledger = Ledger(scan.expected, Stored(self._ledger.states()) if woken else stored)
            self._scan = scan
            self._order = Order(
                self._ledger,
                first_sequence=sequence,
                frames=self._options.reorder_frames,
                seconds=self._options.reorder_ms / 1e3,
                max_bytes=int(self._options.sink_mb * 1e6),
            )
        self._meter.begin(already=int(stored.states.astype(bool).sum()) if stored else 0)

    def _close(self, end: ScanEnd) -> None:
        if self._order is None or self._scan is None:
            return
        with self._ordering:
            self._emit(self._order.end())
            self._order = None
        if end.status in (EndStatus.STOPPED, EndStatus.SILENT) and self._ledger.whole:
            end = replace(end, status=EndStatus.COMPLETE)  # only the end message is missing
        if end.status.open_ended:
            self._ledger.announced = None
        elif end.announced is not None:
            self._ledger.announced = max(end.announced, self._ledger.announced or 0)
        end = replace(end, expected=self._ledger.expected, counts=self._ledger.counts(), latencies=self._meter.of_scan)
        self._lanes.finish_gatherers(end)
        for problem in dict.fromkeys(each for chain in self._chains for each in chain.finish(end)):
            self._processor_failed(problem)
        self.control.closed(end.scan)
        for name, count in self._lanes.given_up():
            self.report.trouble(f"{name} could not keep up: {count} frames were given up there")
        how_far = reach(end.status, self._ledger.highest, end.announced) if self._scan.part is None else ""
        end = replace(end, notes=(*end.notes, *filter(None, [how_far]), *self._notes)[:MOST_NOTES])
        self._notes = []
        with self._ordering:
            self._report_ended()
            self._ending = ScanReport.of(self._scan, end, highest=self._ledger.highest, repeats=self._ledger.repeats)
            self.report.add(self._ending)
            self._lanes.finish(end)

    def _emit(self, frames: Sequence[Frame]) -> None:
        """In frame order to every gatherer and every sink. The caller holds the ordering lock."""
        if not frames:
            return
        known = self._known
        fresh = frames if known is None else [frame for frame in frames if not known.has(frame)]
        if fresh:
            self._meter.finish(fresh)
        for frame in fresh:
            if frame.status in _PROBLEMS:
                self.report.first_problem(frame)
        self._lanes.put(frames, fresh)

    def _tick(self) -> None:
        while not self._stopping.wait(0.1):
            with self._ordering:
                if self._order is not None:
                    self._emit(self._order.tick(time.monotonic()))
                self._report_ended()
            self._expire()

    def _report_ended(self) -> None:
        """Tell once that every sink has completed the last scan. The caller holds the ordering lock, or is alone."""
        completed = self._lanes.completed()
        if completed is not None and self._ending is not None:
            self.report.tell(self._ending, completed.kept, completed.failed)
            self._ended(self._ending, completed)

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

    def _sink_failed(self, lane: Lane, error: Exception) -> None:
        if lane.retry:
            self.report.sink_failed(lane.name, error, "next scan")
            return
        self.report.sink_failed(lane.name, error, "stop" if lane.required else "left out")
        if lane.required:
            self._halted = True
            self._failed()

    def _run_failed(self, error: BaseException) -> None:
        self.report.run_failed(error)
        with self._ordering:
            self._broken = True
            self._ordering.notify_all()
        self._failed()


_PROBLEMS = (FrameStatus.FAILED, FrameStatus.CORRUPT)
