"""From the order in which workers finish back to the order of frame numbers, and what that says of each number.

A frame is placed by its own number. A missing one is awaited for a bounded number of later frames and a bounded time,
then given up: it neither stalls nor shifts its successors. If it comes after all it is late, and patched in.
"""

import heapq
from dataclasses import replace

from stream.events import EMPTY, Frame, FrameStatus
from stream.ledger import Ledger


class Order:
    """The order stage of one scan. Not locked: its caller holds the lock of the lanes."""

    def __init__(self, ledger: Ledger, *, first_sequence: int, frames: int, seconds: float, max_bytes: int) -> None:
        self._ledger = ledger
        self._frames, self._seconds, self._max_bytes = frames, seconds, max_bytes
        self._done: dict[int, Frame | None] = {}
        self._again: set[int] = set()
        self._next_sequence = first_sequence
        self._next_index = 0
        self._held: dict[int, Frame] = {}
        self._numbers: list[int] = []
        self._repeats: dict[int, int] = {}
        self._held_bytes = 0
        self._held_since = 0.0
        self._early_bytes = 0

    @property
    def crowded(self) -> bool:
        """True if too much has been finished that came behind a frame which a slow worker still has in hand."""
        return self._early_bytes > self._max_bytes

    @property
    def given_up(self) -> int:
        """Every missing number below this one has been given up."""
        return self._next_index

    def push(self, sequence: int, frame: Frame | None, now: float, *, again: bool = False) -> list[Frame]:
        """A worker has finished (None: nothing to pass on). Returns what is now in order, for the sinks.

        now: seconds of a monotonic clock. again: an earlier process has stored this frame; it is passed on as it is,
        for the gatherers.
        """
        if again:
            self._again.add(sequence)
        if sequence != self._next_sequence and frame is not None:
            self._early_bytes += frame.nbytes
        self._done[sequence] = frame
        ready: list[Frame] = []
        while self._next_sequence in self._done:
            arrived = self._done.pop(self._next_sequence)
            if arrived is not None:
                if self._next_sequence != sequence:
                    self._early_bytes -= arrived.nbytes
                if self._next_sequence in self._again:
                    self._again.discard(self._next_sequence)
                    ready.append(arrived)
                else:
                    self._arrive(arrived, now, ready)
            self._next_sequence += 1
        return ready

    def tick(self, now: float) -> list[Frame]:
        """Give up what has been awaited for too long."""
        ready: list[Frame] = []
        if self._held and now - self._held_since >= self._seconds:
            self._give_up(now, ready)
        return ready

    def end(self) -> list[Frame]:
        """The scan is over: everything that is held, in order."""
        ready: list[Frame] = []
        while self._held:
            self._give_up(0.0, ready)
        return ready

    def _arrive(self, frame: Frame, now: float, ready: list[Frame]) -> None:
        self._step_over_known()
        index = frame.index
        before = self._ledger.status(index)
        if index in self._held or before in _STORED:
            self._repeat(frame, before, ready)
        elif before is not FrameStatus.MISSING:
            # A hole so far (corrupt, dropped or failed): a good copy fills it, a bad one changes nothing.
            if frame.status.has_data:
                self._release(replace(frame, status=FrameStatus.LATE), ready)
        elif index < self._next_index:
            late = frame.status is FrameStatus.RECEIVED
            self._release(replace(frame, status=FrameStatus.LATE) if late else frame, ready)
        elif index == self._next_index:
            self._release(frame, ready)
            self._advance(now, ready)
        else:
            self._hold(frame, now)
            while len(self._held) > self._frames or (self._held and self._held_bytes > self._max_bytes):
                self._give_up(now, ready)

    def _repeat(self, frame: Frame, before: FrameStatus, ready: list[Frame]) -> None:
        index = frame.index
        self._ledger.repeats += 1
        if index in self._held:
            if self._held[index].status.has_data:
                self._repeats[index] = self._repeats.get(index, 0) + 1
            elif frame.status.has_data:
                self._held_bytes += frame.nbytes - self._held[index].nbytes
                self._held[index] = frame
        elif before is FrameStatus.RECEIVED:
            ready.append(self._duplicate(frame))

    def _duplicate(self, frame: Frame) -> Frame:
        self._ledger.record(frame.index, FrameStatus.DUPLICATE)
        return replace(frame, payloads=EMPTY, results=EMPTY, status=FrameStatus.DUPLICATE)

    def _hold(self, frame: Frame, now: float) -> None:
        if not self._held:
            self._held_since = now
        self._held[frame.index] = frame
        self._held_bytes += frame.nbytes
        heapq.heappush(self._numbers, frame.index)

    def _give_up(self, now: float, ready: list[Frame]) -> None:
        self._next_index = self._numbers[0]
        self._advance(now, ready)

    def _advance(self, now: float, ready: list[Frame]) -> None:
        """Release held frames as long as their numbers follow."""
        while self._numbers:
            self._step_over_known()
            if self._numbers[0] != self._next_index:
                break
            frame = self._held.pop(heapq.heappop(self._numbers))
            self._held_bytes -= frame.nbytes
            self._release(frame, ready)
        self._held_since = now

    def _step_over_known(self) -> None:
        """Numbers that an earlier process stored are not waited for."""
        while self._ledger.status(self._next_index) is not FrameStatus.MISSING:
            self._next_index += 1

    def _release(self, frame: Frame, ready: list[Frame]) -> None:
        self._ledger.record(frame.index, frame.status)
        self._next_index = max(self._next_index, frame.index + 1)
        ready.append(frame)
        if self._repeats.pop(frame.index, 0) and frame.status is FrameStatus.RECEIVED:
            ready.append(self._duplicate(frame))


_STORED = (FrameStatus.RECEIVED, FrameStatus.DUPLICATE, FrameStatus.LATE)
