"""The detectors' sockets over loopback: scans arrive, detectors go and come back, closing is quick, keys are kept."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image
from pydantic import ValidationError

from stream.errors import SourceLost
from stream.events import EndStatus, Event, Frame, Note, ScanEnd
from stream.roles import Source
from stream.simulate import eiger
from stream.simulate.scans import simulated
from stream.simulate.sender import Sender
from stream.sources import simplon, stream2
from stream.sources.dectris import SocketSource
from stream.wire.socket import Disturbance

Messages = Sequence[Sequence[bytes]]
SCAN: Messages = [[stream2_start()], *([stream2_image(index)] for index in range(5)), [stream2_end()]]
SCAN_V1: Messages = [v1_header(), *(v1_image(index) for index in range(5)), v1_end()]
LONG_MS = 20_000


class Detectors:
    """Makes the sockets of detectors, and closes them all at the end of a test."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []

    def socket(self, kind: int = zmq.PUSH) -> "zmq.Socket[bytes]":
        self.sockets.append(self.context.socket(kind))
        return self.sockets[-1]

    def bound(self, kind: int = zmq.PUSH) -> tuple["zmq.Socket[bytes]", str]:
        """A socket at a free port of the loopback interface, and its address."""
        socket = self.socket(kind)
        return socket, f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"

    def bound_again(self, endpoint: str) -> "zmq.Socket[bytes]":
        """A new socket at an address that was just given up: ZMQ frees it in a thread of its own."""
        socket, deadline = self.socket(), time.monotonic() + 10
        while True:
            try:
                socket.bind(endpoint)
                return socket
            except zmq.ZMQError:
                if time.monotonic() > deadline:
                    raise
                threading.Event().wait(0.01)


@pytest.fixture
def detectors() -> Iterator[Detectors]:
    found = Detectors()
    yield found
    found.context.destroy(linger=0)


@contextmanager
def sender(socket: "zmq.Socket[bytes]", messages: Messages) -> Iterator[None]:
    """Send from a thread, as a detector does: a PUSH without peers blocks."""
    socket.setsockopt(zmq.SNDTIMEO, LONG_MS)

    def send() -> None:
        for parts in messages:
            socket.send_multipart(parts)

    thread = threading.Thread(target=send, name="detector")
    thread.start()
    try:
        yield
    finally:
        thread.join(LONG_MS / 1000)
        assert not thread.is_alive()


def stream2_source(endpoint: str, **options: Any) -> SocketSource:
    return stream2.create(stream2.Config(type="stream2", endpoint=endpoint, **options))


def until_end(events: Iterator[Event]) -> list[Event]:
    found = []
    for event in events:
        found.append(event)
        if isinstance(event, ScanEnd):
            break
    return found


def frames(events: Sequence[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, Frame)]


def test_a_scan_arrives_over_a_socket_in_either_protocol(detectors: Detectors) -> None:
    for create, messages in ((stream2, SCAN), (simplon, SCAN_V1)):
        socket, endpoint = detectors.bound()
        name = create.__name__.removeprefix("stream.sources.")
        source = create.create(create.Config(type=name, endpoint=endpoint))
        assert isinstance(source, Source)
        events = source.events()
        with sender(socket, messages):
            found = until_end(events)
        assert frames(found) == list(range(5))
        end = found[-1]
        assert isinstance(end, ScanEnd) and (end.status, end.announced) == (EndStatus.COMPLETE, 5)
        source.close()
        assert list(events) == []


def test_a_detector_that_goes_away_and_comes_back_is_heard_again(detectors: Detectors) -> None:
    socket, endpoint = detectors.bound()
    source = stream2_source(endpoint)
    events = source.events()
    with sender(socket, SCAN[:3]):
        assert frames([next(events) for _ in range(3)]) == [0, 1]
    socket.close(0)
    lost = next(events)
    assert isinstance(lost, Note) and "connection" in lost.text and lost.scan is not None, "in mid-scan it is noted"
    again = detectors.bound_again(endpoint)
    with sender(again, SCAN[3:]):
        found = until_end(events)
    assert frames(found) == [2, 3, 4]
    with sender(again, SCAN):
        assert frames(until_end(events)) == list(range(5))
    source.close()
    assert list(events) == []


def test_closing_an_idle_source_takes_a_fraction_of_a_second(detectors: Detectors) -> None:
    _, endpoint = detectors.bound()
    source = stream2_source(endpoint)
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(source.events()), name="reader")
    thread.start()
    assert source.receiver.ready.wait(10)
    source.close()
    before = time.monotonic()
    thread.join(10)
    assert time.monotonic() - before < 2 and not thread.is_alive() and not found


def test_a_source_closed_in_mid_scan_ends_it_as_stopped(detectors: Detectors) -> None:
    socket, endpoint = detectors.bound()
    source = stream2_source(endpoint)
    events = source.events()
    with sender(socket, SCAN[:2]):
        assert frames([next(events), next(events)]) == [0]
    source.close()
    (end,) = events
    assert isinstance(end, ScanEnd) and end.status is EndStatus.STOPPED


def test_a_bound_source_waits_for_its_senders(detectors: Detectors) -> None:
    source = stream2_source("tcp://127.0.0.1:*", bind=True)
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(until_end(source.events())), name="reader")
    thread.start()
    assert source.receiver.ready.wait(10)
    socket = detectors.socket()
    socket.connect(source.receiver.address)
    with sender(socket, SCAN):
        thread.join(20)
    assert frames(found) == list(range(5))


def test_a_publishing_forwarder_is_subscribed_to(detectors: Detectors) -> None:
    socket, endpoint = detectors.bound(zmq.XPUB)
    source = stream2_source(endpoint, socket="sub")
    events = source.events()
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(until_end(events)), name="reader")
    thread.start()
    assert socket.poll(LONG_MS) and socket.recv() == b"\x01", "the subscription has arrived"
    with sender(socket, SCAN):
        thread.join(20)
    assert frames(found) == list(range(5))


def test_a_message_of_too_many_parts_or_bytes_does_not_stop_the_scan(detectors: Detectors) -> None:
    socket, endpoint = detectors.bound()
    source = simplon.create(simplon.Config(type="simplon", endpoint=endpoint, max_message_mb=0.05))
    events = source.events()
    hostile = [[b"x"] * 1000, [*v1_image(9)[:2], bytes(60_000)]]
    with sender(socket, [*SCAN_V1[:2], hostile[0], *SCAN_V1[2:4], hostile[1]]):
        found = [next(events) for _ in range(5)]
        assert frames(found) == [0, 1, 2]
        assert isinstance(found[2], Note) and "parts" in found[2].text
        lost = next(events)
        assert isinstance(lost, Note) and "connection" in lost.text, "ZMQ cuts off who sends more than the limit"
    with sender(socket, SCAN_V1[4:]):
        assert frames(until_end(events)) == [3, 4]
    source.close()
    assert list(events) == []


def test_a_port_that_is_taken_is_said_so(detectors: Detectors) -> None:
    _, endpoint = detectors.bound()
    with pytest.raises(SourceLost, match="no other program has this port"):
        list(stream2_source(endpoint, bind=True).events())


def test_a_restored_scan_comes_first(detectors: Detectors) -> None:
    socket, endpoint = detectors.bound()
    source = stream2_source(endpoint)
    source.restore("uid of the journal", [SCAN[0]])
    events = source.events()
    with sender(socket, SCAN[3:]):
        found = until_end(events)
    assert frames(found) == [2, 3, 4] and {event.scan for event in found[1:]} == {"uid of the journal"}  # type: ignore[union-attr]
    source.close()


@pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")
def test_curve_keys_let_the_right_detector_in(detectors: Detectors, tmp_path: Path) -> None:
    for name in ("detector", "inbeam", "stranger"):
        zmq.auth.create_certificates(tmp_path, name)
    socket = detectors.socket()
    socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(tmp_path / "detector.key_secret")
    socket.curve_server = True
    endpoint = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
    keys = {"secret_key": tmp_path / "inbeam.key_secret", "server_key": tmp_path / "detector.key"}
    source = stream2_source(endpoint, **keys)
    events = source.events()
    with sender(socket, SCAN):
        assert frames(until_end(events)) == list(range(5))
    source.close()
    assert list(events) == []

    wrong = stream2_source(endpoint, **keys | {"server_key": tmp_path / "stranger.key"})
    disturbances = (item for item in wrong.receiver if isinstance(item, Disturbance))
    first = next(item for item in disturbances if item.refused)
    disturbances.close()
    assert "server_key" in first.text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"endpoint": "detector:31001"}, "write tcp://host:port"),
        ({"endpoint": "tcp://detector"}, "31001"),
        ({"endpoint": "tcp://detector:99999"}, "between 1 and 65535"),
        ({"endpoint": "tcp://*:31001"}, "bind: true"),
        ({"endpoint": "tcp://detector:*"}, "bind: true"),
        ({"endpoint": "tcp://detector:0"}, "bind: true"),
        ({"endpoint": "tcp://fd00::1:31001"}, "IPv6 address in brackets"),
        ({"endpoint": "tcp://eth1:70000;detector:31001"}, "between 1 and 65535"),
        ({"endpoint": "tcp://eth1;detector:31001"}, "no ZMQ address"),
        ({"endpoint": "tcp://eth1:0;detector:31001", "bind": True}, "goes with connecting"),
        ({"endpoint": "tcp://detector:31001", "socket": "push"}, "pull"),
        ({"endpoint": "tcp://detector:31001", "high_water_mark": 0}, "greater than or equal to 1"),
        ({"endpoint": "tcp://detector:31001", "server_key": "nowhere.key"}, "no CURVE certificate"),
    ],
)
def test_options_that_cannot_work_are_told_before_the_start(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        stream2.Config(type="stream2", **options)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://detector.example.org:31001",
        "tcp://[fd00::2]:31001",
        "tcp://[fe80::fc:ff:fe00:1%eth0]:31001",
        "tcp://[fe80::1%enp0s31f6.100]:31001",
        "tcp://eth1:0;172.31.1.1:31001",
        "tcp://172.31.1.17:5555;detector:31001",
        "tcp://[fe80::2%eth0]:0;[fe80::1%eth0]:31001",
        "ipc:///run/detector",
    ],
)
def test_every_kind_of_address_that_zmq_connects_to_is_taken(endpoint: str) -> None:
    assert stream2.Config(type="stream2", endpoint=endpoint).endpoint == endpoint


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("form", ["tcp://[::1]:{}", "tcp://[::1%lo]:{}", "tcp://[::1]:0;[::1]:{}"])
def test_a_simulated_detector_is_heard_over_ipv6(form: str) -> None:
    messages = simulated(eiger.small(), eiger.pool(eiger.small(), 2), protocol="stream2", frames=5)
    with Sender("tcp://[::1]:0", timeout_s=30) as detector:
        port = detector.bind().rpartition(":")[2]
        source = stream2_source(form.format(port))
        events = source.events()
        thread = threading.Thread(target=detector.send, args=(messages,), name="detector")
        thread.start()
        found = until_end(events)
        thread.join()
        source.close()
        assert list(events) == []
    assert frames(found) == list(range(5))


@pytest.mark.usefixtures("ipv6")
def test_a_source_that_waits_for_senders_does_so_at_an_ipv6_address_too(detectors: Detectors) -> None:
    source = stream2_source("tcp://[::1]:0", bind=True)
    events = source.events()
    socket = detectors.socket()
    socket.setsockopt(zmq.IPV6, 1)
    found: list[Event] = []
    listening = threading.Thread(target=lambda: found.extend(until_end(events)), name="inbeam-test-listen")
    listening.start()
    assert source.receiver.ready.wait(20)
    socket.connect(source.receiver.address)
    with sender(socket, SCAN):
        listening.join(20)
    source.close()
    assert frames(found) == list(range(5)) and list(events) == []


def test_a_detector_is_heard_from_a_source_address(detectors: Detectors) -> None:
    socket, endpoint = detectors.bound()
    source = stream2_source(endpoint.replace("tcp://", "tcp://127.0.0.1:0;"))
    events = source.events()
    with sender(socket, SCAN):
        assert frames(until_end(events)) == list(range(5))
    source.close()
    assert list(events) == []


def test_half_a_pair_of_keys_is_refused(tmp_path: Path) -> None:
    zmq.auth.create_certificates(tmp_path, "inbeam")
    public, secret = tmp_path / "inbeam.key", tmp_path / "inbeam.key_secret"
    for options, text in (
        ({"server_key": public}, "goes with secret_key"),
        ({"secret_key": secret}, "without server_key"),
        ({"secret_key": public, "server_key": public}, "holds no secret key"),
    ):
        with pytest.raises(ValidationError, match=text):
            stream2_source("tcp://127.0.0.1:31001", **options)
