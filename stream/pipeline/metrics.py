"""The figures of a run in the words of Prometheus. Nothing is counted here: a scrape looks at what there is.

Counters only grow while the run goes on. Frame numbers change their status (a missing one comes late), so what became
of them is a gauge.
"""

import math
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from stream.events import FrameStatus
from stream.latency import BOUNDS_S, Histogram
from stream.pipeline.figures import Figures


class RunCollector(Collector):
    """Gives the figures of a run whenever a registry asks."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """All families, of one snapshot."""
        now = self._figures()
        for name, text, value in (
            ("inbeam_frames_received", "Frames that the source has given, copies too", now.received),
            ("inbeam_bytes_received", "Bytes of their pixels, as they came", now.received_bytes),
            ("inbeam_unusable", "Messages and files that could not be used", now.unusable),
            ("inbeam_source_restarts", "How often the source was lost and opened again", now.restarts),
        ):
            yield CounterMetricFamily(name, text, value)
        yield GaugeMetricFamily("inbeam_scans_ended", "Scans that have ended, however", now.scans)
        yield GaugeMetricFamily("inbeam_connected", "1: nothing is wrong with the connection", float(now.connected))
        frames = GaugeMetricFamily(
            "inbeam_frames", "Frame numbers of all scans by what became of them", None, ["status"]
        )
        for status in FrameStatus:
            frames.add_metric([status.name.lower()], now.frames.get(status, 0))
        yield frames
        fill = GaugeMetricFamily("inbeam_queue_fill", "0 empty, 1 full", None, ["queue"])
        fill.add_metric(["inbox"], now.inbox_fill)
        lag = GaugeMetricFamily("inbeam_sink_lag_seconds", "Age of the oldest frame not taken yet", None, ["sink"])
        given_up = GaugeMetricFamily(
            "inbeam_sink_given_up", "Frames of the scan that it had no room for", None, ["sink"]
        )
        failed = GaugeMetricFamily("inbeam_sink_failed", "1: takes nothing more of the scan", None, ["sink"])
        for lane in now.lanes:
            fill.add_metric([lane.name], lane.fill)
            lag.add_metric([lane.name], lane.waiting_s)
            given_up.add_metric([lane.name], lane.given_up)
            failed.add_metric([lane.name], float(lane.failed))
        yield from (fill, lag, given_up, failed)
        latency = HistogramMetricFamily("inbeam_latency_seconds", "How long frames with pixels took", labels=["way"])
        for way, histogram in now.latencies.items():
            latency.add_metric([way], _buckets(histogram), histogram.total_s)
        yield latency


class Exposition:
    """What a scrape is answered with: the run, and this process (CPU, memory, open files, when it began)."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(RunCollector(figures))
        ProcessCollector(registry=self._registry)

    def __call__(self) -> bytes:
        """In the text format 0.0.4."""
        return generate_latest(self._registry)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    counted, found = 0, []
    for bound, count in zip(BOUNDS_S, histogram.counts, strict=True):
        counted += count
        found.append(("+Inf" if math.isinf(bound) else str(bound), float(counted)))
    return found
