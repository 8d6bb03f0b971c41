"""What becomes of a socket's connection, in words: from the events of ZMQ's monitor to what the user is told, once."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import zmq

from stream.wire.endpoint import unknown_host

QUIET_S, LONGEST_QUIET_S = 10.0, 600.0
"""The same is not told again within this time, which doubles each time that it is told."""
PATIENCE_S = 2.0
"""A connection that is not there for so long is worth a word."""
RECONNECT_S = 0.5
SILENT_PEER_S = 1.0
"""A peer of ZMTP 1 or 2 makes no handshake that ZMQ tells of: its connection is believed after this time."""

UP = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED
LOST = zmq.EVENT_DISCONNECTED
COMING_BACK = zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_CONNECT_DELAYED
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
WATCHED = UP | LOST | COMING_BACK | REFUSED


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something about the connection, in words. refused: it will not mend by itself. costly: messages may be lost."""

    text: str
    refused: bool = False
    costly: bool = True


class Connection:
    """The connection of one socket. `now`: time of a monotonic clock, seconds."""

    def __init__(self, address: str, now: float, *, listening: bool) -> None:
        self.address = address
        self.trouble = ""
        """What is wrong now, in words, or "". Read from any thread."""
        self._listening = listening
        self._up: float | None = None
        self._good = False
        self._down_since = now
        self._lost_at: float | None = None
        self._spoken = False
        """The user has been told of the trouble."""
        self._told: dict[str, tuple[float, float]] = {}

    def news(self, events: Iterable[int], now: float) -> Iterator[Disturbance]:
        """What these events of the monitor, and the time that has passed, mean."""
        for event in events:
            if event & UP:
                self._up, self._lost_at = now if self._up is None else self._up, None
                if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    yield from self.good()
            elif event == LOST:
                yield from self._lose(now)
            elif event & COMING_BACK:
                self._lost_at = None
            elif event & REFUSED:
                text = f"{self.address} refused the handshake: check server_key and secret_key, and that it speaks ZMQ"
                self.trouble = text
                yield from self._tell(text, now, refused=True)
        if self._listening or self._good:
            return
        if self._up is not None and now - self._up > SILENT_PEER_S:
            yield from self.good()
        elif not self.trouble and now - self._down_since > PATIENCE_S:
            why = unknown_host(self.address) or "check host and port, and that the detector's stream is enabled"
            self.trouble, self._spoken = f"not connected to {self.address}: {why}", True
            yield Disturbance(self.trouble)

    def good(self) -> Iterator[Disturbance]:
        """A message has come, or the handshake was made."""
        self._good = True
        self.trouble, told, self._spoken = "", self._spoken, False
        if told:
            yield Disturbance(f"connected to {self.address}", costly=False)

    def overdue(self, now: float) -> bool:
        """True, once, if the connection was lost and ZMQ does not try to have it back.

        libzmq reconnects after a lost connection, but never after a message beyond MAXMSGSIZE or a failed handshake
        (session_base_t::engine_error, protocol_error; measured with 4.3.5).
        """
        if self._listening or self._lost_at is None or now - self._lost_at <= RECONNECT_S:
            return False
        self._lost_at = None
        return True

    def _lose(self, now: float) -> Iterator[Disturbance]:
        was_good, self._good, self._up, self._lost_at = self._good, False, None, now
        if was_good or self._listening:
            self._down_since = now
            text = f"the connection to {self.address} was lost: waiting for it to come back"
            self.trouble = "" if self._listening else text
            yield from self._tell(text, now)

    def _tell(self, text: str, now: float, *, refused: bool = False) -> Iterator[Disturbance]:
        due, quiet = self._told.get(text, (-math.inf, QUIET_S))
        if now >= due:
            self._spoken = not self._listening
            self._told[text] = now + quiet, min(2 * quiet, LONGEST_QUIET_S)
            yield Disturbance(text, refused)
