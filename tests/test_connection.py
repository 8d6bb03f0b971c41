"""What the user is told of the connection to a detector, of other readers, and how often."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from commands import wait_for
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_header, v1_image
from runs import configuration

from stream.commands.progress import Lines, describe
from stream.events import Event, Note
from stream.pipeline.runner import Run
from stream.roles import Connected, Counters
from stream.sources import stream2
from stream.wire import simplon
from stream.wire import stream2 as stream2_wire
from stream.wire.attached import Claim, described
from stream.wire.connection import Connection
from stream.wire.endpoint import canonical
from stream.wire.socket import Receiver

ADDRESS = "tcp://127.0.0.1:31001"
FLAPPING = [zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED]
UP = [zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED]


def told(connection: Connection, events: list[int], now: float) -> list[str]:
    return [each.text for each in connection.news(events, now)]


def closed_port() -> int:
    with zmq.Context() as context, context.socket(zmq.PULL) as probe:
        return probe.bind_to_random_port("tcp://127.0.0.1")


def test_a_port_where_nobody_listens_is_told_once_and_its_mending_too() -> None:
    connection = Connection(ADDRESS, 0.0, listening=False)
    assert told(connection, FLAPPING, 1.0) == []
    (text,) = told(connection, FLAPPING, 2.5)
    assert text.startswith(f"not connected to {ADDRESS}: check host and port") and connection.trouble == text
    for hour in range(1, 50):
        assert told(connection, FLAPPING, 3600.0 * hour) == []
    assert told(connection, UP, 200_000.0) == [f"connected to {ADDRESS}"]
    assert connection.trouble == "" and told(connection, [], 300_000.0) == []


def test_a_detector_that_has_answered_before_anybody_looked_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens, but sends nothing yet: its handshake is over before the receiver's first look at its socket."""
    monkeypatch.setattr("stream.wire.connection.PATIENCE_S", 0.3)
    detector = zmq.Context.instance().socket(zmq.PUSH)
    port = detector.bind_to_random_port("tcp://127.0.0.1")
    opened = Receiver._open

    def slowly(self: Receiver, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        socket = opened(self, context)
        assert detector.poll(30_000, zmq.POLLOUT)
        return socket

    monkeypatch.setattr(Receiver, "_open", slowly)
    receiver = Receiver(stream2.Config(type="stream2", endpoint=f"tcp://127.0.0.1:{port}"))
    try:
        looks = [item for item, _ in zip(receiver, range(8), strict=False)]  # one every 100 ms
        assert looks == [None] * 8 and receiver.trouble == ""
    finally:
        receiver.close()
        detector.close(0)


def test_a_name_that_means_nothing_is_named() -> None:
    connection = Connection("tcp://detector.invalid:31001", 0.0, listening=False)
    assert "no machine is known by the name detector.invalid" in told(connection, [], 2.5)[0]


def test_a_detector_that_answers_in_time_is_not_spoken_of() -> None:
    connection = Connection(ADDRESS, 0.0, listening=False)
    assert told(connection, UP, 0.1) == [] and told(connection, [], 60.0) == []


def test_a_peer_that_makes_no_handshake_is_believed_after_a_while() -> None:
    connection = Connection(ADDRESS, 0.0, listening=False)
    assert told(connection, [zmq.EVENT_CONNECTED], 1.8) == []
    assert told(connection, [], 2.9) == [] and told(connection, [], 60.0) == [] and connection.trouble == ""


def test_a_connection_that_breaks_again_and_again_is_told_at_growing_intervals() -> None:
    connection = Connection(ADDRESS, 0.0, listening=False)
    broken = [*UP, zmq.EVENT_DISCONNECTED]
    lost = [second for second in range(7200) if any("was lost" in text for text in told(connection, broken, second))]
    assert 5 < len(lost) < 25, "two hours of it"
    assert lost[1] - lost[0] < lost[-1] - lost[-2] <= 610


def test_what_refuses_the_handshake_is_trouble_until_it_does_not() -> None:
    connection = Connection(ADDRESS, 0.0, listening=False)
    refusal = [zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_DISCONNECTED]
    (text,) = told(connection, refusal, 0.5)
    assert "refused the handshake" in text and connection.trouble == text
    assert told(connection, refusal, 3.0) == []
    assert told(connection, UP, 4.0) == [f"connected to {ADDRESS}"]


@pytest.mark.slow
def test_a_run_says_that_it_is_not_connected_instead_of_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = f"tcp://127.0.0.1:{closed_port()}"
    running = Run(configuration(tmp_path, {"type": "stream2", "endpoint": endpoint}), reopen=True)
    shown: list[str] = []
    thread = threading.Thread(
        target=running.execute, args=(lambda counters: shown.append(describe(counters)),), name="inbeam-test-run"
    )
    caplog.set_level("INFO", "inbeam")
    thread.start()
    try:
        wait_for(lambda: shown and shown[-1].startswith(f"not connected to {endpoint}"), "the state of the connection")
        wait_for(lambda: f"not connected to {endpoint}" in caplog.text, "the log")
        with zmq.Context() as context, context.socket(zmq.PUSH) as detector:
            detector.bind(endpoint)
            wait_for(lambda: shown[-1] == "waiting for a scan", "the connection")
    finally:
        running.stop()
        thread.join(60)
    assert caplog.text.count("not connected to") == 1 and f"connected to {endpoint}" in caplog.text


def test_a_source_that_is_connected_has_no_trouble_to_tell() -> None:
    source = stream2.create(stream2.Config(type="stream2", endpoint=ADDRESS))
    assert isinstance(source, Connected) and source.connection == ""


@pytest.mark.slow
def test_progress_in_a_log_comes_ever_less_often_and_not_at_all_while_nothing_happens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "inbeam")
    show = Lines(0.0)
    ticks = [0.25 * tick for tick in range(4 * 3600)]

    def said(at: Iterator[tuple[float, Counters]]) -> list[str]:
        for now, counters in at:
            show(counters, now)
        told = caplog.messages
        caplog.clear()
        return told

    assert said((now, Counters()) for now in ticks) == ["waiting for a scan"]
    running = said((3600 + now, Counters(scan="7", finished=round(100 * now), rate=100.0)) for now in ticks)
    assert 10 < len(running) < 25, "an hour of frames"
    idle = Counters(scan="7", finished=360_000)
    assert len(said((7200 + now, replace(idle, latency_ms=now)) for now in ticks)) <= 1
    lost = said((10800 + now, replace(idle, missing=1)) for now in ticks)
    assert len(lost) == 1 and "lost 1" in lost[0]
    down = f"not connected to {ADDRESS}"
    assert said((14400 + now, Counters(connection=down)) for now in ticks) == [], "the source has said so already"
    assert said((18000 + now, replace(idle, connection=down)) for now in ticks)[0].endswith(down)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="claims are made on Linux only")
def test_a_second_reader_of_this_machine_is_told_who_reads_already() -> None:
    endpoint = f"tcp://127.0.0.1:{closed_port()}"
    code = "import sys; from stream.wire.attached import Claim; claim = Claim(sys.argv[1])"
    code += "; print(claim.make(), flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, endpoint.replace("127.0.0.1", "localhost")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdin is not None
    try:
        assert other.stdout.readline() == "None\n"
        source = stream2.create(stream2.Config(type="stream2", endpoint=endpoint))
        items = iter(source.receiver)
        first = next(items)
        assert first is not None and f"process {other.pid} on this machine reads from {endpoint} too" in first.text  # type: ignore[union-attr]
        items.close()  # type: ignore[attr-defined]
    finally:
        other.communicate("\n", timeout=60)
    free, again = Claim(endpoint), Claim(endpoint)
    assert (free.make(), free.make(), again.make()) == (None, None, os.getpid()), "the claim went with its process"
    free.close()
    assert again.make() is None
    again.close()
    assert "this process" in described(os.getpid(), endpoint) and "another process" in described(0, endpoint)


def test_an_address_is_the_same_however_it_is_written() -> None:
    assert canonical("tcp://localhost:31001") in ("127.0.0.1 31001", "::1 31001")
    assert canonical("tcp://127.0.0.1:31001") == canonical("tcp://127.0.0.1:0;127.0.0.1:31001") == "127.0.0.1 31001"
    assert canonical("tcp://[0:0::1]:31001") == canonical("tcp://[::1]:31001")
    assert canonical("ipc:///run/detector") == "ipc:///run/detector"


@pytest.mark.parametrize(("readers", "words"), [(2, "every other image is missing"), (3, "only one of 3 images")])
@pytest.mark.parametrize("protocol", ["stream2", "simplon"])
def test_a_second_reader_elsewhere_is_named_as_the_likely_cause(protocol: str, readers: int, words: str) -> None:
    decoder = stream2_wire.Decoder() if protocol == "stream2" else simplon.Decoder()
    image = (lambda index: [stream2_image(index)]) if protocol == "stream2" else v1_image
    start = [stream2_start(number_of_images=200)] if protocol == "stream2" else v1_header(nimages=200)
    decoder.feed(start, 1.5e9)

    def notes(numbers: range) -> list[Event]:
        events = [event for index in numbers for event in decoder.feed(image(index), 1.5e9)]
        return [event for event in events if isinstance(event, Note)]

    assert notes(range(20)) == []
    (note,) = notes(range(20, 199, readers))
    assert isinstance(note, Note) and words in note.text and "another reader" in note.text and note.harmless


def test_images_that_are_missing_here_and_there_say_nothing_of_other_readers() -> None:
    decoder = stream2_wire.Decoder()
    messages = [stream2_start(), *(stream2_image(index) for index in range(200) if index % 7), stream2_end()]
    assert not [event for message in messages for event in decoder.feed([message], 0.0) if isinstance(event, Note)]
