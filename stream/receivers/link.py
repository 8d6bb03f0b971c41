"""What connects a receiver to whoever wants it, from another machine: it outlives the worker that has started it.

To the roster (`stream.receivers.roster`), each with the token: {"say": "hello", "host", "pid"} · {"say": "alive"},
every second · {"say": "told", "what"}: what became of a scan · {"say": "log", "level", "name", "text"} · {"say": "bye",
"trouble", "hopeless"}. To the receiver: {"say": "go", ...}: what it shall do · {"say": "leave"}: another does it ·
{"say": "alive", "stop"} · {"say": "bye"}: heard · {"say": "end"}: at once.
"""

import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from stream.errors import BadMessage
from stream.receivers import messages
from stream.wire.endpoint import needs_ipv6

ALIVE_S, POLL_MS = 1.0, 50
ANSWER_S = 30.0
"""How long to wait for an answer to hello."""
CUT_OFF_S, SILENT_S = 5.0, 60.0
"""How long to go on when the other end has closed the connection, and when it says nothing though it has not."""
LAST_WORDS_S = 10.0


class Link:
    """A thread with one socket, until `close`."""

    def __init__(self, endpoint: str, key: str, token: str) -> None:
        self._token = token
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # or this thread would wait for who is gone, and not see it
        self._socket.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
        self._socket.setsockopt(zmq.IPV6, int(needs_ipv6(endpoint)))
        self._socket.curve_serverkey = key.encode()
        self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._socket.connect(endpoint)
        self._outgoing: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._order: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._answered = False
        self._cut_off: float | None = None
        self._stop: Callable[[], None] = lambda: None
        self.stopped = threading.Event()
        self._closed = threading.Event()
        self._heard_out = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbeam-link", daemon=True)

    def hello(self) -> dict[str, Any] | None:
        """What to do; None: nothing, another does it, or nobody answers."""
        self._say("hello", host=socket.gethostname(), pid=os.getpid())
        self._thread.start()
        try:
            return self._order.get(timeout=ANSWER_S)
        except queue.Empty:
            return None

    def on_stop(self, stop: Callable[[], None]) -> None:
        """What to call when the receiver shall finish; at once if that has been said already."""
        self._stop = stop
        if self.stopped.is_set():
            stop()

    def tell(self, what: Mapping[str, Any]) -> None:
        """What became of a scan. From any thread."""
        self._say("told", what=dict(what))

    def log(self, level: int, name: str, text: str) -> None:
        """A line for the log of whoever wants us. From any thread."""
        self._say("log", level=level, name=name, text=text)

    def bye(self, trouble: str, *, hopeless: bool = False) -> None:
        """The last words; waits a while until they are heard. hopeless: starting again would not help."""
        self._say("bye", trouble=trouble, hopeless=hopeless)
        self._heard_out.wait(LAST_WORDS_S)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.disable_monitor()
        self._context.destroy(linger=0)

    def _say(self, say: str, **more: Any) -> None:
        self._outgoing.put(messages.packed(say, token=self._token, **more))

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        told = before = time.monotonic()
        quiet_s = 0.0
        while not self._closed.is_set():
            ready = dict(poller.poll(POLL_MS))
            now = time.monotonic()
            quiet_s += min(now - before, 1.0)  # while we are stopped ourselves nobody keeps us waiting
            before = now
            if self._socket in ready:
                quiet_s = 0.0
                self._hear(self._socket.recv_multipart())
            if self._monitor in ready:
                event = parse_monitor_message(self._monitor.recv_multipart())["event"]
                self._cut_off = now if event == zmq.EVENT_DISCONNECTED else None
            if self._answered and now - told >= ALIVE_S:
                told = now
                self._say("alive")
            while not self._outgoing.empty():
                self._socket.send_multipart(self._outgoing.get())
            cut_off = self._cut_off is not None and now - self._cut_off > CUT_OFF_S
            if (cut_off or quiet_s > SILENT_S) and not self._heard_out.is_set():
                self._order.put(None)
                self._halt()
                self._heard_out.set()

    def _hear(self, parts: list[bytes]) -> None:
        try:
            told, _ = messages.unpacked(parts)
        except BadMessage:
            return
        say = told["say"]
        if say == "go":
            self._answered = True
            self._order.put(told)
        elif say == "leave":
            self._order.put(None)
        elif say == "end":
            os._exit(1)
        elif say == "bye":
            self._heard_out.set()
        elif told.get("stop"):
            self._halt()

    def _halt(self) -> None:
        if not self.stopped.is_set():
            self.stopped.set()
            self._stop()


class Words(logging.Handler):
    """Passes on what is logged."""

    def __init__(self, link: Link, name: str) -> None:
        super().__init__(logging.WARNING)
        self._link, self._name = link, name

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._link.log(record.levelno, self._name, record.getMessage())
