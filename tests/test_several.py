"""Several receivers of one detector: one scan, complete when its numbers are, whoever got them and in which order."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from commands import wait_for
from dectris_messages import pixels, stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image
from runs import configuration, finished
from sending import FRAMES, SIMPLON, STREAM2, sent, source

from sinks.check import check
from stream.codec.payload import decode
from stream.config import validate
from stream.errors import ConfigError
from stream.events import EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.pipeline.runner import Run
from stream.roles import Source
from stream.testing import RestorableConformance

LONG_S, SHORT_S = 30.0, 0.3
"""How long missing frames are waited for: never in vain, or soon."""


def several(kind: str, endpoints: Sequence[str], patience_s: float = LONG_S) -> Source:
    sources = [{"type": kind, "endpoint": endpoint} for endpoint in endpoints]
    return source("several", sources=sources, patience_s=patience_s)


class OfOneDetector(RestorableConformance):
    """A PUSH socket gives each of two receivers every other message."""

    frames = FRAMES
    in_order = False
    kind: str
    messages: Sequence[Sequence[bytes]]

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Source]:
        with sent(self.messages) as endpoint:
            yield several(self.kind, [endpoint] * 2)

    @contextmanager
    def going_on(self, folder: Path, after: int) -> Iterator[Source]:
        with sent(self.messages[1 + after :]) as endpoint:
            yield several(self.kind, [endpoint] * 2, 2.0)  # for the frames of before the restart, in vain


@pytest.mark.slow
class TestStream2(OfOneDetector):
    kind = "stream2"
    messages = STREAM2


@pytest.mark.slow
class TestSimplon(OfOneDetector):
    kind = "simplon"
    messages = SIMPLON
    identifies = False


class Senders:
    """Detectors' sockets, one for each receiver, and the events of the source that takes from all."""

    def __init__(self, count: int, kind: str = "stream2", patience_s: float = LONG_S) -> None:
        self._context = zmq.Context()
        self.sockets = [self._context.socket(zmq.PUSH) for _ in range(count)]
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in self.sockets]
        self.source = several(kind, [f"tcp://127.0.0.1:{port}" for port in ports], patience_s)
        self.events: list[Event] = []
        self._thread = threading.Thread(target=lambda: self.events.extend(self.source.events()))
        self._thread.start()

    def send(self, receiver: int, *messages: bytes | Sequence[bytes]) -> None:
        for message in messages:
            self.sockets[receiver].send_multipart([message] if isinstance(message, bytes) else list(message))

    def until(self, condition: Callable[[], Any], what: str) -> None:
        wait_for(condition, what, 20)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def indices(self) -> list[int]:
        return sorted(frame.index for frame in self.of(Frame))

    def ended(self, count: int = 1) -> list[ScanEnd]:
        self.until(lambda: len(self.of(ScanEnd)) >= count, f"{count} ends")
        return self.of(ScanEnd)

    def close(self) -> None:
        self.source.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._context.destroy(linger=0)


@pytest.fixture
def two() -> Iterator[Senders]:
    made = Senders(2)
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[Senders]:
    made = Senders(2, patience_s=SHORT_S)
    yield made
    made.close()


def start(count: int, series: int = 1) -> bytes:
    return stream2_start(number_of_images=count, series_id=series, series_unique_id=f"01SERIES{series}")


def image(index: int, series: int = 1) -> bytes:
    return stream2_image(index, series_id=series, series_unique_id=f"01SERIES{series}")


def end(series: int = 1) -> bytes:
    return stream2_end(series_id=series, series_unique_id=f"01SERIES{series}")


def counted(senders: Senders) -> list[str]:
    return [note.text for note in senders.of(Note) if not note.harmless]


def test_an_end_that_overtakes_images_costs_nothing(two: Senders) -> None:
    two.send(0, start(40), *(image(index) for index in range(0, 40, 2)), end())
    two.until(lambda: len(two.indices) == 20, "the first half")
    two.send(1, *(image(index) for index in range(1, 40, 2)))
    (ended,) = two.ended()
    assert ended.status is EndStatus.COMPLETE and two.indices == list(range(40)) and not counted(two)


def test_images_that_come_before_the_start_from_another_receiver_wait_for_it(two: Senders) -> None:
    two.send(1, *(image(index) for index in range(1, 200, 2)))
    two.send(0, start(200), *(image(index) for index in range(0, 200, 2)), end())
    (ended,) = two.ended()
    (begun,) = two.of(ScanStart)
    assert begun.uid == "01SERIES1" and begun.expected == 200
    assert ended.status is EndStatus.COMPLETE and two.indices == list(range(200)) and not counted(two)


def test_the_next_scan_waits_for_the_images_that_another_receiver_still_has(two: Senders) -> None:
    first, second = range(0, 30, 2), range(1, 30, 2)
    two.send(0, start(30), *(image(index) for index in first), end(), start(30, 2), *(image(each, 2) for each in first))
    two.until(lambda: len(two.indices) == 15, "the first half of the first scan")
    two.send(1, *(image(index) for index in second), *(image(index, 2) for index in second), end(2))
    ends = two.ended(2)
    assert [each.status for each in ends] == [EndStatus.COMPLETE] * 2 and not counted(two)
    for uid in ("01SERIES1", "01SERIES2"):
        assert sorted(frame.index for frame in two.of(Frame) if frame.scan == uid) == list(range(30))
    scans = [event.scan for event in two.events if isinstance(event, Frame)]
    assert scans == sorted(scans), "one scan after the other"


def test_two_connections_that_both_tell_start_and_end_are_one_scan(two: Senders) -> None:
    """Detectors that share a series, or a detector with two network cards."""
    for number in range(2):
        two.send(number, start(20), *(image(index) for index in range(number, 20, 2)), end())
    (ended,) = two.ended()
    assert ended.status is EndStatus.COMPLETE and two.indices == list(range(20)) and len(two.of(ScanStart)) == 1
    two.send(0, start(4, 2), *(image(index, 2) for index in range(4)), end(2))
    assert two.ended(2)[1].status is EndStatus.COMPLETE and not counted(two)


def test_a_receiver_that_dies_leaves_holes_is_told_and_the_others_go_on(hasty: Senders) -> None:
    hasty.send(0, start(20), *(image(index) for index in range(0, 10, 2)))
    hasty.send(1, image(1), image(3))
    hasty.until(lambda: len(hasty.indices) == 7, "frames of both")
    hasty.sockets[1].close(0)
    hasty.send(0, *(image(index) for index in range(10, 20)), end())
    (ended,) = hasty.ended()
    assert ended.status is EndStatus.COMPLETE and len(hasty.indices) == 17
    assert any("was lost" in note.text for note in hasty.of(Note))


def test_a_scan_is_complete_without_its_end_which_went_to_a_receiver_that_is_gone(hasty: Senders) -> None:
    hasty.send(0, start(10), *(image(index) for index in range(0, 10, 2)))
    hasty.send(1, *(image(index) for index in range(1, 10, 2)))
    (ended,) = hasty.ended()
    assert ended.status is EndStatus.COMPLETE and hasty.indices == list(range(10))


def test_copies_of_a_scan_that_is_complete_are_not_counted_as_lost(two: Senders) -> None:
    two.send(0, start(4), *(image(index) for index in range(4)), end())
    two.ended()
    two.send(1, image(2), image(3))
    two.until(lambda: len(two.of(Note)) >= 2, "what becomes of the copies")
    assert not counted(two)


def test_a_receiver_that_joins_late_takes_part() -> None:
    context = zmq.Context()
    first, late = context.socket(zmq.PUSH), context.socket(zmq.PUSH)
    port = first.bind_to_random_port("tcp://127.0.0.1")
    spare = late.bind_to_random_port("tcp://127.0.0.1")
    late.unbind(f"tcp://127.0.0.1:{spare}")
    made = several("stream2", [f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{spare}"])
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(made.events()))
    thread.start()
    first.send(start(8))
    for index in range(4):
        first.send(image(index))
    wait_for(lambda: sum(isinstance(event, Frame) for event in found) == 4, "the first half")
    late.bind(f"tcp://127.0.0.1:{spare}")
    for index in range(4, 8):
        late.send(image(index))
    first.send(end())
    wait_for(lambda: any(isinstance(event, ScanEnd) for event in found), "the end")
    made.close()
    thread.join(10)
    context.destroy(linger=0)
    assert sum(isinstance(event, Frame) for event in found) == 8


def test_stream_v1_is_merged_too() -> None:
    made = Senders(2, "simplon")
    try:
        made.send(0, v1_header(nimages=10), *(v1_image(index) for index in range(0, 10, 2)), v1_end())
        made.send(1, *(v1_image(index) for index in range(1, 10, 2)))
        (ended,) = made.ended()
        assert ended.status is EndStatus.COMPLETE and made.indices == list(range(10)) and not counted(made)
        for frame in made.of(Frame):
            np.testing.assert_array_equal(decode(frame.payloads["threshold_1"]), pixels(frame.index))
    finally:
        made.close()


def test_one_file_holds_what_four_receivers_of_a_pushing_detector_got(tmp_path: Path) -> None:
    count = 400
    with ExitStack() as stack:
        endpoint = stack.enter_context(sent([[start(count)], *([image(index)] for index in range(count)), [end()]]))
        section = {"type": "several", "sources": [{"type": "stream2", "endpoint": endpoint}] * 4, "patience_s": 5}
        report = finished(Run(configuration(tmp_path, section, scans=1), reopen=True))
    assert report.exit_code == 0, report.summary()
    (scan,) = report.scans
    assert scan.counts[FrameStatus.RECEIVED] + scan.counts[FrameStatus.LATE] == count
    (file,) = tmp_path.glob("*.h5")
    assert check(file).sound, check(file).line()


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ([], "sources"),
        ([{"type": "watch", "folder": "/data"}], "type stream2 or simplon"),
        ([{"type": "stream2", "endpoint": "http://detector"}], r"\[0\].*no ZMQ address"),
        ([{"type": "stream2", "endpoint": "tcp://a:1"}, {"type": "simplon", "endpoint": "tcp://a:2"}], "one protocol"),
        ([{"type": "stream2", "endpoint": "tcp://a:1", "endpont": 1}], "endpont"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_the_start(sources: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        validate({"stream": {"type": "several", "sources": sources}, "sinks": [{"type": "monitor"}]})
