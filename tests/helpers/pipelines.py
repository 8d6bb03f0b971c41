"""A pipeline with a small processor and sinks that keep what they get, fed with events by hand."""

import threading
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from stream import (
    Counters,
    Detector,
    Encoding,
    Event,
    Field,
    Frame,
    InbeamError,
    Item,
    Payload,
    Product,
    ScanEnd,
    ScanStart,
    SinkFailed,
    Stored,
    Update,
    Work,
)
from stream.codec.native import bslz4_compress
from stream.config import RunOptions
from stream.pipeline.chain import Chain, Step
from stream.pipeline.pipeline import Pipeline

SHAPE = (4, 8)


def scan(uid: str = "one", expected: int | None = None) -> ScanStart:
    return ScanStart(uid, uid, SHAPE, np.dtype("u2"), ("data",), expected, Detector(), 0.0)


def frame(index: int, uid: str = "one", data: bytes | None = None) -> Frame:
    image = np.full(SHAPE, index, "u2")
    payload = Payload(data or bslz4_compress(image), Encoding.BSLZ4, SHAPE, image.dtype)
    return Frame(uid, index, {"data": payload}, received=0.0)


class Mean:
    """Gives the mean of the pixels; waits for `gate` on one frame, refuses another."""

    def __init__(self, slow: int | None = None, bad: int | None = None) -> None:
        self.slow, self.bad = slow, bad
        self.gate = threading.Event()

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        if scan.uid == "refused":
            raise InbeamError("no wavelength")
        if scan.uid == "broken":
            raise IndexError("no wavelength")
        return (Product("mean", (Field("value", (), np.dtype("f8")),), signal="value"),)

    def process(self, work: Work) -> None:
        if work.frame.index == self.slow:
            assert self.gate.wait(30)
        if work.frame.index == self.bad:
            raise ZeroDivisionError("beam lost")
        work.results["mean"] = {"value": work.image().mean()}

    def finish(self, end: ScanEnd) -> None:
        pass


class Kept:
    """A sink that keeps everything, or fails on demand."""

    lane: Literal["block", "latest"] = "block"

    def __init__(self, stored: Stored | None = None, fail_at: int | None = None) -> None:
        self.updates: list[Update] = []
        self.frames: list[Frame] = []
        self.ends: list[ScanEnd] = []
        self.stored, self.fail_at = stored, fail_at
        self.got = threading.Condition()
        self.closed = False

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        self.products = products
        return self.stored

    def write(self, frame: Item) -> None:
        if isinstance(frame, Update):
            self.updates.append(frame)
        if not isinstance(frame, Frame):
            return
        if frame.index == self.fail_at:
            raise SinkFailed("disk full: make room and start again")
        with self.got:
            self.frames.append(frame)
            self.got.notify_all()

    def tick(self, counters: Counters) -> None:
        self.counters = counters

    def finish(self, end: ScanEnd) -> None:
        with self.got:
            self.ends.append(end)
            self.got.notify_all()

    def close(self) -> None:
        self.closed = True

    @property
    def indices(self) -> list[int]:
        return [frame.index for frame in self.frames]


def play(
    events: Iterator[Event] | Sequence[Event],
    *sinks: Kept,
    processors: Sequence[Mean] = (),
    workers: int = 2,
    required: bool = True,
    **options: object,
) -> Pipeline:
    pipeline = Pipeline(
        [Chain([Step("mean", processor) for processor in processors]) for _ in range(workers)],
        {f"sink{number}": (sink, required) for number, sink in enumerate(sinks)},
        RunOptions(reorder_ms=60_000, **options),
    )
    try:
        for event in events:
            pipeline.put(event)
    finally:
        pipeline.close()
    return pipeline
