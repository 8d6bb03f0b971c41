"""The monitor's socket, made to survive its clients: nothing they do blocks the sender or grows without a bound.

- A stuck or slow client: its queue holds `high_water_mark` messages, what follows is dropped for it alone.
- A flood of subscriptions: at most FLOOD_MESSAGES are looked at per round; beyond that, or beyond FLOOD_TOPICS
  different ones, the socket is closed and bound again: the memory and the connections of all clients are given back,
  and honest ones come again by themselves within a second.
- A flood of requests: REQUESTS_PER_ROUND are answered, the clients by turns; the others wait in the clients' memory.
- Connections without end: the same, as soon as file descriptors get scarce, because the files of the other sinks need
  them. Half-open connections end after two seconds.
- Messages from clients are at most `max_request_bytes` long: ZMQ closes the connection of one that sends more. Messages
  that never end are the `guard`'s business.
"""

import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from sinks.live.flood import Guard, port_of
from stream.errors import SinkFailed
from stream.wire.endpoint import any_port, needs_ipv6, words
from stream.wire.keys import load

Pattern: TypeAlias = Literal["pub", "rep", "push"]

FLOOD_MESSAGES = 1000
FLOOD_TOPICS = 64
REQUESTS_PER_ROUND = 200
HANDSHAKE_MS = 2000
SCARCE = 0.8
"""Share of the file descriptors allowed to this process from which on the clients are sent away."""
LINGER_MS = 200
DOMAIN = "inbeam"
TYPES = {"pub": zmq.XPUB, "rep": zmq.REP, "push": zmq.PUSH}


class Service:
    """A bound socket that gives messages away. `bind` in one thread, then everything else in one other."""

    def __init__(
        self,
        endpoint: str,
        pattern: Pattern,
        *,
        high_water_mark: int = 2,
        max_request_bytes: int = 1024,
        secret_key: Path | None = None,
        clients: Path | None = None,
    ) -> None:
        self.pattern = pattern
        self.address = endpoint
        """Where it is bound; with port 0 known after `bind`."""
        self.sent = 0
        self.dropped = 0
        """Messages that could not be given away: nobody there (push), or the socket is being bound again."""
        self.refused = 0
        """Requests that were not understood."""
        self.shed = 0
        """How often all clients were sent away because of a flood."""
        self.guard = Guard()
        self._port: int | None = None
        self._high_water_mark = high_water_mark
        self._max_request_bytes = max_request_bytes
        self._secret_key = secret_key
        self._clients = clients
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._socket: Any = None
        self._topics: set[bytes] = set()
        self._asked = False

    def bind(self) -> None:
        """Raises SinkFailed if the address is taken or cannot be had, or a key cannot be read."""
        if self._secret_key is not None and self._authenticator is None and self._clients is not None:
            authenticator = ThreadAuthenticator(self._context)
            authenticator.start()
            self._authenticator = authenticator
            authenticator.thread.name = "inbeam-monitor-curve"
            authenticator.configure_curve(domain=DOMAIN, location=str(self._clients))
        socket = self._configured()
        try:
            socket.bind(any_port(self.address))
        except zmq.ZMQError as error:
            socket.close(0)
            raise SinkFailed(
                f"the monitor cannot use {self.address}: {words(error)}. Another inbeam or program may have this "
                "port: stop it, or give this sink another `endpoint`, such as tcp://127.0.0.1:45455"
            ) from error
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._port = port_of(self.address)
        self._socket = socket

    def _configured(self) -> Any:
        keys = None
        if self._secret_key is not None:
            try:
                keys = load(self._secret_key)
            except (OSError, ValueError) as error:
                raise SinkFailed(
                    f"the monitor's curve_secret_key {self._secret_key} cannot be read: {error}"
                ) from error
        socket = self._context.socket(TYPES[self.pattern])
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.IPV6, int(needs_ipv6(self.address)))
        # ZMQ learns a little late what a client has read; with 2 it dropped one answer in 2700, and REQ waits for ever
        kept = max(self._high_water_mark, REQUESTS_PER_ROUND) if self.pattern == "rep" else self._high_water_mark
        socket.setsockopt(zmq.SNDHWM, kept)
        socket.setsockopt(zmq.RCVHWM, FLOOD_MESSAGES)
        socket.setsockopt(zmq.MAXMSGSIZE, self._max_request_bytes)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        # A domain alone authenticates nobody, but makes ZMQ refuse peers of ZMTP 1 and 2. Bytes that are no ZMTP pass
        # for such a peer, and libzmq 4.3.5 aborts the process (zmtp_engine.cpp:439) if the socket closes right then.
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN.encode())
        if keys is not None:
            socket.curve_publickey, socket.curve_secretkey = keys
            socket.curve_server = True
        return socket

    def watch(self) -> None:
        """End connections that send too much. Never blocks; takes about 0.1 ms."""
        if self._port is not None and self._socket is not None:
            self.guard.look(self._port)

    def wanted(self) -> bool:
        """Look at what the clients have sent; True if somebody would get a message now. Never blocks."""
        if self._socket is None:
            try:
                self.bind()
            except SinkFailed:
                return False
        if files_are_scarce():
            self._shed()
            return False
        if self.pattern == "pub":
            self._subscriptions()
            return bool(self._topics)
        if self.pattern == "rep":
            self._asked = self._asked or self._request()
            return self._asked
        return bool(self._socket.poll(0, zmq.POLLOUT))

    def send(self, parts: list[Any]) -> None:
        """Give the message to all subscribers, to all who have asked, or to one worker. Never blocks."""
        if self._socket is None:
            self.dropped += 1
            return
        served = 0
        while self.pattern != "rep" or self._asked:
            try:
                self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
                self.sent += 1
            except zmq.ZMQError:
                self.dropped += 1
            if self.pattern != "rep":
                return
            served += 1
            self._asked = served < REQUESTS_PER_ROUND and self._request()

    def close(self) -> None:
        """Free the port. What is on its way to a client has LINGER_MS to get there."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()

    def _subscriptions(self) -> None:
        for _ in range(FLOOD_MESSAGES):
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            if message[:1] == b"\x01":
                self._topics.add(message[1:])
            elif message[:1] == b"\x00":
                self._topics.discard(message[1:])
            if len(self._topics) > FLOOD_TOPICS:
                break
        self._shed()

    def _request(self) -> bool:
        """True if a valid request waits for its answer; others get their answer here."""
        for _ in range(REQUESTS_PER_ROUND):
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
                if request == [b"next"]:
                    return True
                self.refused += 1
                self._socket.send(b"Error: bad request %b" % b" ".join(request)[:100], zmq.NOBLOCK)
            except zmq.ZMQError:
                return False
        return False

    def _shed(self) -> None:
        """Close all connections; the next round binds again (the port is free as soon as ZMQ's thread is done)."""
        self.shed += 1
        self._socket.close(0)
        self._socket = None
        self._asked = False
        self._topics.clear()


def files_are_scarce() -> bool:
    """True if this process has SCARCE of its file descriptors open. Linux; False where it cannot be known."""
    try:
        import resource

        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return len(os.listdir("/proc/self/fd")) > SCARCE * allowed
    except (ImportError, OSError):
        return False
