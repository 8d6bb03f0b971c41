"""Makes one scan of what several receivers get: tells all of its start, and of its end when the numbers are complete.

Each receiver says which frame numbers it has. A scan ends when all that were announced are there, whoever has them;
or, once its end message (or the next scan's start) has come, when nothing of it has come for `patience_s`.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq

from stream.errors import BadMessage
from stream.events import Array, EndStatus
from stream.receivers import messages
from stream.wire.endpoint import any_port, needs_ipv6
from stream.wire.limits import NUMBER_MAX

log = logging.getLogger("inbeam.stream")
POLL_MS = 50
MOST_REMEMBERED = 64


@dataclass(slots=True)
class Running:
    """The scan that is open. seen: one byte for each frame number."""

    uid: str
    expected: int | None
    message: list[bytes]
    heard: float
    seen: bytearray = field(default_factory=bytearray)
    count: int = 0
    status: EndStatus | None = None
    """Its end message has come, and says this."""
    followed: bool = False
    """The start of another scan has come."""

    def take(self, numbers: Array) -> None:
        """These frames have come somewhere."""
        if len(numbers):
            need = int(numbers.max()) + 1
            if need > NUMBER_MAX:
                raise BadMessage("a frame number out of all proportion")
            if need > len(self.seen):
                self.seen.extend(bytes(max(need, 2 * len(self.seen), 4096) - len(self.seen)))
            view = np.frombuffer(self.seen, np.uint8)
            fresh = np.unique(numbers)
            self.count += int((view[fresh] == 0).sum())
            view[fresh] = 1

    @property
    def whole(self) -> bool:
        """True if all that were announced are there."""
        return self.expected is not None and self.count >= self.expected


class Coordinator:
    """A thread with one socket, until `close`."""

    def __init__(self, endpoint: str, patience_s: float, keys: tuple[bytes, bytes] | None = None) -> None:
        """keys: a pair of CURVE's; only who has been told the public half is heard. Raises zmq.ZMQError."""
        self._patience_s = patience_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a receiver that was started again takes its own place
        self._socket.setsockopt(zmq.IPV6, int(needs_ipv6(endpoint)))
        if keys is not None:
            self._socket.curve_publickey, self._socket.curve_secretkey = keys
            self._socket.curve_server = True
        self._socket.bind(any_port(endpoint))
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._receivers: set[bytes] = set()
        self.running: Running | None = None
        self._finished: dict[str, EndStatus] = {}
        self._took_part: dict[str, set[int]] = {}
        self._gave: dict[int, float] = {}
        self._processes: dict[bytes, Any] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbeam-coordinator", daemon=True)
        self._thread.start()

    def took_part(self, uid: str) -> frozenset[int]:
        """The numbers of the receivers that know of a scan: each has a file of it, and will say so."""
        return frozenset(self._took_part.get(uid, ()))

    def gave_at(self, number: int) -> float:
        """When a receiver last told of frames, s of a monotonic clock; 0 if it never has."""
        return self._gave.get(number, 0.0)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _run(self) -> None:
        while not self._closed.is_set():
            if self._socket.poll(POLL_MS):
                who, *parts = self._socket.recv_multipart()
                try:
                    self._hear(who, *messages.unpacked(parts))
                except (BadMessage, ValueError, TypeError, KeyError, IndexError) as error:
                    log.warning("the coordinator got what it cannot read: %s", error)
            self._look(time.monotonic())

    def _hear(self, who: bytes, told: dict[str, Any], parts: Sequence[bytes]) -> None:
        say, uid, running = told["say"], told.get("uid"), self.running
        if say == "hello":
            self._receivers.add(who)
            self._forget(who, told)
            if running is not None:
                self._tell_start(who, running)
        elif say == "start":
            self._begin(who, told, parts)
        elif running is not None and say == "next":
            running.followed = True
        elif running is not None and uid == running.uid:
            if say == "got":
                running.take(np.frombuffer(parts[0], np.uint32))
                running.heard = self._gave[number_of(who)] = time.monotonic()
            elif say == "end":
                running.status = EndStatus.DISARMED if told.get("disarmed") else EndStatus.COMPLETE

    def _forget(self, who: bytes, told: Mapping[str, Any]) -> None:
        """A receiver that was started again goes on with what its journal has. Of other scans that are over it may have
        a file, but completes it no more: whoever waits for it need not."""
        process, before = told.get("process"), self._processes.get(who)
        self._processes[who] = process
        if before is not None and process != before:
            for uid in self._finished.keys() - {told.get("resumes")}:
                self._took_part[uid].discard(number_of(who))

    def _begin(self, who: bytes, told: dict[str, Any], parts: Sequence[bytes]) -> None:
        messages.header_of(told, parts)
        uid, expected = told["uid"], told.get("expected")
        if not isinstance(uid, str) or not (expected is None or type(expected) is int):
            raise BadMessage("a start without its uid")
        if uid in self._finished:  # a receiver that was started again goes on with what is over
            self._send(who, messages.packed("finish", uid=uid, status=self._finished[uid].value))
            return
        if self.running is not None:
            if self.running.uid == uid:
                return
            self._finish(self.running)
        message = messages.packed("start", *parts, **{key: told[key] for key in ("uid", "expected", "parts")})
        self.running = Running(uid, expected, message, time.monotonic())
        self._took_part[uid] = {number_of(who)}
        for each in self._receivers - {who}:
            self._tell_start(each, self.running)

    def _look(self, now: float) -> None:
        running = self.running
        if running is None:
            return
        over = running.status is not None or running.followed
        quiet = now - running.heard >= self._patience_s
        if (running.whole and (over or quiet)) or (over and quiet):
            self._finish(running)

    def _finish(self, running: Running) -> None:
        self.running = None
        status = running.status or (EndStatus.COMPLETE if running.whole else EndStatus.ABORTED)
        if running.whole:
            status = EndStatus.COMPLETE
        self._finished[running.uid] = status
        while len(self._finished) > MOST_REMEMBERED:
            uid = next(iter(self._finished))
            del self._finished[uid], self._took_part[uid]
        for each in self._receivers:
            self._send(each, messages.packed("finish", uid=running.uid, status=status.value))

    def _tell_start(self, who: bytes, running: Running) -> None:
        self._took_part[running.uid].add(number_of(who))
        self._send(who, running.message)

    def _send(self, who: bytes, message: list[bytes]) -> None:
        self._socket.send_multipart([who, *message])


def identity(number: int) -> bytes:
    """What a receiver is called at the coordinator's socket."""
    return f"receiver-{number}".encode()


def number_of(who: bytes) -> int:
    """The number in it."""
    return int(who.rpartition(b"-")[2])
