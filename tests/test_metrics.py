"""The figures for Prometheus: they are those of the run, and whoever knocks at their door does no harm."""

import json
import math
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import detector, wait_for
from pipelines import Kept, frame, play, scan
from prometheus_client.parser import text_string_to_metric_families
from runs import background, configuration

from stream import Frame, FrameStatus, ScanEnd
from stream.commands.demo import free_port
from stream.config import validate
from stream.errors import ConfigError
from stream.events import Event
from stream.latency import BOUNDS_S, DETECTOR_TO_RECEIVED, RECEIVED_TO_PROCESSED, RECEIVED_TO_VISIBLE, Histogram
from stream.pipeline.figures import Figures, LaneFigures
from stream.pipeline.metrics import Exposition
from stream.pipeline.metrics_server import DEADLINE_S, MetricsServer
from stream.pipeline.runner import Run
from stream.receivers.figures import ReceiverFigures, TogetherFigures
from stream.receivers.metrics import TogetherExposition

DASHBOARD = Path(__file__).parents[1] / "docs/grafana.json"


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value, as Prometheus reads them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def some() -> Figures:
    taken = Histogram()
    taken.add(0.003)
    return Figures(
        {FrameStatus.RECEIVED: 7},
        7,
        700,
        lanes=(LaneFigures("sinks[0] hdf5", 0.5, 1.5, 2, True),),
        latencies={"way": taken},
    )


def together() -> TogetherFigures:
    return TogetherFigures([ReceiverFigures(0, True, 2, 70), ReceiverFigures(1, False, 0, 30)], 12, 40, 3, 1)


@pytest.fixture
def served() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1:0", Exposition(some))
    server.start()
    yield server
    server.close()


def got(server: MetricsServer, sent: bytes) -> bytes:
    """What the server says to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5 * DEADLINE_S) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_latencies_are_counted_in_the_class_that_holds_them() -> None:
    one_by_one, at_once = Histogram(), Histogram()
    times = [-0.5, 0.0, 0.001, 0.0011, 59.0, 61.0, 999.0, 1001.0, math.nan]
    for seconds in times:
        one_by_one.add(seconds)
    at_once.add_all(np.array(times))
    assert one_by_one.counts == at_once.counts
    assert sum(at_once.counts) == 7, "what a recording says of another day, and what nobody knows, is not counted"
    assert at_once.counts[0] == 3 and at_once.counts[1] == 1 and at_once.counts[-1] == 2
    assert one_by_one.total_s == pytest.approx(at_once.total_s)


def test_the_figures_of_a_run_are_those_of_its_ledgers() -> None:
    now = time.time()

    def came(index: int, uid: str) -> Frame:
        return replace(frame(index, uid), received=now - 0.015, absolute_time=now - 0.5, exposure_s=0.1)

    events: list[Event] = [scan("one", 4), *(came(index, "one") for index in (0, 1, 1, 3)), ScanEnd("one")]
    events += [scan("two", 3), came(0, "two"), replace(frame(1, "two", b"broken"), received=now), ScanEnd("two")]
    pipeline = play(events, Kept())
    figures = pipeline.figures()
    assert figures.received == 6 and figures.scans == 2
    assert figures.received_bytes == sum(each.nbytes - 1024 for each in events if isinstance(each, Frame))
    counts = {status: sum(each.counts[status] for each in pipeline.report.scans) for status in FrameStatus}
    assert figures.frames == counts and sum(counts.values()) == 7
    assert counts[FrameStatus.MISSING] == 2 and counts[FrameStatus.DUPLICATE] == 1
    received, processed = figures.latencies[DETECTOR_TO_RECEIVED], figures.latencies[RECEIVED_TO_PROCESSED]
    assert sum(received.counts) == 4 and received.total_s == pytest.approx(4 * 0.385, abs=1e-3)
    assert sum(processed.counts) == 4 and processed.counts[BOUNDS_S.index(0.01)] == 0


@pytest.mark.slow
def test_a_run_is_seen_by_prometheus_and_its_latencies_are_in_the_file(tmp_path: Path) -> None:
    endpoint, port = f"tcp://127.0.0.1:{free_port()}", free_port()
    config = configuration(tmp_path, {"type": "stream2", "endpoint": endpoint}, metrics=f":{port}")
    url = f"http://127.0.0.1:{port}/metrics"
    found: dict[tuple[str, ...], float] = {}

    def seen() -> bool:
        with suppress(urllib.error.URLError):  # not listening yet
            found.update(samples(urllib.request.urlopen(url, timeout=10).read()))
        return (
            found.get(("inbeam_frames", "received")) == 20
            and found.get(("inbeam_latency_seconds_count", "received_to_visible")) == 20
        )

    running = Run(config, reopen=True)
    with background(running) as reports:
        with detector("simulate", "--detector", "small", "--frames", "20", "--rate", "100", "--bind", endpoint):
            wait_for(seen, "all frames in a scrape")
        running.stop()
    assert reports
    assert found["inbeam_bytes_received_total",] > 20 * 1000
    assert found["inbeam_queue_fill", "inbox"] == 0 and found["inbeam_sink_failed", "sinks[0] archive"] == 0
    (file,) = tmp_path.glob("*.h5")
    with h5py.File(file) as opened:
        group = opened["entry/latency"]
        assert group["upper_bound"][()].tolist() == list(BOUNDS_S)
        for way in (RECEIVED_TO_PROCESSED, RECEIVED_TO_VISIBLE):
            assert group[way][()].sum() == 20
        waited = opened["entry/ledger/on_disk_time"][()] - opened["entry/ledger/received_time"][()]
        expected = Histogram()
        expected.add_all(waited)
        assert group[RECEIVED_TO_VISIBLE][()].tolist() == expected.counts


def test_an_address_that_is_none_or_taken_is_told_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address to listen at"):
        configuration(tmp_path, {"type": "stream2", "endpoint": "tcp://127.0.0.1:9"}, metrics="http://all")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = configuration(
            tmp_path, {"type": "stream2", "endpoint": "tcp://127.0.0.1:9"}, metrics=f":{taken.getsockname()[1]}"
        )
        with pytest.raises(ConfigError, match=r"run\.metrics.*cannot listen"):
            Run(config, reopen=True).execute()
    assert validate({**config.document, "run": {"metrics": "[::1]:9464"}}).run.metrics == "[::1]:9464"


def test_metrics_are_given_to_this_machine_alone_unless_the_address_says_otherwise(served: MetricsServer) -> None:
    asked = HTTPConnection("127.0.0.1", served.port, timeout=5)
    asked.request("GET", "/metrics", headers={"Host": "evil.example.org"})  # a name that was pointed here
    assert asked.getresponse().status == 403
    for host in ("localhost", f"127.0.0.1:{served.port}", "[::1]:9"):
        assert b" 200 OK" in got(served, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    everywhere = MetricsServer("0.0.0.0:0", Exposition(some))
    everywhere.start()
    assert b" 200 OK" in got(everywhere, b"GET /metrics HTTP/1.1\r\nHost: beamline.example.org\r\n\r\n")
    everywhere.close()


HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4 + b"\r\n\r\n",
    "endless line": b"GET /" + b"a" * 60_000,
    "endless headers": b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 9_000,
    "body": b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx",
    "traversal": b"GET /../../etc/passwd HTTP/1.1\r\n\r\n",
    "empty lines": b"\r\n\r\n",
    "http 0.9": b"GET /metrics\n\n",
    "smuggled": b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "no utf-8": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_answered_or_left_and_the_next_one_is_served(served: MetricsServer, name: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=5 * DEADLINE_S) as client:
        try:
            client.sendall(HOSTILE[name])
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65536)
        except OSError:  # it closed with our bytes unread
            answer = b""
    assert not answer or re.match(rb"HTTP/1.1 (200|400|403|404|405) ", answer)
    assert b" 200 OK" in got(served, b"GET /metrics HTTP/1.1\r\n\r\n")


def test_who_sends_nothing_is_left_in_time_and_costs_no_thread() -> None:
    served = MetricsServer("127.0.0.1:0", Exposition(some), deadline_s=0.05)
    served.start()
    threads = threading.active_count()
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
    assert b" 200 OK" in got(served, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert threading.active_count() == threads
    served.close()
    for each in idle:
        each.close()


def test_a_failure_of_the_figures_is_told_and_does_not_end_the_service(caplog: pytest.LogCaptureFixture) -> None:
    failing = [True, False]

    def text() -> bytes:
        if failing.pop(0):
            raise ZeroDivisionError("no frames")
        return b"fine\n"

    server = MetricsServer("127.0.0.1:0", text)
    server.start()
    assert b" 500 " in got(server, b"GET /metrics HTTP/1.1\r\n\r\n") and "no frames" in caplog.text
    assert got(server, b"GET /metrics HTTP/1.1\r\n\r\n").endswith(b"fine\n")
    assert b"fine" not in got(server, b"HEAD /metrics HTTP/1.1\r\n\r\n") or failing
    server.close()


def test_the_figures_of_receivers_are_told_of_each_and_of_all() -> None:
    found = samples(TogetherExposition(together)())
    assert found["inbeam_receiver_up", "0"] == 1 and found["inbeam_receiver_up", "1"] == 0
    assert found["inbeam_receiver_restarts_total", "0"] == 2 and found["inbeam_receiver_frames", "1"] == 30
    assert found["inbeam_scan_frames",] == 12 and found["inbeam_scan_expected",] == 40
    assert found["inbeam_masters",] == 3 and found["inbeam_troubles",] == 1


def test_every_figure_of_the_dashboard_is_one_that_a_run_gives() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) >= 8
    given = {name for name, *_ in (*samples(Exposition(some)()), *samples(TogetherExposition(together)()))}
    for expression in asked:
        names = set(re.findall(r"\b(?:inbeam|process)_\w+", expression))
        assert names and names <= given, expression
