"""A sink of policy `latest` in its lane, as the pipeline drives it."""

from collections.abc import Sequence
from typing import Any

from stream import Counters, Frame, Product, ScanEnd, ScanStart
from stream.events import Change, Update
from stream.pipeline.lane import Lane


class Driven:
    """A sink in its lane, as the pipeline drives it."""

    def __init__(self, sink: Any) -> None:
        self.sink = sink
        self._counters = Counters()
        self._lane = Lane(
            "sink",
            sink,
            policy=sink.lane,
            capacity_bytes=10**8,
            required=False,
            counters=lambda: self._counters,
            failed=lambda lane, error: None,
        )

    @property
    def service(self) -> Any:
        """The socket of a monitor."""
        return self.sink.service

    def start(self, scan: ScanStart, products: Sequence[Product]) -> None:
        opening = self._lane.open(scan, products)
        opening.answered.wait()
        if self._lane.error is not None:
            raise self._lane.error

    def write(self, frame: Frame) -> None:
        self._lane.put([frame])

    def update(self, update: Update) -> None:
        self._lane.put([update])

    def tell(self, change: Change) -> None:
        self._lane.tell(change)

    def tick(self, counters: Counters) -> None:
        self._counters = counters

    def finish(self, end: ScanEnd) -> None:
        self._lane.end(end).answered.wait()

    def close(self) -> None:
        self._lane.close()
