"""Several receivers in one thread: messages from whichever has one, each receiver held up as long as it must wait."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import zmq

from stream.errors import SourceLost
from stream.wire.pace import Pace
from stream.wire.socket import POLL_MS, Disturbance, Message, Opened, Receiver

BURST = 32
"""Messages that are taken from one receiver before the next has its turn."""
AGAIN_S = 2.0
"""How often it is tried to open a socket that could not be opened."""


class Receivers:
    """Iterates over the messages of all of them until closed."""

    def __init__(self, receivers: Sequence[Receiver], *, claims: bool = True) -> None:
        """claims: tell if another process of this machine reads from the same detector."""
        self._claims = claims
        self._receivers = tuple(receivers)
        self._open: dict[Receiver, Opened] = {}
        self._held: set[Receiver] = set()
        self._closed = False
        self._poller = zmq.Poller()
        self._pace = Pace()

    @property
    def trouble(self) -> str:
        """What is wrong with the connections, in words, or "". From any thread."""
        return "; ".join(dict.fromkeys(each.trouble for each in self._receivers if each.trouble))

    def close(self) -> None:
        """Make the iteration end within about 100 ms. From any thread; never blocks."""
        self._closed = True

    def hold(self, receiver: Receiver) -> None:
        """Take nothing more from this one: ZMQ's queues, and then the detector, keep what comes."""
        if receiver in self._open and receiver not in self._held:
            self._held.add(receiver)
            self._poller.unregister(self._open[receiver].socket)

    def resume(self) -> None:
        """Take from all again."""
        for receiver in self._held:
            self._poller.register(self._open[receiver].socket, zmq.POLLIN)
        self._held.clear()

    @property
    def held(self) -> bool:
        """True if one is held up."""
        return bool(self._held)

    @property
    def all_held(self) -> bool:
        """True if nothing can come from any."""
        return bool(self._held) and len(self._held) == len(self._receivers)

    def __iter__(self) -> Iterator[tuple[Receiver, Message | Disturbance] | None]:
        """(which, message or disturbance); None about every 100 ms. Raises SourceLost if none can be opened."""
        context = zmq.Context()  # one for all: another thread for each connection would wake for every message
        with ExitStack() as stack:
            stack.callback(context.destroy, linger=0)
            looked = -POLL_MS / 1e3
            tried = -AGAIN_S
            while not self._closed:
                now = time.monotonic()
                if len(self._open) < len(self._receivers) and now - tried >= AGAIN_S:
                    tried = now
                    yield from self._open_more(stack, context)
                ready = self._poller.poll(0 if self._pace.gathering else POLL_MS)
                if not ready and self._pace.gathering:
                    time.sleep(self._pace.nap())
                for socket, _ in ready:
                    yield from self._burst(next(each for each in self._open.values() if each.socket is socket))
                if time.monotonic() - looked >= POLL_MS / 1e3:
                    looked = time.monotonic()
                    for receiver, opened in list(self._open.items()):
                        yield from ((receiver, each) for each in opened.look())
                    yield None

    def _burst(self, opened: Opened) -> Iterator[tuple[Receiver, Message | Disturbance]]:
        receiver = opened.receiver
        yield from ((receiver, each) for each in opened.good())
        for _ in range(BURST):
            if receiver in self._held or self._closed:
                return
            message = opened.take()
            if message is None:
                return
            self._pace.came(message.received)
            yield receiver, message

    def _open_more(
        self, stack: ExitStack, context: "zmq.Context[zmq.Socket[bytes]]"
    ) -> Iterator[tuple[Receiver, Disturbance]]:
        lost: SourceLost | None = None
        for receiver in self._receivers:
            if receiver in self._open:
                continue
            try:
                opened = stack.enter_context(receiver.opened(context))
            except SourceLost as error:
                lost = error
                yield receiver, Disturbance(f"{error}; the other receivers go on")
                continue
            alone = self._claims and all(each.receiver.address != receiver.address for each in self._open.values())
            self._open[receiver] = opened
            self._poller.register(opened.socket, zmq.POLLIN)
            if alone:
                yield from ((receiver, each) for each in opened.claimed_by_others())
        if lost is not None and not self._open:
            raise lost
