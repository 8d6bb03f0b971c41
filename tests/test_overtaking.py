"""Messages of several senders overtake each other: images behind their end message, or before their start message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from commands import wait_for
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image
from runs import configuration, finished

from sinks.check import check
from stream.events import EndStatus, Event, Frame, Note, ScanEnd, ScanStart
from stream.pipeline.runner import Run
from stream.wire import simplon, stream2
from stream.wire.early import MOST_IMAGES

START, END = "start", "end"
NOW = 1.5e9


class Wire:
    """A decoder, and the messages of a series of five images by name: "start", "end", or the number of an image."""

    def __init__(self, protocol: str) -> None:
        self.decoder = stream2.Decoder() if protocol == "stream2" else simplon.Decoder()
        self.stream2 = protocol == "stream2"

    def message(self, name: str | int, detail: str = "all") -> list[bytes]:
        if name == START:
            without = {} if detail == "all" else {"image_dtype": None}
            return [stream2_start(**without)] if self.stream2 else v1_header(detail)
        if name == END:
            return [stream2_end()] if self.stream2 else v1_end()
        assert isinstance(name, int)
        return [stream2_image(name)] if self.stream2 else v1_image(name)

    def feed(self, *names: str | int, at: float = NOW, detail: str = "all") -> list[Event]:
        return [event for name in names for event in self.decoder.feed(self.message(name, detail), at)]


@pytest.fixture(params=["stream2", "simplon"])
def wire(request: pytest.FixtureRequest) -> Wire:
    return Wire(request.param)


def indices(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, Frame)]


def test_images_behind_their_end_belong_to_the_scan_which_ends_when_all_are_there(wire: Wire) -> None:
    start, *frames, end = wire.feed(START, 0, 1, 2, END, 4, 3)
    assert isinstance(start, ScanStart) and indices(frames) == [0, 1, 2, 4, 3]
    assert isinstance(end, ScanEnd) and (end.scan, end.status) == (start.uid, EndStatus.COMPLETE)
    (note,) = wire.feed(2)
    assert isinstance(note, Note) and "has ended" in note.text


def test_nothing_waits_when_all_images_are_there_before_the_end(wire: Wire) -> None:
    assert isinstance(wire.feed(START, *range(5), END)[-1], ScanEnd)


def test_a_copy_does_not_stand_for_an_image_that_is_awaited(wire: Wire) -> None:
    events = wire.feed(START, 0, 1, 2, 2, 2, END, 3, 4)
    assert indices(events) == [0, 1, 2, 2, 2, 3, 4] and isinstance(events[-1], ScanEnd)


@pytest.mark.parametrize("later", ["tick", "message", "start", "close"])
def test_the_end_waits_no_longer_than_its_grace_for_what_is_missing(wire: Wire, later: str) -> None:
    assert isinstance(wire.feed(START, 0, 1, 3, END)[-1], Frame)
    assert wire.decoder.tick(NOW + 0.4) == []
    give_up: dict[str, Callable[[], list[Event]]] = {
        "tick": lambda: wire.decoder.tick(NOW + 0.6),
        "message": lambda: wire.feed(4, at=NOW + 0.6),
        "start": lambda: wire.decoder.feed(
            [stream2_start(series_id=8, series_unique_id="8")] if wire.stream2 else v1_header(series=8), NOW + 0.1
        ),
        "close": lambda: wire.decoder.finish(EndStatus.STOPPED),
    }
    end = give_up[later]()[0]
    assert isinstance(end, ScanEnd) and end.status is EndStatus.COMPLETE and end.announced == 5


def test_images_before_their_start_wait_for_it(wire: Wire) -> None:
    assert wire.feed(1, 0) == []
    start, *frames = wire.feed(START, 2)
    assert isinstance(start, ScanStart) and start.detector.wavelength_angstrom == 0.99987
    assert indices(frames) == [1, 0, 2]
    assert wire.decoder.tick(NOW + 60) == []


def test_images_before_a_start_that_does_not_tell_their_type_begin_the_scan(wire: Wire) -> None:
    assert wire.feed(1, 0) == []
    start, *frames = wire.feed(START, 2, detail="none")
    assert isinstance(start, ScanStart) and len(start.header) == 2 and indices(frames) == [1, 0, 2]


def test_an_end_before_the_first_image_of_a_start_without_type_waits_too(wire: Wire) -> None:
    events = wire.feed(START, END, *range(5), detail="none")
    assert isinstance(events[-1], ScanEnd) == wire.stream2, "without detail v1 does not say how many will come"
    start, *frames, end = events + wire.decoder.tick(NOW + 0.6)
    assert isinstance(start, ScanStart) and indices(frames) == list(range(5)) and isinstance(end, ScanEnd)


@pytest.mark.parametrize("given_up", ["time", "number", "end", "close"])
def test_images_without_a_start_wait_for_a_bounded_time_and_number(wire: Wire, given_up: str) -> None:
    assert wire.feed(2, 3) == [] and wire.decoder.tick(NOW + 0.4) == []
    give_up: dict[str, Callable[[], list[Event]]] = {
        "time": lambda: wire.decoder.tick(NOW + 0.6),
        "number": lambda: wire.feed(*range(4, 2 + MOST_IMAGES)),
        "end": lambda: wire.feed(END),
        "close": lambda: wire.decoder.finish(EndStatus.STOPPED),
    }
    events = give_up[given_up]()
    assert isinstance(events[0], ScanStart) and isinstance(events[1], Note) and "no start message" in events[1].text
    assert indices(events) == list(range(2, 2 + MOST_IMAGES)) if given_up == "number" else [2, 3]


def test_the_start_of_another_series_ends_the_waiting(wire: Wire) -> None:
    wire.feed(0, 1)
    other = [stream2_start(series_id=8, series_unique_id="8")] if wire.stream2 else v1_header(series=8)
    events = wire.decoder.feed(other, NOW)
    assert [type(event) for event in events] == [ScanStart, Note, Frame, Frame, ScanEnd, ScanStart]
    end, begun = events[-2:]
    assert isinstance(end, ScanEnd) and end.status is EndStatus.ABORTED
    assert isinstance(begun, ScanStart) and begun.name == "8"


def test_two_senders_into_one_socket_lose_nothing_although_the_end_of_one_comes_first(tmp_path: Path) -> None:
    stream = {"type": "stream2", "endpoint": "tcp://127.0.0.1:*", "bind": True, "grace_ms": 60_000}
    running = Run(configuration(tmp_path, stream, scans=1), reopen=False)
    context = zmq.Context.instance()
    first, second = (context.socket(zmq.PUSH) for _ in range(2))

    def send() -> None:
        for sender in (first, second):
            sender.setsockopt(zmq.SNDTIMEO, 60_000)
        wait_for(lambda: running._source is not None, "the source")
        assert running._source.receiver.ready.wait(60)  # type: ignore[union-attr]
        address = running._source.receiver.address  # type: ignore[attr-defined]
        first.connect(address)
        for message in (stream2_image(2), stream2_start(), stream2_image(0), stream2_end()):
            first.send(message)
        wait_for(lambda: running.counters().received == 2, "the images of the first sender")
        second.connect(address)
        for index in (3, 1, 4):
            second.send(stream2_image(index))

    try:
        report: Any = finished(running, send)
    finally:
        first.close(0)
        second.close(0)
    assert report.exit_code == 0, report.summary()
    assert [(scan.status, scan.expected, scan.lost) for scan in report.scans] == [(EndStatus.COMPLETE, 5, 0)]
    assert check(tmp_path / "7.h5").sound
