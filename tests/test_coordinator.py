"""The coordinator of several receivers: whose file of a scan is to be waited for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from commands import wait_for
from dectris_messages import stream2_start

from stream.receivers import messages
from stream.receivers.coordinator import Coordinator, identity

HEADER = ((stream2_start(),),)


class Receiver:
    """A link to the coordinator, as that of a process."""

    def __init__(self, coordinator: Coordinator, context: zmq.Context[zmq.Socket[bytes]], number: int) -> None:
        self._link = context.socket(zmq.DEALER)
        self._link.setsockopt(zmq.LINGER, 0)
        self._link.setsockopt(zmq.IDENTITY, identity(number))
        self._link.connect(coordinator.endpoint)

    def hello(self, process: int, resumes: str | None = None) -> None:
        self.say(messages.packed("hello", process=process, resumes=resumes))

    def say(self, message: list[bytes]) -> None:
        self._link.send_multipart(message)

    def hears(self, say: str) -> None:
        assert self._link.poll(10_000), say
        assert messages.unpacked(self._link.recv_multipart())[0]["say"] == say


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    made = Coordinator(f"ipc://{tmp_path}/c", 0.05)
    yield made
    made.close()


@pytest.fixture
def pair(coordinator: Coordinator) -> Iterator[tuple[Receiver, Receiver]]:
    """Two that have taken part in scan A, which is over."""
    context = zmq.Context()
    one, two = (Receiver(coordinator, context, number) for number in range(2))
    two.hello(20)
    one.hello(10)
    one.say(messages.start("A", 1, HEADER))
    two.hears("start")
    one.say(messages.packed("got", np.array([0], np.uint32).tobytes(), uid="A"))
    one.say(messages.packed("end", uid="A", disarmed=False))
    one.hears("finish")
    two.hears("finish")
    assert coordinator.took_part("A") == {0, 1}
    yield one, two
    context.destroy(linger=0)


def test_a_receiver_that_is_started_again_and_knows_nothing_of_a_scan_is_not_waited_for(
    coordinator: Coordinator, pair: tuple[Receiver, Receiver]
) -> None:
    pair[1].hello(21)
    wait_for(lambda: coordinator.took_part("A") == {0}, "that receiver 1 is not waited for")


@pytest.mark.parametrize(("process", "resumes"), [(21, "A"), (20, None)], ids=["goes on with it", "was never gone"])
def test_a_receiver_that_will_complete_its_file_is_waited_for(
    coordinator: Coordinator, pair: tuple[Receiver, Receiver], process: int, resumes: str | None
) -> None:
    one, two = pair
    two.hello(process, resumes)
    two.say(messages.start("A", 1, HEADER))
    two.hears("finish")
    one.say(messages.start("B", 1, HEADER))
    wait_for(lambda: coordinator.took_part("B") == {0, 1}, "the next scan")
    assert coordinator.took_part("A") == {0, 1}
