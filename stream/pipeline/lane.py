"""One sink (or one gatherer) with its bounded queue and its thread. One that fails takes nothing down but itself.

What happens when it is slower than the frames is its policy. `block`: `put` waits, which is how a slow disk reaches the
detector. `give up`: a frame that finds no room is passed on as a hole. `latest`: only the newest frame, and the newest
piece of each product, is kept. Boundaries and changes are never given up.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal, TypeAlias

from stream.errors import InbeamError
from stream.events import EMPTY, Change, Frame, FrameStatus, ScanEnd, ScanStart, Update
from stream.pipeline.entries import Closing, Entry, Opening
from stream.pipeline.inbox import LONGEST_PAUSE_S, NUDGE_BYTES, NUDGE_SECONDS
from stream.products import Product
from stream.roles import Counters, Filing, Sink

TICK_SECONDS = 0.05
LATEST_SECONDS = 0.01
"""How often a lane of policy `latest` looks: what is shown, is shown up to a hundred times a second."""
Policy: TypeAlias = Literal["block", "give up", "latest"]


class Lane:
    """Feeds one sink from one thread, in order."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        policy: Policy,
        capacity_bytes: int,
        required: bool,
        retry: bool = False,
        counters: Callable[[], Counters],
        failed: Callable[["Lane", Exception], None],
    ) -> None:
        """`retry`: a sink that has failed is tried again with the next scan. `failed`: it takes nothing till then."""
        self.name = name
        self.required = required
        self.retry = retry
        self.policy = policy
        self.sink = sink
        self.error: Exception | None = None
        self.given_up = 0
        """Frames for which there was no room, of the running scan."""
        self._capacity = capacity_bytes
        self._counters = counters
        self._failed = failed
        self._entries: deque[Entry] = deque()
        self._in_hand: deque[Entry] = deque()
        """The first of them is with the sink just now."""
        self._newest: dict[tuple[object, ...], Frame | Update] = {}
        """Of policy `latest`: what waits behind the entries, one of each place."""
        self._nbytes = 0
        self._taken_bytes = 0
        """Of what the sink has taken, but whose room has not been given back: that is done for many small frames at
        once."""
        self._portion = min(NUDGE_BYTES, capacity_bytes // 8)
        self._closed = False
        self._scan_open = False
        self._left_alone = False
        self._ticked = self._counted = 0.0
        self._latest = Counters()
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)
        self._thread = threading.Thread(target=self._run, name=f"inbeam-{name}", daemon=True)
        self._thread.start()

    @property
    def fill(self) -> float:
        """0 empty ... 1 full."""
        return min(self._nbytes / self._capacity, 1.0)

    @property
    def waiting_s(self) -> float:
        """How long ago the oldest frame came that the sink has not taken yet, s; 0: it has all."""
        for queue in (self._in_hand, self._entries):
            with suppress(RuntimeError):  # the lane is just at it
                for entry in queue:
                    if isinstance(entry, Frame):
                        return max(time.time() - entry.received, 0.0)
        return 0.0

    def open(self, scan: ScanStart, products: Sequence[Product]) -> Opening:
        """Ask the sink to start a scan; wait for `answered`."""
        opening = Opening(scan, products)
        self._append(opening)
        return opening

    def put(self, items: Sequence[Frame | Update]) -> None:
        """Queue frames or updates; a sink that has failed takes nothing more."""
        with self._filled:
            if self.policy == "latest":
                self._replace(items)
                return
            while self._nbytes >= self._capacity and self.error is None and self.policy == "block":
                self._filled.notify()
                self._emptied.wait()
            if self.error is None:
                for item in items:
                    kept = self._fitting(item) if self.policy == "give up" else item
                    self._entries.append(kept)
                    self._nbytes += kept.nbytes
                if self._nbytes >= NUDGE_BYTES:
                    self._filled.notify()

    def tell(self, change: Change) -> None:
        """Queue a change of options; never waits."""
        self._append(change)

    def end(self, end: ScanEnd) -> Closing:
        """Queue the end of the scan; `answered` is set when the sink has completed it, or has failed."""
        closing = Closing(end)
        self._append(closing)
        return closing

    def close(self) -> None:
        """Finish what is queued, close the sink, and wait for its thread."""
        with self._filled:
            self._closed = True
            self._filled.notify()
        self._thread.join()

    def _append(self, entry: Opening | Change | Closing) -> None:
        with self._filled:
            self._entries.extend(self._newest.values())
            self._newest.clear()
            self._entries.append(entry)
            self._filled.notify()

    def _fitting(self, item: Frame | Update) -> Frame | Update:
        """The item, or the hole that it becomes if there is no room. Updates are small, and only a gatherer's own."""
        if self._nbytes < self._capacity or isinstance(item, Update) or not (item.payloads or item.results):
            return item
        self.given_up += 1
        problem = f"given up because {self.name} could not keep up"
        return replace(item, payloads=EMPTY, results=EMPTY, status=FrameStatus.DROPPED, problem=problem)

    def _replace(self, items: Sequence[Frame | Update]) -> None:
        """The newest frame and the newest update of each place take the place of those that wait."""
        if self.error is not None:
            return
        for item in items:
            if isinstance(item, Frame) and (not item.payloads or item.status is FrameStatus.LATE):
                continue  # a hole or an old frame is not what is newest
            key = _key(item)
            before = self._newest.pop(key, None)
            self._newest[key] = item
            self._nbytes += item.nbytes - (before.nbytes if before is not None else 0)
            while self._nbytes > self._capacity and len(self._newest) > 1:
                # the heaviest update, a map's cube: its images shall have no holes
                heaviest = max(self._newest, key=lambda each: (each != ("frame",), self._newest[each].nbytes))
                self._nbytes -= self._newest.pop(heaviest).nbytes

    def _take(self, pause: float) -> deque[Entry]:
        """Everything that is there; waits a little if that is nothing. The room is free again once it is written."""
        with self._filled:
            self._give_back()
            if not self._entries and not self._newest and not self._closed:
                self._filled.wait(pause if self._scan_open or self.policy == "latest" else TICK_SECONDS)
            entries, self._entries = self._entries, deque()
            entries.extend(self._newest.values())
            self._newest.clear()
            if self.policy == "latest":  # what is in hand must not take the room of what is newer
                self._nbytes = 0
            return entries

    def _run(self) -> None:
        latest = self.policy == "latest"
        pause = LATEST_SECONDS if latest else NUDGE_SECONDS
        while not (self._closed and not self._entries and not self._newest):
            entries = self._take(pause)
            if not latest:
                pause = NUDGE_SECONDS if entries else min(2 * pause, LONGEST_PAUSE_S)
            self._in_hand = entries
            while entries:
                entry = entries[0]
                try:
                    if self.retry and isinstance(entry, Opening):
                        self.error = None
                    if self.error is None:
                        self._handle(entry)
                except BaseException as error:  # SystemExit of a plug-in too: it must not end the thread in silence
                    self._give_up(error)
                finally:
                    self._finished(entry)
                    entries.popleft()
            try:
                self._tick()
            except BaseException as error:
                self._give_up(error)
        try:
            self.sink.close()
        except BaseException as error:
            self._give_up(error)

    def _handle(self, entry: Entry) -> None:
        if isinstance(entry, Opening):
            self._scan_open = True
            self.given_up = 0
            entry.stored = self.sink.start(entry.scan, entry.products)
            self._left_alone = isinstance(self.sink, Filing) and not self.sink.writing
        elif isinstance(entry, Closing):
            self._scan_open = False
            if self.policy == "latest":  # the end is shown with the last counters
                self._ticked = self._counted = 0.0
                self._tick()
            self.sink.finish(entry.end)
            if isinstance(self.sink, Filing):
                entry.kept = f"{self.sink.path}" + (" (already there, left alone)" if self._left_alone else "")
                entry.file, entry.there = (None, self.sink.path) if self._left_alone else (self.sink.path, None)
        else:
            self.sink.write(entry)
            self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        due = LATEST_SECONDS if self.policy == "latest" else TICK_SECONDS
        if now - self._ticked >= due and self.error is None:
            self._ticked = now
            if now - self._counted >= TICK_SECONDS:  # more often nobody reads them, and each time takes 0.1 ms
                self._counted, self._latest = now, self._counters()
            self.sink.tick(self._latest)

    def _finished(self, entry: Entry) -> None:
        if isinstance(entry, Frame | Update):
            if self.policy == "latest":
                return
            self._taken_bytes += entry.nbytes
            if self._taken_bytes > self._portion:
                with self._filled:
                    self._give_back()
        elif isinstance(entry, Opening | Closing):
            if isinstance(entry, Closing):
                entry.failed = self.error is not None
            entry.answered.set()

    def _give_back(self) -> None:
        """The room of what the sink has taken. The caller holds the lock."""
        if self._taken_bytes:
            self._nbytes -= self._taken_bytes
            self._taken_bytes = 0
            self._emptied.notify_all()

    def _give_up(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error if isinstance(error, InbeamError) else _unexpected(self.name, error)
            with self._filled:
                self._emptied.notify_all()
            self._failed(self, self.error)


def _key(item: Frame | Update) -> tuple[object, ...]:
    if isinstance(item, Frame):
        return ("frame",)
    places = tuple((name, piece.start, piece.values.shape) for name, piece in sorted(item.pieces.items()))
    return (item.product, item.afresh, places)


def _unexpected(name: str, error: BaseException) -> InbeamError:
    wrapped = InbeamError(f"{name}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
