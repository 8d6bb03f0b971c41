"""A watched folder whose looks and clock are in the hands of the test, or that runs in a thread of its own."""

import queue
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fabio
import hdf5plugin
import numpy as np

from stream.codec.payload import decode
from stream.events import Event, Frame
from stream.sources.watch import Config, Watch, create

IMAGES = np.random.default_rng(3).integers(0, 60, (12, 9, 13)).astype("u2")
BSLZ4 = {"chunks": (1, 9, 13), **hdf5plugin.Bitshuffle()}


class Driven:
    """A watched folder whose looks and clock are in the hands of the test."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.source = create(Config(**{"folder": str(folder), "events": "poll", "settle_s": 1.0, **options}))
        self.now = 1000.0

    def begin(self) -> list[Event]:
        return list(self.source.begin(self.source.folder.look(), self.now))

    def step(self, seconds: float = 0.0) -> list[Event]:
        self.now += seconds
        return list(self.source.step(self.source.folder.look(), self.now))

    def settle(self) -> list[Event]:
        """What comes once everything that is there has lain still."""
        return self.step() + self.step(1.1) + self.step(1.1)


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[tuple[Watch, "queue.Queue[Event | BaseException | None]"]]:
    """The source in a thread of its own, as the pipeline runs it."""
    source = create(Config(**{"folder": str(folder), **options}))
    found: queue.Queue[Event | BaseException | None] = queue.Queue()
    begun = threading.Event()
    begin = source.begin

    def begin_and_tell(*arguments: Any) -> Iterator[Event]:
        yield from begin(*arguments)
        begun.set()

    source.begin = begin_and_tell  # type: ignore[method-assign]

    def body() -> None:
        try:
            for event in source.events():
                found.put(event)
            found.put(None)
        except BaseException as error:
            found.put(error)

    thread = threading.Thread(target=body, name="inbeam-test-watch")
    thread.start()
    assert begun.wait(20)
    try:
        yield source, found
    finally:
        source.close()
        thread.join(20)
        assert not thread.is_alive()


def until(found: "queue.Queue[Any]", kind: type, count: int = 1) -> list[Any]:
    """All events up to the `count`-th of one kind."""
    events: list[Any] = []
    while sum(isinstance(event, kind) for event in events) < count:
        events.append(found.get(timeout=20))
        assert not isinstance(events[-1], BaseException), events[-1]
    return events


def tiff_bytes(number: int) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        fabio.tifimage.TifImage(data=IMAGES[number % len(IMAGES)]).write(f"{scratch}/x.tif")
        return Path(scratch, "x.tif").read_bytes()


def write(folder: Path, *numbers: int, name: str = "img_{}.tif") -> None:
    for number in numbers:
        (folder / name.format(number)).write_bytes(tiff_bytes(number))


def indices(events: list[Any]) -> list[int]:
    return [event.index for event in events if isinstance(event, Frame)]


def images(events: list[Any]) -> list[np.ndarray]:
    frames = [event for event in events if isinstance(event, Frame)]
    return [decode(next(iter(frame.payloads.values()))) for frame in frames]


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]
