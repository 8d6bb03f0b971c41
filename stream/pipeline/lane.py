"""One sink with its bounded queue and its thread. A sink that fails takes nothing down but itself."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from stream.errors import InbeamError, SinkFailed
from stream.events import Frame, FrameStatus, ScanEnd, ScanStart
from stream.ledger import Stored
from stream.pipeline.inbox import LONGEST_PAUSE_S, NUDGE_BYTES, NUDGE_SECONDS
from stream.products import Product
from stream.roles import Counters, Sink

TICK_SECONDS = 0.1


@dataclass(slots=True)
class Opening:
    """A scan to open, and the answer of the sink."""

    scan: ScanStart
    products: Sequence[Product]
    answered: threading.Event = field(default_factory=threading.Event)
    stored: Stored | None = None


@dataclass(slots=True)
class Closing:
    """The end of a scan, and that the sink has dealt with it."""

    end: ScanEnd
    answered: threading.Event = field(default_factory=threading.Event)


Item: TypeAlias = Opening | Frame | Closing


class Outlet:
    """Feeds one sink from one thread, in order. Full: `put` blocks, which is how a slow disk reaches the detector."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        capacity_bytes: int,
        required: bool,
        counters: Callable[[], Counters],
        failed: Callable[["Outlet", Exception], None],
        refused: Callable[[Exception], None],
    ) -> None:
        """`failed`: the sink takes nothing more. `refused`: it goes on, but could not take all of a scan."""
        self.name = name
        self.required = required
        self.error: Exception | None = None
        self.keeps_frames = hasattr(sink, "path")
        self._complete: Stored | None = None
        self._sink = sink
        self._capacity = capacity_bytes
        self._counters = counters
        self._failed, self._refused = failed, refused
        self._items: deque[Item] = deque()
        self._nbytes = 0
        self._closed = False
        self._scan_open = False
        self._ticked = 0.0
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)
        self._thread = threading.Thread(target=self._run, name=f"inbeam-sink-{name}", daemon=True)
        self._thread.start()

    @property
    def fill(self) -> float:
        """0 empty ... 1 full."""
        return min(self._nbytes / self._capacity, 1.0)

    def open(self, scan: ScanStart, products: Sequence[Product]) -> Opening:
        """Ask the sink to start a scan; wait for `answered`."""
        opening = Opening(scan, products)
        self._append(opening)
        return opening

    def put(self, frames: Sequence[Frame]) -> None:
        """Queue frames; blocks while the queue is full. A sink that has failed takes nothing more."""
        with self._filled:
            while self._nbytes >= self._capacity and self.error is None:
                self._filled.notify()
                self._emptied.wait()
            if self.error is None:
                self._items.extend(frames)
                self._nbytes += sum(frame.nbytes for frame in frames)
                if self._nbytes >= NUDGE_BYTES:
                    self._filled.notify()

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

    def _append(self, item: Opening | Closing) -> None:
        with self._filled:
            self._items.append(item)
            self._filled.notify()

    def _take(self, pause: float) -> deque[Item]:
        """Everything that is there; waits a little if that is nothing. The room is free again once it is written."""
        with self._filled:
            if not self._items and not self._closed:
                self._filled.wait(pause if self._scan_open else TICK_SECONDS)
            items, self._items = self._items, deque()
            return items

    def _run(self) -> None:
        pause = NUDGE_SECONDS
        while not (self._closed and not self._items):
            items = self._take(pause)
            pause = NUDGE_SECONDS if items else min(2 * pause, LONGEST_PAUSE_S)
            while items:
                item = items.popleft()
                try:
                    if self.error is None:
                        self._handle(item)
                except BaseException as error:
                    self._give_up(error)
                finally:
                    self._finished(item)
            try:
                self._tick()
            except BaseException as error:
                self._give_up(error)
        try:
            self._sink.close()
        except BaseException as error:
            self._give_up(error)

    def _handle(self, item: Item) -> None:
        if isinstance(item, Frame):
            if self._complete is not None:
                self._tell_of_new(item, self._complete)
            self._sink.write(item)
            self._tick()
        elif isinstance(item, Opening):
            self._scan_open = True
            item.stored = self._sink.start(item.scan, item.products)
            self._complete = None if getattr(self._sink, "writing", True) else item.stored
        else:
            self._scan_open = False
            self._sink.finish(item.end)

    def _tell_of_new(self, frame: Frame, complete: Stored) -> None:
        """A file that was complete takes no more frames: those that have been recorded since must not go unseen."""
        index, states = frame.index, complete.states
        hole = index >= len(states) or states[index] in _HOLES
        if hole and frame.status.has_data:
            self._complete = None
            text = f"{getattr(self._sink, 'path', self.name)} was complete without frame {index}, which is there now"
            self._refused(
                SinkFailed(f"{text}: it is not taken; move the file away, and process the scan again to have all")
            )

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._ticked >= TICK_SECONDS and self.error is None:
            self._ticked = now
            self._sink.tick(self._counters())

    def _finished(self, item: Item) -> None:
        if isinstance(item, Frame):
            with self._filled:
                self._nbytes -= item.nbytes
                self._emptied.notify()
        else:
            item.answered.set()

    def _give_up(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error if isinstance(error, InbeamError) else _unexpected(self.name, error)
            with self._filled:
                self._emptied.notify_all()
            self._failed(self, self.error)


_HOLES = (FrameStatus.MISSING, FrameStatus.CORRUPT, FrameStatus.DROPPED)


def _unexpected(name: str, error: BaseException) -> InbeamError:
    wrapped = InbeamError(f"{name}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
