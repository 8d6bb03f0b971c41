"""A detector's socket: PULL or SUB, connecting or bound, received without copying, reconnected by ZMQ itself."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import zmq
import zmq.auth
from zmq.utils.monitor import recv_monitor_message

from stream.errors import SourceLost
from stream.wire.attached import Claim, described
from stream.wire.connection import WATCHED, Connection
from stream.wire.connection import Disturbance as Disturbance
from stream.wire.endpoint import any_port, needs_ipv6
from stream.wire.keys import load
from stream.wire.pace import Pace
from stream.wire.socket_options import ConnectionOptions

KINDS = {"pull": zmq.PULL, "sub": zmq.SUB, "req": zmq.REQ}
NEXT = b"next"
"""What a server is asked with that gives one message for each question."""
POLL_MS = 100
OTHERS_S = 2.0
"""How often the claim on the endpoint is tried again, if another process has it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One ZMQ message: views of its parts, and the Unix time at which it was taken from the socket, s."""

    parts: list[memoryview]
    received: float


class Receiver:
    """Opens the socket and iterates over its messages until closed."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._allowed = options.limits.parts
        self._closed = threading.Event()
        self.address = options.endpoint
        """Where the socket is bound, once it is: a port of * is known then."""
        self.ready = threading.Event()
        """Set as soon as the socket is connecting or bound."""
        self._connection = Connection(self.address, time.monotonic(), listening=options.bind)
        self._claim: Claim | None = None
        self._claimed = 0.0

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, in words, or "". From any thread."""
        return self._connection.trouble

    def close(self) -> None:
        """Make the iteration end within about 100 ms. From any thread; never blocks."""
        self._closed.set()

    def __iter__(self) -> Iterator[Message | Disturbance | None]:
        """Messages; disturbances; None after 100 ms of silence. Raises SourceLost if it cannot be opened."""
        with self.opened() as opened:
            yield from self._claimed_by_others()
            yield from self._receive(opened.socket, opened.monitor)

    @contextmanager
    def opened(self, shared: "zmq.Context[zmq.Socket[bytes]] | None" = None) -> Iterator["Opened"]:
        """The socket, within the context. shared: a context of ZMQ, whose owner ends it. Raises SourceLost."""
        context = shared or zmq.Context()
        try:
            with self._open(context) as socket:
                monitor = socket.get_monitor_socket()
                self._connection = Connection(self.address, time.monotonic(), listening=self._options.bind)
                self.ready.set()
                try:
                    yield Opened(socket, monitor, self)
                finally:
                    if self._claim is not None:
                        self._claim.close()
                    socket.disable_monitor()
                    monitor.close(0)
        finally:
            if shared is None:
                context.destroy(linger=0)

    def _open(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        options = self._options
        socket = context.socket(KINDS[options.kind])
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, POLL_MS)
        socket.setsockopt(zmq.RCVHWM, options.high_water_mark)
        socket.setsockopt(zmq.MAXMSGSIZE, options.limits.message_bytes)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 30), (zmq.TCP_KEEPALIVE_INTVL, 10)):
            socket.setsockopt(option, value)  # a detector that loses power sends no FIN
        socket.setsockopt(zmq.IPV6, int(needs_ipv6(options.endpoint)))
        if options.kind == "sub":
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        if options.kind == "req":
            socket.setsockopt(zmq.REQ_RELAXED, 1)  # a question that nobody answered may be asked again
        if options.secret_key is not None:
            socket.curve_publickey, socket.curve_secretkey = load(options.secret_key)
            if options.server_key is not None:
                socket.curve_serverkey, _ = zmq.auth.load_certificate(options.server_key)
            else:
                socket.curve_server = True
        # before it connects: a detector that listens answers at once, and events come only to who waits for them
        socket.get_monitor_socket(WATCHED)
        try:
            if options.bind:
                socket.bind(any_port(options.endpoint))
                self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
            else:
                socket.connect(options.endpoint)
        except zmq.ZMQError as error:
            socket.close(0)
            verb = "bind" if options.bind else "connect"
            raise SourceLost(
                f"cannot {verb} to {options.endpoint}: {error.strerror}; check the address"
                + (" and that no other program has this port" if options.bind else "")
            ) from error
        return socket

    def _receive(
        self, socket: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]"
    ) -> Iterator[Message | Disturbance | None]:
        asking = self._options.kind == "req"
        asked = not asking
        pace = Pace()
        while not self._closed.is_set():
            try:
                if not asked:
                    socket.send(NEXT, zmq.NOBLOCK)
                    asked = True
                frame = socket.recv(zmq.NOBLOCK if pace.gathering else 0, copy=False)
            except zmq.Again:
                if pace.gathering:
                    time.sleep(pace.nap())
                    continue
                for disturbance in self._look(socket, monitor):
                    asked = asked and not (asking and disturbance.costly)  # the question is lost with the connection
                    yield disturbance
                yield None
                continue
            asked = not asking
            if self.trouble:
                yield from self._connection.good()
            message = self._message(frame, socket)
            if not asking:
                pace.came(message.received)
            yield message

    def _message(self, frame: zmq.Frame, socket: "zmq.Socket[bytes]") -> Message:
        """The whole of the message that begins with this part."""
        received = time.time()
        parts = [frame.buffer]
        while frame.more:
            frame = socket.recv(copy=False)
            if len(parts) <= self._allowed:  # one more than allowed, so that the decoder says so
                parts.append(frame.buffer)
        return Message(parts, received)

    def _look(self, socket: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]") -> Iterator[Disturbance]:
        """What has happened to the connection, and who else reads."""
        now = time.monotonic()
        events = []
        while monitor.poll(0):
            events.append(int(recv_monitor_message(monitor)["event"]))
        yield from self._connection.news(events, now)
        if self._connection.overdue(now):
            with suppress(zmq.ZMQError):
                socket.disconnect(self._options.endpoint)
            socket.connect(self._options.endpoint)
        if self._claim is not None and now - self._claimed > OTHERS_S:
            self._claimed = now
            self._claim.make()  # the process that had it may have ended

    def _claimed_by_others(self) -> Iterator[Disturbance]:
        """Who else on this machine takes messages of this detector."""
        if self._options.kind == "pull" and not self._options.bind:
            self._claim, self._claimed = Claim(self._options.endpoint), time.monotonic()
            other = self._claim.make()
            if other is not None:
                yield Disturbance(described(other, self._options.endpoint))


@dataclass(frozen=True, slots=True)
class Opened:
    """The open socket of a Receiver, for who looks after several of them in one thread."""

    socket: "zmq.Socket[bytes]"
    monitor: "zmq.Socket[bytes]"
    receiver: Receiver

    def take(self) -> Message | None:
        """The next message; None if none is there."""
        try:
            frame = self.socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        return self.receiver._message(frame, self.socket)

    def look(self) -> Iterator[Disturbance]:
        """What has happened to the connection."""
        return self.receiver._look(self.socket, self.monitor)

    def good(self) -> Iterator[Disturbance]:
        """Messages come: if there was trouble, it is over."""
        return self.receiver._connection.good() if self.receiver.trouble else iter(())

    def claimed_by_others(self) -> Iterator[Disturbance]:
        """Who else on this machine takes messages of this detector."""
        return self.receiver._claimed_by_others()
