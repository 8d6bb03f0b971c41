"""The bounded queue between the source and the workers. Scan boundaries in it are barriers and are never dropped."""

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from stream.events import EMPTY, FRAME_BYTES, Frame, FrameStatus, ScanEnd, ScanStart

NUDGE_SECONDS = 0.005
"""How long small frames may gather before a sleeping thread looks at them. Waking a thread for each of 3000 frames a
second cost 70 µs of CPU per frame in the workers alone; and what is done to 15 of them in a row finds its code and data
in the caches, which the other threads have emptied meanwhile."""
LONGEST_PAUSE_S = 0.05
"""A thread that finds nothing looks less and less often: a slow detector shall not keep the machine awake."""
NUDGE_BYTES = 250_000
BATCH_BYTES = 1_000_000
"""A worker takes several small frames at once, but only one of a megapixel detector."""


@dataclass(slots=True)
class Ticket:
    """One item handed to a worker. `sequence` counts the frames of the run in order of arrival."""

    sequence: int
    item: ScanStart | Frame | ScanEnd
    nbytes: int = 0

    @property
    def boundary(self) -> bool:
        """True for the start and the end of a scan."""
        return not isinstance(self.item, Frame)


class Inbox:
    """Bounded by the bytes of its frames. `block` makes the source wait; `drop_oldest` empties the oldest frame.

    A dropped frame stays in the queue as a hole with status DROPPED, so that it is still accounted for.
    A boundary is handed out only when no worker has anything in hand, and nothing else until it is `done`.
    """

    def __init__(
        self, capacity_bytes: int, when_full: Literal["block", "drop_oldest"] = "block", workers: int = 1
    ) -> None:
        self._capacity = capacity_bytes
        self._when_full = when_full
        self._workers = workers
        self._items: deque[Ticket] = deque()
        self._droppable: deque[Ticket] = deque()
        self._nbytes = 0
        self._sequence = 0
        self._taken_bytes = 0
        self._in_hand = 0
        self._boundary_in_hand = False
        self._scan_open = False
        self._closed = False
        lock = self._lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)

    @property
    def fill(self) -> float:
        """0 empty ... 1 full."""
        return min(self._nbytes / self._capacity, 1.0)

    @property
    def taken(self) -> tuple[int, int]:
        """Frames that have come, and the bytes of their pixels as they came."""
        return self._sequence, max(self._taken_bytes - self._sequence * FRAME_BYTES, 0)

    def put(self, item: ScanStart | Frame | ScanEnd) -> None:
        """Append. Blocks while full (policy `block`); a single frame larger than the capacity is let in when empty."""
        with self._lock:
            if isinstance(item, Frame):
                nbytes = item.nbytes
                if self._nbytes + nbytes > self._capacity:
                    self._make_room(nbytes)
                ticket = Ticket(self._sequence, item, nbytes)
                self._sequence += 1
                self._nbytes += nbytes
                self._taken_bytes += nbytes
                if self._when_full == "drop_oldest" and item.payloads:
                    self._droppable.append(ticket)
            else:
                ticket = Ticket(self._sequence, item)
            self._items.append(ticket)
            if ticket.boundary or self._nbytes >= NUDGE_BYTES:
                self._filled.notify()

    def take(self, wanted: int = 1) -> list[Ticket]:
        """The next boundary, or some frames; empty once the inbox is closed and empty. Give them back to `done`.

        wanted: frames to be taken if they are there, however large.
        """
        with self._filled:
            pause = NUDGE_SECONDS
            while True:
                if self._items and not self._boundary_in_hand:
                    boundary = self._items[0].boundary
                    if not boundary or self._in_hand == 0:
                        break
                elif self._closed and not self._items and not self._boundary_in_hand:
                    return []
                self._filled.wait(pause if self._scan_open else None)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            if boundary:
                tickets = [self._items.popleft()]
                self._boundary_in_hand = True
                self._scan_open = isinstance(tickets[0].item, ScanStart)
            else:
                tickets = self._take_frames(wanted)
            self._in_hand += len(tickets)
            return tickets

    def done(self, tickets: list[Ticket]) -> None:
        """The worker has nothing of these tickets in hand any more."""
        with self._filled:
            self._in_hand -= len(tickets)
            if tickets[0].boundary:
                self._boundary_in_hand = False
            if self._in_hand == 0 and (
                self._closed or (self._items and self._items[0].boundary) or tickets[0].boundary
            ):
                self._filled.notify_all()

    def close(self) -> None:
        """Nothing more will be put: what is in the queue is still handed out. Also frees a blocked `put`."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def _take_frames(self, wanted: int) -> list[Ticket]:
        """This worker's share of what is there, up to the next boundary."""
        share = -(-len(self._items) // self._workers)
        tickets: list[Ticket] = []
        nbytes = 0
        while self._items and len(tickets) < share and not self._items[0].boundary:
            if len(tickets) >= wanted and nbytes + self._items[0].nbytes > BATCH_BYTES:
                break
            ticket = self._items.popleft()
            nbytes += ticket.nbytes
            tickets.append(ticket)
            if self._droppable and self._droppable[0] is ticket:
                self._droppable.popleft()
        self._nbytes -= nbytes
        self._emptied.notify()
        return tickets

    def _make_room(self, nbytes: int) -> None:
        while self._nbytes and self._nbytes + nbytes > self._capacity and not self._closed:
            if self._when_full == "block":
                self._filled.notify()
                self._emptied.wait()
            elif self._droppable:
                ticket = self._droppable.popleft()
                assert isinstance(ticket.item, Frame)
                hole = replace(
                    ticket.item,
                    payloads=EMPTY,
                    status=FrameStatus.DROPPED,
                    problem="given up because the inbox was full (run.when_full: drop_oldest)",
                )
                self._nbytes += hole.nbytes - ticket.nbytes
                ticket.item, ticket.nbytes = hole, hole.nbytes
            else:
                return
