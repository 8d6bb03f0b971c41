"""A detector that waits in the middle of its scan until a test has done what belongs there.

With a set rate the scan might be over before: on a busy machine compiling kernels alone takes longer.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.commands.replay import encoded
from stream.simulate.messages import Message
from stream.simulate.sender import Sender

LONGEST_S = 180.0


@contextmanager
def held_back(recorded: Path, endpoint: str, *frames: int) -> Iterator[dict[int, threading.Event]]:
    """Sends the recorded scan as stream2; gives what lets each of these frames go out, with all behind it."""
    gates = {frame: threading.Event() for frame in frames}

    def messages() -> Iterator[Message]:
        for message in encoded(str(recorded), "stream2", 1):
            if message.index in gates:
                assert gates[message.index].wait(LONGEST_S), f"nothing let frame {message.index} go"
            yield message

    def send() -> None:
        with Sender(endpoint) as sender:
            sender.send(messages())

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield gates
    finally:
        for gate in gates.values():
            gate.set()
        thread.join(LONGEST_S)
