"""MAX IV's secondary stream: its traps, hostile messages, and what every source must do."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from abused import abuse, good_frame, limited_memory
from hostile_corpus import VALUES, Case, blobs, flips, garbage
from sending import FRAMES, Socket
from stins_messages import SHAPE, as_json, pixels, stins_end, stins_header, stins_image

from stream.codec.payload import decode
from stream.events import Encoding, EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.wire.stins import Decoder


@pytest.mark.slow
class TestStins(Socket):
    kind = "stins"
    messages = (stins_header(), *(stins_image(index) for index in range(FRAMES)), stins_end(8 + FRAMES))
    identifies = False


def fed(messages: Sequence[Sequence[bytes]], decoder: Decoder | None = None, now: float = 100.0) -> list[Event]:
    decoder = decoder or Decoder()
    events = [event for parts in messages for event in decoder.feed([memoryview(part) for part in parts], now)]
    return [*events, *decoder.tick(now + 1)]


def frames_of(events: Sequence[Event]) -> list[Frame]:
    return [event for event in events if isinstance(event, Frame)]


@pytest.mark.parametrize("packing", ["bslz4", "bare", "none"])
def test_a_blob_is_decoded_with_and_without_the_header_of_an_eiger(packing: str) -> None:
    events = fed([stins_header(), stins_image(0, packing=packing), stins_image(1, packing=packing), stins_end(10)])
    start, *frames, end = events
    assert isinstance(start, ScanStart) and start.name == "scan-0042" and start.shape == SHAPE
    assert isinstance(end, ScanEnd) and end.status is EndStatus.COMPLETE
    for frame in frames_of(frames):
        np.testing.assert_array_equal(decode(frame.payloads["data"]), pixels(frame.index))
        expected = {"bslz4": Encoding.BSLZ4, "bare": Encoding.BSLZ4_BARE, "none": Encoding.RAW}[packing]
        assert frame.payloads["data"].encoding is expected


def test_frames_of_the_next_series_are_its_own_although_they_begin_at_0_again() -> None:
    second = [stins_header(11), stins_image(0, 12), stins_image(1, 13), stins_end(14)]
    events = fed([stins_header(), stins_image(0), stins_image(1), stins_end(10), *second])
    starts = [event for event in events if isinstance(event, ScanStart)]
    assert [[frame.index for frame in frames_of(events) if frame.scan == start.uid] for start in starts] == [[0, 1]] * 2
    assert not [event for event in events if isinstance(event, Note) and not event.harmless]


def test_a_series_whose_end_and_header_were_lost_is_not_taken_for_copies_of_the_one_before() -> None:
    lost = [stins_image(index, 20 + index) for index in range(6)]
    events = fed([stins_header(), *(stins_image(index) for index in range(6)), *lost])
    starts = [event for event in events if isinstance(event, ScanStart)]
    assert len(starts) == 2 and len(frames_of(events)) == 12
    (end,) = (event for event in events if isinstance(event, ScanEnd))
    assert end.status is EndStatus.ABORTED and end.scan == starts[0].uid


def test_lost_messages_are_told_and_leave_holes() -> None:
    events = fed([stins_header(), stins_image(0), stins_image(2), stins_image(4), stins_end(13)])
    assert [frame.index for frame in frames_of(events)] == [0, 2, 4]
    assert any(isinstance(event, Note) and "msg_number" in event.text for event in events)


def test_the_header_and_the_images_say_what_they_like() -> None:
    (start, frame, *_) = fed(
        [[*stins_header(sample="LaB6"), as_json({"dose": 3})], stins_image(0, exposure=0.25, motors={"x": 1.5})]
    )
    assert isinstance(start, ScanStart) and isinstance(frame, Frame)
    assert start.detector.metadata["user_data"]["sample"] == "LaB6"
    assert start.detector.metadata["user_data"]["meta"] == {"dose": 3}
    assert frame.readings == {"exposure": 0.25, "motors.x": 1.5}


def test_an_image_that_cannot_be_read_is_a_hole_at_its_number() -> None:
    events = fed([stins_header(), stins_image(0), stins_image(1, shape=[13, 9]), stins_image(2, type="object")])
    assert [frame.status for frame in frames_of(events)] == [
        FrameStatus.RECEIVED,
        FrameStatus.CORRUPT,
        FrameStatus.CORRUPT,
    ]


def hostile() -> Iterator[Case]:
    yield from garbage()
    head, blob = stins_image(3)
    for name, data in blobs(2):
        yield Case(f"blob {name}", [head, data])
    for name, data in flips(blob, 3):
        yield Case(f"blob {name}", [head, data])
    for size in range(len(head)):
        yield Case(f"cut at {size}", [head[:size], blob])
    for key in ("htype", "msg_number", "frame", "shape", "type", "compression"):
        for name, value in VALUES.items():
            yield Case(f"{key} {name}", [stins_image(3, **{key: value})[0], blob])
        for name, value in VALUES.items():
            yield Case(f"{key} inside {name}", [stins_image(3, **{key: [value, value]})[0], blob])
    yield Case("deeply nested", [b"[" * 100_000, blob])
    yield Case("a forged number", stins_image(0, 10**9))
    yield Case("a forged frame", stins_image(10**9, 10))


@pytest.mark.slow
def test_hostile_messages_harm_nothing_and_the_next_good_frame_comes_out() -> None:
    count = 0
    with limited_memory():
        for case in hostile():
            count += 1
            decoder = Decoder()
            fed([stins_header(), stins_image(0), stins_image(1)], decoder)
            scan = decoder.scan
            abuse(decoder, case)
            assert decoder.scan is scan, case.name
            frame = good_frame(decoder.feed([memoryview(part) for part in stins_image(4)], 0.0))
            np.testing.assert_array_equal(decode(frame.payloads["data"]), pixels(4))
    assert count > 1000
