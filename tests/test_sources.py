"""Every source of ours does what every source must do."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import numpy as np
import zmq
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image

from stream import registry
from stream.roles import Source
from stream.testing import RestorableConformance, SourceConformance
from stream.wire.capture import Writer

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


class TestStream2(Socket):
    kind = "stream2"
    messages = STREAM2


class TestSimplon(Socket):
    kind = "simplon"
    messages = SIMPLON
    identifies = False


class TestCapture(SourceConformance):
    frames = FRAMES

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        path = folder / "recorded.cbors"
        if not path.exists():
            writer = Writer(path, "tcp://127.0.0.1:9999")
            for number, parts in enumerate(STREAM2):
                writer.write(parts, 1.7e9 + 0.25 * number)
            writer.close()
        yield source("capture", file=path)


class TestFiles(SourceConformance):
    """Two scans: an HDF5 file, and the images of a folder."""

    frames = FRAMES

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        write_hdf5(folder)
        write_images(folder)
        yield source("files", files=[str(folder / "scan.h5"), str(folder / "images")])


class TestWatchOfHdf5(SourceConformance):
    frames = FRAMES
    ends = False

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        write_hdf5(folder)
        yield source("watch", folder=str(folder), poll_s=0.05, settle_s=0.05)


class TestWatchOfImages(SourceConformance):
    frames = FRAMES
    ends = False

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        write_images(folder)
        yield source("watch", folder=str(folder), poll_s=0.05, settle_s=0.05, scan_files=FRAMES)


def write_hdf5(folder: Path) -> None:
    """A complete recorded scan of FRAMES frames."""
    if not (folder / "scan.h5").exists():
        with h5py.File(folder / "scan.h5", "w") as file:
            file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 9, 13), **hdf5plugin.Bitshuffle())


def write_images(folder: Path) -> None:
    """The same frames as the images of one folder."""
    (folder / "images").mkdir(exist_ok=True)
    for number, pixels in enumerate(IMAGES):
        path = folder / "images" / f"img_{number}.tif"
        if not path.exists():
            fabio.tifimage.TifImage(data=pixels).write(str(path))
