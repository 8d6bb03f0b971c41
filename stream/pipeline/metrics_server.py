"""A door for Prometheus: GET /metrics, and nothing else. A run must not suffer from who knocks.

One connection after the other, in one thread, each within `DEADLINE_S`, few in a second: whatever is sent, and by how
many, costs the run next to nothing. Nothing of a request reaches further than its first line and `Host`, which is
checked against DNS rebinding where only this machine is let in.
"""

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable

from stream.errors import ConfigError
from stream.listening import is_loopback, listen, parts

log = logging.getLogger("inbeam")
DEADLINE_S = 1.0
PAUSE_S = 0.02
"""Between two connections: fifty a second, whoever asks."""
MOST_BYTES = 8192
KIND = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Answers with what `text` gives, until `close`."""

    def __init__(self, address: str, text: Callable[[], bytes], *, deadline_s: float = DEADLINE_S) -> None:
        """Raises ValueError if that is no address."""
        self._address, self._text, self._deadline_s = address, text, deadline_s
        self._host, port = parts(address)
        self._place = (self._host, port)
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="inbeam-metrics", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Listen. Raises ConfigError."""
        try:
            self._socket = listen(*self._place)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError([("run.metrics", f"cannot listen at {self._address}: {reason}")]) from error
        log.info("metrics at http://%s/metrics", self._address if ":" in self._address else f"127.0.0.1:{self.port}")
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        assert self._socket is not None
        self._socket.settimeout(0.1)
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # too many open files, or a client that has gone already
                self._closed.wait(PAUSE_S)
                continue
            with connection, contextlib.suppress(OSError):
                self._answer(connection)
            self._closed.wait(PAUSE_S)

    def _answer(self, connection: socket.socket) -> None:
        until = time.monotonic() + self._deadline_s
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = until - time.monotonic()
            if left <= 0 or len(head) >= MOST_BYTES:
                _send(connection, until, "400 Bad Request", b"a request of one line and a few headers, please\n")
                return
            connection.settimeout(left)
            came = connection.recv(MOST_BYTES - len(head))
            if not came:
                return
            head += came
        status, body = self._reply(head)
        _send(connection, until, status, b"" if head.startswith(b"HEAD ") else body, len(body))

    def _reply(self, head: bytes) -> tuple[str, bytes]:
        lines = head.decode("latin-1").splitlines()
        method, _, rest = lines[0].partition(" ")
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", b"GET /metrics\n"
        hosts = [line.partition(":")[2].strip() for line in lines[1:] if line.lower().startswith("host:")]
        if is_loopback(self._host) and not all(_is_here(host) for host in hosts):
            return "403 Forbidden", b"this machine only: ask for 127.0.0.1\n"
        if rest.split(" ")[0].split("?")[0] != "/metrics":
            return "404 Not Found", b"GET /metrics\n"
        try:
            return "200 OK", self._text()
        except Exception:  # the run must not end because of who asks how it is
            log.exception("the figures for Prometheus cannot be given")
            return "500 Internal Server Error", b"see the log of the run\n"


def _send(connection: socket.socket, until: float, status: str, body: bytes, length: int | None = None) -> None:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {KIND}\r\nContent-Length: {len(body) if length is None else length}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    connection.settimeout(max(until - time.monotonic(), 0.1))
    connection.sendall(head.encode() + body)


def _is_here(host: str) -> bool:
    """True if a Host header names this machine as only this machine does."""
    return is_loopback(re.sub(r":\d+$", "", host).strip("[]"))
