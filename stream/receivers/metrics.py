"""What an operator watches of several receivers together, in the words of Prometheus; each also has its own figures."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from stream.receivers.figures import TogetherFigures


class TogetherCollector(Collector):
    """Gives the figures whenever a registry asks."""

    def __init__(self, figures: Callable[[], TogetherFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """All families, of one snapshot."""
        now = self._figures()
        up = GaugeMetricFamily("inbeam_receiver_up", "1: the process is there, and heard", None, ["receiver"])
        restarts = CounterMetricFamily("inbeam_receiver_restarts", "How often it was started again", None, ["receiver"])
        frames = GaugeMetricFamily("inbeam_receiver_frames", "Frames of finished scans that it has", None, ["receiver"])
        for each in now.receivers:
            up.add_metric([str(each.number)], float(each.up))
            restarts.add_metric([str(each.number)], each.restarts)
            frames.add_metric([str(each.number)], each.frames)
        yield from (up, restarts, frames)
        for name, text, value in (
            ("inbeam_scan_frames", "Frame numbers of the running scan that a receiver has", now.had),
            ("inbeam_scan_expected", "Frame numbers that it was announced with", now.expected),
            ("inbeam_masters", "Files of whole scans that were made", now.masters),
            ("inbeam_troubles", "What the exit code of the run will not hide", now.troubles),
        ):
            yield GaugeMetricFamily(name, text, value)


class TogetherExposition:
    """What a scrape is answered with: the receivers, and the process that starts them."""

    def __init__(self, figures: Callable[[], TogetherFigures]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(TogetherCollector(figures))
        ProcessCollector(registry=self._registry)

    def __call__(self) -> bytes:
        """In the text format 0.0.4."""
        return generate_latest(self._registry)
