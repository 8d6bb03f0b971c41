"""A detector's socket: PULL or SUB, connecting or bound, received without copying, reconnected by ZMQ itself.

CURVE, where the network is not trusted (it encrypts, and admits only who knows the right key):
1. make a pair of keys for each of both ends: `inbeam keys NAME`;
2. keep `*.key_secret` where it was made, carry the public `*.key` of the sending end here;
3. connecting: `secret_key: keys/inbeam.key_secret` and `server_key: keys/detector.key`;
4. bound (`bind: true`): `secret_key` alone, and the sender gets our public key as its server key;
5. DECTRIS detectors do not speak CURVE: put it between the beamline's forwarder and inbeam.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import zmq
import zmq.auth
from pydantic import Field, field_validator, model_validator
from zmq.utils.monitor import recv_monitor_message

from stream.errors import SourceLost
from stream.preflight import Known, Problem
from stream.registry import Options
from stream.wire.attached import Claim, described
from stream.wire.connection import WATCHED, Connection
from stream.wire.connection import Disturbance as Disturbance
from stream.wire.endpoint import any_port, check, needs_ipv6, taken, unknown_host
from stream.wire.keys import load
from stream.wire.limits import Limits, megabytes
from stream.wire.pace import Pace

Kind: TypeAlias = Literal["pull", "sub", "req"]
KINDS = {"pull": zmq.PULL, "sub": zmq.SUB, "req": zmq.REQ}
NEXT = b"next"
"""What a server is asked with that gives one message for each question."""
POLL_MS = 100
OTHERS_S = 2.0
"""How often the claim on the endpoint is tried again, if another process has it."""


class ConnectionOptions(Options):
    """Where messages come from, and how much of them is held before the pipeline takes them."""

    endpoint: str = Field(
        description="ZMQ address: tcp://host:port of the detector (of this machine with bind: true); IPv6 in brackets; "
        "tcp://eth1:0;host:port connects from that interface"
    )
    bind: bool = Field(False, description="Wait for senders at this address instead of connecting to it")
    high_water_mark: int = Field(
        128, ge=1, le=1_000_000, description="Messages that ZMQ holds for us; the detector buffers what follows"
    )
    max_message_mb: float = Field(
        1024.0, gt=0, le=16384, description="Largest message taken, MB (10^6 bytes); a 16M header with masks has 145"
    )
    server_key: Path | None = Field(None, description="CURVE: public certificate (*.key) of the sending end")
    secret_key: Path | None = Field(None, description="CURVE: our own certificate (*.key_secret)")

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        return check(value)

    @field_validator("server_key", "secret_key")
    @classmethod
    def _certificate(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                zmq.auth.load_certificate(value)
            except (OSError, ValueError) as error:
                raise ValueError(f"{value} is no CURVE certificate ({error}): make one with `inbeam keys`") from error
        return value

    @model_validator(mode="after")
    def _together(self) -> "ConnectionOptions":
        check(self.endpoint, listening=self.bind)
        if self.server_key is not None and (self.bind or self.secret_key is None):
            raise ValueError(
                "server_key goes with secret_key and without bind: see the docstring of stream.wire.socket"
            )
        if self.secret_key is not None and not self.bind and self.server_key is None:
            raise ValueError("secret_key without server_key: give the public certificate of the sending end too")
        if self.secret_key is not None and zmq.auth.load_certificate(self.secret_key)[1] is None:
            raise ValueError(f"secret_key {self.secret_key} holds no secret key: give the *.key_secret file")
        return self

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A name that nobody knows, or a port that another program has."""
        problem = taken(self.endpoint) if self.bind else unknown_host(self.endpoint)
        if problem:
            yield "endpoint", problem if self.bind else f"{problem}: correct it, or the machine's name server"

    @property
    def limits(self) -> Limits:
        """What one message may ask for."""
        return megabytes(self.max_message_mb)

    @property
    def kind(self) -> Kind:
        """Which socket."""
        return "pull"


class SocketOptions(ConnectionOptions):
    """Of a detector that pushes its messages."""

    socket: Literal["pull", "sub"] = Field(
        "pull", description="pull: the detector's PUSH; sub: a forwarder's PUB, which drops what is not taken in time"
    )
    monitor_key: str | None = Field(
        None, description="Reading of an image's user data that is the incident beam's, such as beam.i0"
    )
    grace_ms: float = Field(
        500.0,
        ge=0,
        description="How long images may come behind their end message, or before their start message, as those of "
        "several senders do, ms",
    )

    @property
    def kind(self) -> Kind:
        """As the YAML says."""
        return self.socket


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
