"""A sink of policy `latest` in its lane, as the pipeline drives it."""

from collections.abc import Sequence

from sinks.monitor import Monitor
from stream import Counters, Frame, Product, ScanEnd, ScanStart
from stream.pipeline.lane import Lane


class Driven:
    """A monitor in its lane, as the pipeline drives it."""

    def __init__(self, sink: Monitor) -> None:
        self.sink, self.service = sink, sink.service
        self._counters = Counters()
        self._lane = Lane(
            "monitor",
            sink,
            policy=sink.lane,
            capacity_bytes=10**8,
            required=False,
            counters=lambda: self._counters,
            failed=lambda lane, error: None,
        )

    def start(self, scan: ScanStart, products: Sequence[Product]) -> None:
        opening = self._lane.open(scan, products)
        opening.answered.wait()
        if self._lane.error is not None:
            raise self._lane.error

    def write(self, frame: Frame) -> None:
        self._lane.put([frame])

    def tick(self, counters: Counters) -> None:
        self._counters = counters

    def finish(self, end: ScanEnd) -> None:
        self._lane.end(end).answered.wait()

    def close(self) -> None:
        self._lane.close()
