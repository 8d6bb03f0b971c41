"""Where receivers of other machines report: each is told what it shall do, and heard as long as it lives.

A receiver is expected under a token, which whoever starts it hands to it. The first process that comes with the token
gets the configuration; another with the same token is sent away, so that no number is ever two processes: Dask starts
a task again when it only believes that its worker is gone. See `stream.receivers.link` for what is said.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import zmq

from stream.errors import BadMessage
from stream.receivers import messages
from stream.wire.endpoint import any_port, needs_ipv6

log = logging.getLogger("inbeam.stream")
POLL_MS = 50


@dataclass(slots=True)
class Seat:
    """One process that is expected. order: what it shall do; peer: who has come; heard: when something came of it last,
    s of a monotonic clock; left: a second one was sent away; bye: its last words, once they have come."""

    order: Mapping[str, Any]
    said: Callable[[Mapping[str, Any]], None]
    heard: float
    peer: bytes | None = None
    host: str = ""
    pid: int = 0
    left: bool = False
    stopping: bool = False
    bye: Mapping[str, Any] | None = None


class Roster:
    """A thread with one socket, until `close`. Only who has been told the public key is heard."""

    def __init__(self, endpoint: str, keys: tuple[bytes, bytes]) -> None:
        """Raises zmq.ZMQError."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # who was cut off comes back under the same name
        self._socket.setsockopt(zmq.IPV6, int(needs_ipv6(endpoint)))
        self._socket.curve_publickey, self._socket.curve_secretkey = keys
        self._socket.curve_server = True
        self._socket.bind(any_port(endpoint))
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._seats: dict[str, Seat] = {}
        self._outgoing: queue.SimpleQueue[tuple[bytes, list[bytes]]] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbeam-roster", daemon=True)
        self._thread.start()

    def expect(self, token: str, order: Mapping[str, Any], said: Callable[[Mapping[str, Any]], None]) -> Seat:
        """A seat for whoever comes with this token. said: called with what it tells, from the thread of the roster."""
        seat = self._seats[token] = Seat(order, said, time.monotonic())
        return seat

    def withdraw(self, token: str) -> None:
        """Who comes with this token from now on is sent away."""
        self._seats.pop(token, None)

    def stop(self, seat: Seat) -> None:
        """It shall finish what it has. It is told again with every sign of life."""
        seat.stopping = True
        if seat.peer is not None:
            self._outgoing.put((seat.peer, messages.packed("alive", stop=True)))

    def end(self, seat: Seat) -> None:
        """It shall end at once."""
        if seat.peer is not None and seat.bye is None:
            self._outgoing.put((seat.peer, messages.packed("end")))

    def close(self) -> None:
        """End the thread, when what was to be sent is sent."""
        self._closed.set()
        self._thread.join()
        self._context.destroy(linger=POLL_MS)

    def _run(self) -> None:
        while not self._closed.is_set():
            if self._socket.poll(POLL_MS):
                who, *parts = self._socket.recv_multipart()
                try:
                    told, _ = messages.unpacked(parts)
                    self._hear(who, told)
                except (BadMessage, KeyError, TypeError, ValueError) as error:
                    log.warning("the roster of the receivers got what it cannot read: %s", error)
            self._send()
        self._send()

    def _send(self) -> None:
        while not self._outgoing.empty():
            who, message = self._outgoing.get()
            self._socket.send_multipart([who, *message])

    def _hear(self, who: bytes, told: Mapping[str, Any]) -> None:
        seat = self._seats.get(str(told["token"]))
        if told["say"] == "hello":
            if seat is None or seat.peer not in (None, who):
                if seat is not None:
                    seat.left = True
                self._outgoing.put((who, messages.packed("leave")))
                return
            seat.host, seat.pid, seat.peer, seat.heard = str(told["host"]), int(told["pid"]), who, time.monotonic()
            self._outgoing.put((who, messages.packed("go", **seat.order)))
            return
        if seat is None or seat.peer != who:
            return
        seat.heard = time.monotonic()
        if told["say"] == "alive":
            self._outgoing.put((who, messages.packed("alive", stop=seat.stopping)))
        elif told["say"] == "told":
            seat.said(dict(told["what"]))
        elif told["say"] == "log":
            log.log(int(told["level"]), "%s: %s", told["name"], told["text"])
        elif told["say"] == "bye":
            seat.said({"trouble": str(told["trouble"])})
            seat.bye = told
            self._outgoing.put((who, messages.packed("bye")))
