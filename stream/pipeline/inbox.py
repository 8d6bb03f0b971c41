"""The bounded queue between the source and the workers. Scan boundaries in it are barriers and are never dropped."""

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from stream.events import EMPTY, Frame, FrameStatus, ScanEnd, ScanStart


@dataclass(slots=True)
class Ticket:
    """One item handed to a worker. `sequence` counts the frames of the run in order of arrival."""

    sequence: int
    item: ScanStart | Frame | ScanEnd


class Inbox:
    """Bounded by the bytes of its frames. `block` makes the source wait; `drop_oldest` empties the oldest frame.

    A dropped frame stays in the queue as a hole with status DROPPED, so that it is still accounted for.
    A boundary is handed out only when no worker has anything in hand, and nothing else until it is `done`.
    """

    def __init__(self, capacity_bytes: int, when_full: Literal["block", "drop_oldest"] = "block") -> None:
        self._capacity = capacity_bytes
        self._when_full = when_full
        self._items: deque[Ticket] = deque()
        self._droppable: deque[Ticket] = deque()
        self._nbytes = 0
        self._sequence = 0
        self._in_hand = 0
        self._boundary_in_hand = False
        self._closed = False
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)

    @property
    def fill(self) -> float:
        """0 empty ... 1 full."""
        return min(self._nbytes / self._capacity, 1.0)

    def put(self, item: ScanStart | Frame | ScanEnd) -> None:
        """Append. Blocks while full (policy `block`); a single frame larger than the capacity is let in when empty."""
        frame = item if isinstance(item, Frame) else None
        with self._filled:
            if frame is not None:
                self._make_room(frame.nbytes)
            ticket = Ticket(self._sequence, item)
            if frame is not None:
                self._sequence += 1
                self._nbytes += frame.nbytes
                if self._when_full == "drop_oldest" and frame.payloads:
                    self._droppable.append(ticket)
            self._items.append(ticket)
            self._filled.notify()

    def get(self) -> Ticket | None:
        """The next item, or None once the inbox is closed and empty. Every ticket must be given back to `done`."""
        with self._filled:
            while True:
                if self._items and not self._boundary_in_hand:
                    boundary = not isinstance(self._items[0].item, Frame)
                    if not boundary or self._in_hand == 0:
                        break
                elif self._closed and not self._items and not self._boundary_in_hand:
                    return None
                self._filled.wait()
            ticket = self._items.popleft()
            self._in_hand += 1
            self._boundary_in_hand = boundary
            if isinstance(ticket.item, Frame):
                self._nbytes -= ticket.item.nbytes
                if self._droppable and self._droppable[0] is ticket:
                    self._droppable.popleft()
                self._emptied.notify()
            return ticket

    def done(self, ticket: Ticket) -> None:
        """The worker has nothing of this ticket in hand any more."""
        with self._filled:
            self._in_hand -= 1
            if not isinstance(ticket.item, Frame):
                self._boundary_in_hand = False
            if self._in_hand == 0:
                self._filled.notify_all()

    def close(self) -> None:
        """Nothing more will be put: what is in the queue is still handed out. Also frees a blocked `put`."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def _make_room(self, nbytes: int) -> None:
        while self._nbytes and self._nbytes + nbytes > self._capacity and not self._closed:
            if self._when_full == "block":
                self._emptied.wait()
            elif self._droppable:
                ticket = self._droppable.popleft()
                assert isinstance(ticket.item, Frame)
                self._nbytes -= ticket.item.nbytes
                ticket.item = replace(
                    ticket.item,
                    payloads=EMPTY,
                    status=FrameStatus.DROPPED,
                    problem="given up because the inbox was full (run.when_full: drop_oldest)",
                )
                self._nbytes += ticket.item.nbytes
            else:
                return
