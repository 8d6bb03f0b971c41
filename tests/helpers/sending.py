"""Detectors that send given messages, and sources as the runner makes them."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image

from stream import registry
from stream.roles import Source
from stream.testing import RestorableConformance

FRAMES = 12


IMAGES = np.random.default_rng(3).integers(0, 60, (FRAMES, 9, 13)).astype("u2")


STREAM2 = [
    [stream2_start(number_of_images=FRAMES)],
    *([stream2_image(index)] for index in range(FRAMES)),
    [stream2_end()],
]


SIMPLON = [v1_header(nimages=FRAMES), *(v1_image(index) for index in range(FRAMES)), v1_end()]


def source(kind: str, **options: Any) -> Source:
    """As the runner makes it."""
    config = registry.module("stream", kind).Config.model_validate({"type": kind, **options})
    made: Source = registry.create("stream", config)
    return made


@contextmanager
def sent(messages: Sequence[Sequence[bytes]]) -> Iterator[str]:
    """The address of a detector that sends these messages, and then nothing."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    stop = threading.Event()
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def send() -> None:
        for parts in messages:
            while not stop.is_set():
                try:  # a reader may close between any poll and a send that waits
                    socket.send_multipart(parts, zmq.NOBLOCK)
                    break
                except zmq.Again:
                    socket.poll(20, zmq.POLLOUT)

    thread = threading.Thread(target=send, name="detector")
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        context.destroy(linger=0)


class Socket(RestorableConformance):
    frames = FRAMES
    kind: str
    messages: Sequence[Sequence[bytes]]

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        with sent(self.messages) as endpoint:
            yield source(self.kind, endpoint=endpoint)

    @contextmanager
    def going_on(self, folder: Path, after: int) -> Iterator[Source]:
        with sent(self.messages[1 + after :]) as endpoint:
            yield source(self.kind, endpoint=endpoint)
