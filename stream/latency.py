"""How long frames take: counted in classes, so that a million of them weigh as much as one."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import numpy as np

from stream.events import Array

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, float("inf"))
"""Upper edges of the classes, s, each inclusive."""
LONGEST_S = 1000.0
"""A recording keeps the times of its own day: how long ago that was is no latency, and is not counted."""
DETECTOR_TO_RECEIVED = "detector_to_received"
"""From the end of the exposure to the arrival, by two clocks: only where the detector says absolute times."""
RECEIVED_TO_PROCESSED = "received_to_processed"
"""From the arrival to the place in the order of frame numbers, results made, on the way to the sinks."""
RECEIVED_TO_VISIBLE = "received_to_visible"
"""From the arrival until a reader of the file can see the frame, and a kill cannot lose it any more."""


class Histogram:
    """Counts by class. Written by one thread, read by any."""

    def __init__(self) -> None:
        self.counts = [0] * len(BOUNDS_S)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """One frame more; NaN, and what is longer than `LONGEST_S`, is not counted."""
        if seconds <= LONGEST_S:
            self.counts[bisect_left(BOUNDS_S, seconds)] += 1
            self.total_s += seconds

    def add_all(self, seconds: Array) -> None:
        """Many frames: float64 (n,)."""
        kept = seconds[seconds <= LONGEST_S]
        found = np.bincount(np.searchsorted(BOUNDS_S, kept), minlength=len(BOUNDS_S)).tolist()
        self.counts = [have + more for have, more in zip(self.counts, found, strict=True)]
        self.total_s += float(kept.sum())

    def copy(self) -> "Histogram":
        """As it is now."""
        made = Histogram()
        made.counts, made.total_s = list(self.counts), self.total_s
        return made

    def since(self, before: "Histogram") -> tuple[int, ...]:
        """Counts that have come since an earlier copy."""
        return tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))


def summed(parts: Iterable[Histogram]) -> Histogram:
    """All of them together."""
    made = Histogram()
    for part in parts:
        made.counts = [one + other for one, other in zip(made.counts, part.counts, strict=True)]
        made.total_s += part.total_s
    return made


Latencies = Mapping[str, tuple[int, ...]]
"""Way (one of the names above) -> counts by class."""
