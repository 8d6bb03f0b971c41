"""Several receivers in processes of their own, a detector that shares its images among them, and files like theirs."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
import zmq
from dectris_messages import stream2_end, stream2_image, stream2_start

from sinks import archive
from sinks.receivers import master
from stream.commands import children
from stream.commands.children import Crews
from stream.commands.demo import free_port
from stream.commands.receivers import Receivers
from stream.config import Config, validate
from stream.context import ALONE
from stream.events import Frame, ScanEnd
from stream.testing import examples


class Detector:
    """A PUSH socket that shares its images among all who are connected."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.SNDHWM, 4)
        self.port = free_port()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def open(self) -> None:
        self.socket.bind(self.endpoint)

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self.socket.send(message)

    def close(self) -> None:
        self._context.destroy(linger=0)


def configuration(folder: Path, endpoint: str, *processors: dict[str, Any], **run: Any) -> Config:
    frames = str(folder / "{scan}_frames.h5")
    return validate(
        {
            "stream": {"type": "stream2", "endpoint": endpoint},
            "processors": list(processors),
            "sinks": [
                {"type": "archive", "path": frames},
                {"type": "hdf5", "path": str(folder / "{scan}.h5"), "link": frames},
            ],
            "run": {"journal": str(folder), **run},
        }
    )


def of_detectors(folder: Path, detectors: Sequence[Detector], *processors: dict[str, Any], **run: Any) -> Config:
    """Each receiver has a connection of its own, so that a test says who gets which frame."""
    document = dict(configuration(folder, "tcp://127.0.0.1:9", *processors, **run).document)
    sources = [{"type": "stream2", "endpoint": each.endpoint} for each in detectors]
    return validate({**document, "stream": {"type": "several", "sources": sources, "patience_s": 2.0}})


INTEGRATE = {
    "type": "integrate",
    "npt": 20,
    "unit": "r_mm",
    "device": "cpu",
    "error_model": "poisson",
    "distance_m": 0.1,
    "beam_center_px": (6.0, 5.0),
    "pixel_size_m": (75e-6, 75e-6),
}


def start(count: int, series: int = 1) -> bytes:
    return stream2_start(number_of_images=count, series_id=series, series_unique_id=f"01SERIES{series}")


def image(index: int, series: int = 1, **changes: Any) -> bytes:
    return stream2_image(index, series_id=series, series_unique_id=f"01SERIES{series}", **changes)


def end(series: int = 1) -> bytes:
    return stream2_end(series_id=series, series_unique_id=f"01SERIES{series}")


@contextmanager
def running(
    config: Config, count: int, *detectors: Detector, crews: Crews = children.local
) -> Iterator[tuple[Receivers, list[int]]]:
    """The receivers, all connected to the detector (or each to its own), and the exit code once there is one."""
    monitors = [each.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) for each in detectors]
    for each in detectors:
        each.open()
    made, codes = Receivers(config, count, crews), []
    thread = threading.Thread(target=lambda: codes.append(made.execute()))
    thread.start()
    try:
        for monitor in monitors:
            for _ in range(count // len(monitors)):
                assert monitor.poll(120_000), "a receiver has not connected"
                monitor.recv_multipart()
        yield made, codes
        thread.join(90)
    finally:
        made.stop()
        thread.join(30)
        for detector, monitor in zip(detectors, monitors, strict=True):
            detector.socket.disable_monitor()
            monitor.close(0)
    assert not thread.is_alive()


def shares(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return [int(group["frames"][()]) for group in file[master.GROUP].values()]


def written_parts(folder: Path, owners: np.ndarray, copies: Sequence[tuple[int, Frame]] = ()) -> list[Path]:
    """The archives of receivers that got these frames: `owners[i]` is who has frame i; copies: (who, a frame that
    others may have too)."""
    paths = []
    for number in range(int(owners.max()) + 1):
        path = folder / f"scan.r{number}.h5"
        sink = archive.create(archive.Config(path=str(path)), ALONE)
        sink.start(examples.scan(expected=len(owners)), [])
        own = {index: examples.frame(index) for index in np.flatnonzero(owners == number).tolist()}
        own |= {frame.index: frame for who, frame in copies if who == number}
        for _, frame in sorted(own.items()):
            sums = {name: xxhash.xxh3_64_intdigest(payload.data) for name, payload in frame.payloads.items()}
            sink.write(replace(frame, checksums=sums))
        sink.finish(ScanEnd(examples.UID, announced=len(owners), expected=len(owners)))
        sink.close()
        paths.append(path)
    return paths
