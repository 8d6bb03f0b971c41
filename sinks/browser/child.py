"""The process that serves the page, as the sink sees it: started, spoken to without waiting, started again if it dies.

It ends with us: its end of the socket is closed then, however we end. The listening socket is ours and only lent to
it, so that the address stays taken while it is started again.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sinks.browser.channel import Reader, framed, make_slot, put
from stream.events import Buffer

log = logging.getLogger("inbeam")
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
HEALTHY_S = 30.0
"""A child that lived so long is started again at once."""
FAREWELL_S = 1.0
READ_BYTES = 65536


class Child:
    """Used by one thread; nothing here blocks but `close`, and that for a second at most."""

    def __init__(self, listening: socket.socket, settings: Mapping[str, Any]) -> None:
        """settings: JSON-like, the first message that it gets."""
        self.starts = 0
        """How many processes there have been."""
        self.given = 0
        """How often this process was given something."""
        self._listening, self._settings = listening, settings
        self._slot = make_slot()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._reader = Reader()
        self._outgoing = bytearray()
        self._due = self._started = 0.0
        self._pause = SHORTEST_PAUSE_S
        self._spoken = False

    @property
    def pid(self) -> int | None:
        """Of the process that serves now."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process if it is not there and it is time to."""
        if self._process is not None or time.monotonic() < self._due:
            return
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            fds = (theirs.fileno(), self._listening.fileno(), self._slot)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sinks.browser.serve", *map(str, fds)],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **ONE_THREAD},
            )
        self._socket, self._reader, self._outgoing = ours, Reader(), bytearray()
        self._spoken, self.given = False, 0
        self._started = time.monotonic()
        self.starts += 1
        self.tell({"settings": dict(self._settings)})

    def poll(self) -> list[Any]:
        """What the child has said since; starts it again if it is gone. Its messages are dicts, else it is ended."""
        self.start()
        found: list[Any] = []
        if self._socket is None:
            return found
        self._flush()
        while self._socket is not None:
            try:
                data = self._socket.recv(READ_BYTES)
                if not data:
                    self._gone("has ended")
                    break
                found += self._reader.feed(data)
                self._spoken = True
            except BlockingIOError:
                break
            except (OSError, ValueError) as error:
                self._gone(f"cannot be understood ({error})")
        return [message for message in found if isinstance(message, dict)] if self._socket is not None else []

    def give(self, parts: Sequence[Buffer]) -> None:
        """Put something into the slot, once the child has said that it is ready, and has taken all that was given."""
        self.given += 1
        self.tell({"slot": put(self._slot, parts).lengths})

    def tell(self, message: Mapping[str, Any]) -> None:
        """A short message. Dropped if nobody is there."""
        if self._socket is not None:
            self._outgoing += framed(message)
            self._flush()

    def close(self, last: Mapping[str, Any]) -> None:
        """End the process; let it first tell its viewers the last counters, if it has come so far."""
        if self._socket is not None:
            if self._spoken:
                self.tell({"bye": dict(last)})
                self._wait(FAREWELL_S)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        os.close(self._slot)

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("the process of the page does not end: it is killed")

    def _flush(self) -> None:
        while self._outgoing and self._socket is not None:
            try:
                del self._outgoing[: self._socket.send(self._outgoing)]
            except BlockingIOError:
                return
            except OSError as error:
                self._gone(f"cannot be reached ({error.strerror})")

    def _gone(self, why: str) -> None:
        assert self._process is not None and self._socket is not None
        self._socket.close()
        self._socket = None
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._process = None
        now = time.monotonic()
        self._pause = SHORTEST_PAUSE_S if now - self._started > HEALTHY_S else min(2 * self._pause, LONGEST_PAUSE_S)
        self._due = now + self._pause
        log.warning("the process that serves the page %s (%s): it is started again in %.1f s", why, how, self._pause)


ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""It shall not spread over the cores that the workers use."""
