"""How long the frames of a scan took, /entry/latency: counts by class, of those that the finishing process handled.

    upper_bound                float64 (n,)    s, inclusive; the last is infinite
    detector_to_received, received_to_processed, received_to_visible    uint64 (n,)    frames: see `stream.latency`

The times of each frame are in the ledger; this is what they come to, and what is nowhere else
(`received_to_processed`).
"""

import numpy as np

from sinks.file.swmr import SwmrFile
from stream.latency import BOUNDS_S, DETECTOR_TO_RECEIVED, RECEIVED_TO_PROCESSED, RECEIVED_TO_VISIBLE, Latencies

GROUP = "/entry/latency"
WAYS = (DETECTOR_TO_RECEIVED, RECEIVED_TO_PROCESSED, RECEIVED_TO_VISIBLE)


class LatencyTable:
    """Used by the thread of its sink."""

    def __init__(self, file: SwmrFile, *, reopened: bool = False) -> None:
        if not reopened:
            group = file.layout.require_group(GROUP)
            group.attrs["NX_class"] = "NXcollection"
            group.create_dataset("upper_bound", data=np.array(BOUNDS_S)).attrs["units"] = "s"
            for way in WAYS:
                size = len(BOUNDS_S)
                group.create_dataset(way, data=np.zeros(size, np.uint64), chunks=(size,))
        # a file that was begun by an earlier version has no such group
        self._ways = {way: file.layout[GROUP][way] for way in WAYS if GROUP in file.layout}

    def write(self, latencies: Latencies) -> None:
        """The counts of a scan that is over."""
        for way, dataset in self._ways.items():
            if way in latencies:
                dataset[:] = np.array(latencies[way], np.uint64)
                dataset.id.flush()
