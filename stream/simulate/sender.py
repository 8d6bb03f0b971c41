"""Messages out of a PUSH socket, as a detector has one: bound, blocking when its buffer is full, at a chosen pace."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import zmq
import zmq.auth

from stream.errors import InbeamError
from stream.simulate.messages import Message
from stream.wire.endpoint import any_port, needs_ipv6, words
from stream.wire.keys import load

PORTS = {"stream2": 31001, "simplon": 9999}
BUFFER_BYTES = 128_000_000
"""What is kept for a slow reader before `send` blocks; a real detector control unit has some GB."""


@dataclass(slots=True)
class Sent:
    """What went out so far."""

    messages: int = 0
    images: int = 0
    scans: int = 0
    nbytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = self.images / self.seconds if self.seconds else 0.0
        return (
            f"sent {self.images} images in {self.messages} messages, {self.scans} scans, {self.nbytes / 1e6:.1f} MB "
            f"in {self.seconds:.2f} s ({rate:.0f} images/s)"
        )


class Sender:
    """One bound PUSH socket. Use as a context manager: it is always closed, within `linger_s`."""

    def __init__(
        self, endpoint: str, *, timeout_s: float = 60.0, linger_s: float = 10.0, secret_key: Path | None = None
    ) -> None:
        """`endpoint` may end in `:0` for a free port. `timeout_s`: longest wait for a reader, at first and later.

        secret_key: CURVE certificate (*.key_secret); readers then need the public half as their server_key.
        Raises InbeamError if it cannot be read.
        """
        try:
            keys = None if secret_key is None else load(secret_key)
        except (OSError, ValueError) as error:
            raise InbeamError(f"--secret-key {secret_key} is no CURVE certificate: {error}") from error
        self.timeout_s = timeout_s
        self.linger_s = linger_s
        self.sent = Sent()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndtimeo = max(1, round(timeout_s * 1000))
        self._socket.linger = round(linger_s * 1000)
        if keys is not None:
            self._socket.curve_publickey, self._socket.curve_secretkey = keys
            self._socket.curve_server = True
        self._wanted = endpoint
        self._bound = False

    def bind(self, largest_message: int = 0) -> str:
        """Bind and return the endpoint; its buffer holds as many messages of that size as BUFFER_BYTES allow.

        Raises InbeamError if the address is taken or no address at all.
        """
        self._socket.sndhwm = max(8, min(5000, BUFFER_BYTES // max(1, largest_message)))
        try:
            self._socket.setsockopt(zmq.IPV6, int(needs_ipv6(self._wanted)))
            self._socket.bind(any_port(self._wanted))
        except zmq.ZMQError as error:
            raise InbeamError(
                f"cannot send from {self._wanted}: {words(error)}; another detector or simulator may have the port: "
                "stop it, or choose with --bind tcp://127.0.0.1:PORT"
            ) from error
        self._bound = True
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0")

    def wait_for_reader(self) -> None:
        """Return as soon as somebody is connected. Raises InbeamError after the time-out."""
        if not self._socket.poll(round(self.timeout_s * 1000), zmq.POLLOUT):
            raise InbeamError(
                f"nobody connected to {self._wanted} within {self.timeout_s:g} s: start `inbeam run` with this "
                "endpoint, or wait longer with --timeout"
            )

    def send(
        self,
        messages: Iterable[Message],
        *,
        rate_hz: float | None = None,
        as_recorded: bool = False,
        said: Callable[[str], None] | None = None,
    ) -> Sent:
        """Send all of them; returns what went out in this and earlier calls.

        rate_hz: images per second, None as fast as the reader takes them. as_recorded: by `Message.at_s` instead.
        said: told when the socket is bound.
        Raises InbeamError if the reader does not take a message within the time-out.
        """
        stream = iter(messages)
        first = list(islice(stream, 2))
        if not self._bound:
            endpoint = self.bind(max((message.nbytes for message in first[-1:]), default=0))
            if said is not None:
                said(f"listening on {endpoint} (PUSH), waiting up to {self.timeout_s:g} s for a reader")
        self.wait_for_reader()
        for message in _paced(chain(first, stream), rate_hz, as_recorded, self.sent):
            self._send(message)
        return self.sent

    def _send(self, message: Message) -> None:
        try:
            self._socket.send_multipart(message.parts, copy=False)
        except zmq.Again:
            raise InbeamError(
                f"the reader of {self._wanted} took nothing for {self.timeout_s:g} s, after {self.sent.images} images: "
                "is it still running, and does it keep up?"
            ) from None
        self.sent.messages += 1
        self.sent.images += message.kind == "image"
        self.sent.scans += message.kind == "start"
        self.sent.nbytes += message.nbytes

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(abruptly=kind is not None)

    def close(self, *, abruptly: bool = False) -> None:
        """Free the socket; messages already taken from us still go out within `linger_s`, unless abruptly."""
        self._socket.close(linger=0 if abruptly else round(self.linger_s * 1000))
        self._context.term()


def _paced(messages: Iterable[Message], rate_hz: float | None, as_recorded: bool, sent: Sent) -> Iterator[Message]:
    """Yield each message when it is due. After a delay the next images follow faster, to make good 0.1 s at most."""
    begin, before = time.monotonic(), sent.seconds
    due = recorded = None
    for message in messages:
        if message.pause_s:
            _sleep_until(time.monotonic() + message.pause_s)
        if as_recorded:
            recorded = message.at_s if recorded is None else recorded
            _sleep_until(begin + message.at_s - recorded)
        elif rate_hz and message.kind == "image":
            period = 1.0 / rate_hz
            now = time.monotonic()
            due = now if due is None else max(due + period, now - 0.1)
            _sleep_until(due)
        yield message
        sent.seconds = before + time.monotonic() - begin


def _sleep_until(moment: float) -> None:
    """The clock is what is waited for: a detector has its pace, whatever else happens."""
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)
