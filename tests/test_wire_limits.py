"""What headers and appendices from an untrusted network may cost: looked at before it is decoded or parsed."""

import json
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from dectris_messages import array, stream2_start, v1_header, v1_image

from stream.events import Event, Frame, Note, ScanStart
from stream.wire import simplon, stream2
from stream.wire.limits import Limits
from stream.wire.metadata import appendix


def peak_bytes(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def notes(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Note))


def test_a_mask_of_another_shape_is_refused_before_it_is_decoded() -> None:
    mask = array(np.zeros((4096, 4096), np.uint32), "bslz4")
    start = stream2_start(pixel_mask={"threshold_1": mask})
    events: list[Event] = []
    cost = peak_bytes(lambda: events.extend(stream2.Decoder().feed([start], 0.0)))
    assert isinstance(events[0], ScanStart) and not events[0].detector.pixel_mask
    assert "its shape is (4096, 4096)" in notes(events)
    assert cost < 10 * len(start) + 1_000_000


def test_all_tables_of_a_header_together_are_bounded() -> None:
    shape, channels = (512, 512), [f"c{number}" for number in range(8)]
    masks = {channel: array(np.zeros(shape, np.uint32), "bslz4") for channel in channels}
    flats = {channel: array(np.zeros(shape, np.float32), "bslz4") for channel in channels}
    start = stream2_start(shape=shape, channels=channels, pixel_mask=masks, flatfield=flats)
    whole = stream2.Decoder().feed([start], 0.0)
    assert isinstance(whole[0], ScanStart)
    assert len(whole[0].detector.pixel_mask) == len(whole[0].detector.flatfield) == 8
    events: list[Event] = []
    decoder = stream2.Decoder(Limits(table_bytes=3_000_000))
    cost = peak_bytes(lambda: events.extend(decoder.feed([start], 0.0)))
    assert isinstance(events[0], ScanStart)
    kept = [*events[0].detector.pixel_mask.values(), *events[0].detector.flatfield.values()]
    assert 1 <= len(kept) <= 3
    assert "left out: with it" in notes(events)
    assert cost < 10_000_000


def test_an_appendix_beyond_the_limit_is_not_parsed_for_the_monitor_reading() -> None:
    huge = json.dumps({"i0": 5.0, "rest": [[]] * 8_000_000}).encode()
    decoder = simplon.Decoder(monitor_key="i0")
    decoder.feed(v1_header(), 0.0)
    events: list[Event] = []
    cost = peak_bytes(lambda: events.extend(decoder.feed(v1_image(0, appendix=huge), 0.0)))
    assert isinstance(events[-1], Frame)
    assert math.isnan(events[-1].monitor)
    assert cost < 3 * len(huge)
    good = decoder.feed(v1_image(1, appendix=b'{"i0": 5.0}'), 0.0)
    assert isinstance(good[-1], Frame) and good[-1].monitor == 5.0


def test_user_data_beyond_the_limit_are_kept_as_text() -> None:
    huge = json.dumps({"rest": [[]] * 8_000_000})
    assert peak_bytes(lambda: appendix(huge)) < 3 * len(huge)
    assert isinstance(appendix(huge), str)
    assert appendix('{"i0": 5.0}') == {"i0": 5.0}
