"""SIMPLON stream v1: what its messages become, on recorded bytes of a detector and on small messages of every kind."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dectris_messages import SHAPE, as_json, pixels, v1_end, v1_header, v1_image

from stream.codec.payload import decode
from stream.events import Encoding, EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.wire.capture import Reader, Recorded
from stream.wire.limits import Limits
from stream.wire.simplon import Decoder

RECORDED = "streams/streaming-receiver/eiger_legacy_dump.zip"


def feed(*messages: Sequence[bytes], decoder: Decoder | None = None) -> list[Event]:
    """All events, also of what waits for a message that does not come."""
    decoder = decoder or Decoder()
    events = [event for message in messages for event in decoder.feed(message, 1.5e9)]
    return events + decoder.tick(1.5e9 + 1)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def start_of(*messages: Sequence[bytes]) -> ScanStart:
    (start,) = [event for event in feed(*messages) if isinstance(event, ScanStart)]
    return start


@pytest.mark.shared
def test_a_recorded_scan_of_a_detector_comes_out_whole(shared: Path) -> None:
    messages = [item.parts for item in Reader(shared / RECORDED) if isinstance(item, Recorded)]
    decoder = Decoder()
    start, *frames = [event for parts in messages for event in decoder.feed(parts, 0.0)]

    assert isinstance(start, ScanStart) and start.name == "14"
    assert (start.shape, start.dtype, start.channels) == ((1065, 1030), np.dtype("uint32"), ("threshold_1",))
    assert start.expected == 100_000
    assert start.header == (tuple(bytes(part) for part in messages[0]),)
    detector = start.detector
    assert (detector.description, detector.serial_number) == ("Dectris EIGER1 Si 1M", "E-02-0153")
    assert (detector.energy_ev, detector.wavelength_angstrom) == (8000.0, 1.5498024804150032)
    assert (detector.saturation_value, detector.threshold_energy_ev) == (2943293, {"threshold_1": 4000.0})
    assert detector.flatfield_applied and detector.distance_m is detector.beam_center_x_px is None
    assert detector.pixel_mask_applied is True
    mask, flatfield = detector.pixel_mask["threshold_1"], detector.flatfield["threshold_1"]
    assert (mask.shape, mask.dtype, np.count_nonzero(mask)) == (start.shape, np.uint32, 38129)
    assert np.count_nonzero(mask) == detector.metadata["number_of_excluded_pixels"]
    assert (flatfield.shape, flatfield.dtype) == (start.shape, np.float32)
    assert detector.metadata["header_appendix"] == {"filename": "", "rotate": 0}

    assert [frame.index for frame in frames] == list(range(9))
    assert {frame.status for frame in frames} == {FrameStatus.RECEIVED}, "each hash is the MD5 of its description"
    sums = []
    for frame in frames:
        image = decode(frame.payloads["threshold_1"])
        flagged = image == 2**32 - 1
        assert np.count_nonzero(flagged) in (38310, 38311)
        sums.append(int(image[~flagged].sum()))
    assert sums == [9, 17, 45, 32, 8, 3, 3, 6, 0]
    assert frames[0].detector_time == pytest.approx(4843.21380696), "the detector's clock does not start at 0"
    assert np.diff([frame.detector_time for frame in frames]) == pytest.approx(1.0, abs=1e-4)
    assert frames[0].exposure_s == pytest.approx(0.99433902)
    assert frames[0].stop_time == pytest.approx(4844.21380098, abs=1e-6)
    assert math.isnan(frames[0].absolute_time), "nobody knows when that clock began"
    (end,) = decoder.finish(EndStatus.ABORTED)
    assert isinstance(end, ScanEnd) and end.announced == 100_000


@pytest.mark.parametrize(
    ("encoding", "dtype", "expected"),
    [
        ("bs8-lz4<", "uint8", Encoding.BSLZ4),
        ("bs16-lz4<", "uint16", Encoding.BSLZ4),
        ("bs32-lz4<", "uint32", Encoding.BSLZ4),
        ("bs32lz4", "uint32", Encoding.BSLZ4),
        ("lz4<", "uint8", Encoding.LZ4_BLOCK),
        ("lz4<", "uint16", Encoding.LZ4_BLOCK),
        ("lz4<", "uint32", Encoding.LZ4_BLOCK),
        ("<", "uint16", Encoding.RAW),
        (">", "uint16", Encoding.RAW),
        (">", "uint32", Encoding.RAW),
    ],
)
def test_every_encoding_decodes_to_its_pixels(encoding: str, dtype: str, expected: Encoding) -> None:
    image = pixels(3, dtype=dtype)
    header = v1_header(bit_depth_image=8 * image.itemsize)
    _, frame = feed(header, v1_image(3, encoding, image=image))
    assert isinstance(frame, Frame) and frame.status is FrameStatus.RECEIVED
    payload = frame.payloads["threshold_1"]
    assert (payload.encoding, payload.shape) == (expected, SHAPE), "the wire says [x, y], we say (rows, columns)"
    np.testing.assert_array_equal(decode(payload), image)


@pytest.mark.parametrize("encoding", ["bs24-lz4<", "zstd", "bs16<", "bs32-lz4<", "lz4<>", "bs16-lz4<" * 9])
def test_an_encoding_outside_the_grammar_is_a_hole_with_a_reason(encoding: str) -> None:
    parts = v1_image(1)
    about = json.loads(parts[1]) | {"encoding": encoding}
    parts[1] = as_json(**about)
    _, bad, good = feed(v1_header(), parts, v1_image(2))
    assert isinstance(bad, Frame) and bad.status is FrameStatus.CORRUPT and "encoding" in bad.problem
    assert isinstance(good, Frame) and good.status is FrameStatus.RECEIVED


@pytest.mark.parametrize("detail", ["all", "basic"])
def test_the_header_starts_the_scan_before_any_image(detail: str) -> None:
    start = start_of(v1_header(detail))
    assert (start.shape, start.dtype, start.expected, start.name) == (SHAPE, np.dtype("uint16"), 5, "7")
    detector = start.detector
    assert (detector.beam_center_x_px, detector.beam_center_y_px, detector.distance_m) == (25.5, 3.25, 0.25)
    assert (detector.count_time_s, detector.frame_time_s) == (0.01, 0.0125)
    assert set(detector.pixel_mask) == set(detector.flatfield) == ({"threshold_1"} if detail == "all" else set())
    if detail == "all":
        np.testing.assert_array_equal(detector.pixel_mask["threshold_1"], np.eye(*SHAPE))
        np.testing.assert_array_equal(detector.flatfield["threshold_1"], np.full(SHAPE, 1.5))
    assert detector.metadata["trigger_mode"] == "ints" and "wavelength" not in detector.metadata


def test_without_header_detail_the_scan_starts_at_its_first_image() -> None:
    header, first = v1_header("none"), v1_image(0)
    assert feed(header) == []
    start, frame = feed(header, first)
    assert isinstance(start, ScanStart) and isinstance(frame, Frame)
    assert (start.shape, start.dtype, start.expected) == (SHAPE, np.dtype("uint16"), None)
    assert start.header == (tuple(header), tuple(first)), "both are needed to go on after a crash"


def test_a_lost_header_costs_no_image() -> None:
    events = feed(v1_image(0), v1_image(1), v1_end())
    assert kinds(events) == ["ScanStart", "Note", "Frame", "Frame", "ScanEnd"]


def test_a_header_whose_configuration_is_damaged_costs_no_image() -> None:
    header = v1_header("basic")
    header[1] = header[1][:-1]
    assert kinds(feed(header, v1_image(0))) == ["Note", "ScanStart", "Frame"]


def test_simulators_that_leave_out_the_d_are_understood() -> None:
    header = [part.replace(b"dflatfield", b"flatfield").replace(b"dpixelmask", b"pixelmask") for part in v1_header()]
    assert set(start_of(header).detector.pixel_mask) == {"threshold_1"}


@pytest.mark.parametrize("detail", ["none", "basic", "all"])
def test_a_header_appendix_goes_to_the_metadata(detail: str) -> None:
    header = v1_header(detail, appendix=b'{"filename": "scan_7"}')
    assert start_of(header, v1_image(0)).detector.metadata["header_appendix"] == {"filename": "scan_7"}
    header[-1] = b"plain text"
    assert start_of(header, v1_image(0)).detector.metadata["header_appendix"] == "plain text"


def test_triggers_multiply_the_announced_images() -> None:
    assert start_of(v1_header(nimages=10, ntrigger=30)).expected == 300
    assert start_of(v1_header(nimages=10, ntrigger=2_000_000_000)).expected is None, "until stopped"


def test_the_monitor_is_read_from_the_image_appendix() -> None:
    decoder = Decoder(monitor_key="i0")
    _, frame, silent, odd = feed(
        v1_header(), v1_image(0, appendix=b'{"i0": 5.5}'), v1_image(1), v1_image(2, appendix=b"\xff"), decoder=decoder
    )
    assert isinstance(frame, Frame) and frame.monitor == 5.5
    for other in (silent, odd):
        assert isinstance(other, Frame) and math.isnan(other.monitor) and other.status is FrameStatus.RECEIVED


def test_a_description_that_changed_under_its_hash_is_corrupt() -> None:
    bad = v1_image(1)
    bad[1] = bad[1].replace(b"dimage_d-1.0", b"dimage_d-1.1")
    _, _, frame, good = feed(v1_header(), v1_image(0), bad, v1_image(2))
    assert isinstance(frame, Frame) and frame.status is FrameStatus.CORRUPT and "MD5" in frame.problem
    assert isinstance(good, Frame) and good.status is FrameStatus.RECEIVED


def test_the_hashes_of_a_simulator_are_noted_once() -> None:
    events = feed(v1_header(), *(v1_image(index, hashed="whatever") for index in range(4)))
    assert kinds(events) == ["ScanStart", "Note", "Frame", "Frame", "Frame", "Frame"]


def test_an_image_that_disagrees_with_its_scan_is_a_hole_with_a_reason() -> None:
    wrong: dict[str, Sequence[bytes]] = {
        "6 x 50 uint32": v1_image(1, "bs32-lz4<", image=pixels(1, dtype="uint32")),
        "50 x 6": v1_image(1, shape=list(SHAPE)),
        "its description says 7": v1_image(1, size=7),
        "speaks of 600 bytes instead of 700": v1_image(1, shape=[50, 7]),
        "no encoding": v1_image(1, encoding="bs16-lz4<", type=None),
        "2 thresholds, not 1": v1_image(1, shape=[50, 6, 2]),
        "2 parts": v1_image(1)[:2],
        "6 parts": [*v1_image(1), b"{}", b"{}"],
        "not": [v1_image(1)[0], b"{", *v1_image(1)[2:]],
    }
    for text, parts in wrong.items():
        _, bad, *notes, good = feed(v1_header(), parts, v1_image(2))
        assert isinstance(bad, Frame) and (bad.status, bad.index) == (FrameStatus.CORRUPT, 1), text
        assert text in bad.problem and not bad.payloads
        assert isinstance(good, Frame) and good.status is FrameStatus.RECEIVED and not notes


def test_missing_times_cost_no_frame() -> None:
    parts = v1_image(0)
    for damaged in (parts[:3], [*parts[:3], b"{}"], [*parts[:3], b"nothing"]):
        _, note, frame = feed(v1_header(), damaged)
        assert isinstance(note, Note) and "start_time" in note.text
        assert isinstance(frame, Frame) and math.isnan(frame.detector_time) and frame.status is FrameStatus.RECEIVED


@pytest.mark.parametrize("index", [2**60, 10**30, 5 + 100_000, -1, 1.5, None, "7", True])
def test_an_absurd_frame_number_is_noted_and_reaches_nobody(index: Any) -> None:
    absurd = [as_json(htype="dimage-1.0", series=7, frame=index, hash=""), *v1_image(1)[1:]]
    assert kinds(feed(v1_header(), v1_image(0), absurd, v1_image(2))) == ["ScanStart", "Frame", "Note", "Frame"]


def test_numbers_may_run_on_beyond_the_announced_count() -> None:
    start, *frames = feed(v1_header(), *(v1_image(index) for index in range(8)))
    assert isinstance(start, ScanStart) and start.expected == 5
    assert [frame.index for frame in frames if isinstance(frame, Frame)] == list(range(8))


def test_a_new_header_ends_the_scan_before_it_as_aborted() -> None:
    events = feed(v1_header(), v1_image(0), v1_header(series=8), v1_image(0, series=8), v1_end(8))
    assert kinds(events) == ["ScanStart", "Frame", "ScanEnd", "ScanStart", "Frame", "ScanEnd"]
    aborted, complete = events[2], events[-1]
    assert isinstance(aborted, ScanEnd) and aborted.status is EndStatus.ABORTED
    assert isinstance(complete, ScanEnd) and complete.status is EndStatus.COMPLETE
    assert aborted.scan != complete.scan


def test_the_old_scan_stays_open_until_a_header_without_detail_gets_its_first_image() -> None:
    events = feed(v1_header(), v1_header("none", series=8), v1_image(0), v1_image(0, series=8))
    assert kinds(events) == ["ScanStart", "Frame", "ScanEnd", "ScanStart", "Frame"]
    assert kinds(feed(v1_header("none"), v1_end())) == ["Note"], "a series without images has no shape"


def test_stale_images_of_another_series_are_noted_and_left_out() -> None:
    stale, decoder = v1_image(3, series=6), Decoder()
    events = feed(v1_header(), stale, v1_image(0), v1_end(6), v1_end(), decoder=decoder)
    assert kinds(events) == ["ScanStart", "Note", "Frame", "Note", "ScanEnd"]
    assert kinds(feed(v1_image(1), decoder=decoder)) == ["Note"]


def test_every_scan_gets_a_uid_of_its_own_but_a_recording_the_same_at_every_reading() -> None:
    assert start_of(v1_header()).uid != start_of(v1_header()).uid
    messages = (v1_header(), v1_end(), v1_header(series=8))
    readings = [feed(*messages, decoder=Decoder(identity="file:/a.cbors")) for _ in range(2)]
    uids = [[event.uid for event in events if isinstance(event, ScanStart)] for events in readings]
    assert uids == [["file:/a.cbors#1", "file:/a.cbors#2"]] * 2


@pytest.mark.parametrize("detail", ["all", "none"])
def test_a_restored_scan_goes_on_under_its_uid(detail: str) -> None:
    header = v1_header(detail)
    start = start_of(header, v1_image(0))
    decoder = Decoder()
    (restored,) = decoder.restore(start.uid, start.header)
    assert isinstance(restored, ScanStart) and restored.resumed
    assert (restored.uid, restored.shape, restored.dtype) == (start.uid, start.shape, start.dtype)
    again, frame, end = (
        feed(header, v1_image(2), v1_end(), decoder=decoder)
        if detail == "all"
        else (
            None,
            *feed(v1_image(2), v1_end(), decoder=decoder),
        )
    )
    assert again is None or isinstance(again, Note), "the same header again is the same scan"
    assert isinstance(frame, Frame) and (frame.scan, frame.index) == (start.uid, 2)
    assert isinstance(end, ScanEnd) and end.scan == start.uid


def test_tables_that_do_not_fit_are_noted_and_left_out() -> None:
    header = v1_header()
    header[2] = as_json(htype="dflatfield-1.0", shape=[50, 7], type="float32")
    header[4] = as_json(htype="dpixelmask-1.0", shape=[50, 6], type="float64")
    start, *notes = feed(header)
    assert isinstance(start, ScanStart) and not start.detector.pixel_mask and not start.detector.flatfield
    assert ["flatfield" in note.text or "pixelmask" in note.text for note in notes if isinstance(note, Note)] == [
        True
    ] * 2


def test_a_message_of_the_other_protocol_is_told_as_such() -> None:
    (note,) = feed([b"\xd9\xd9\xf7\xa1dtypeestart"])
    assert isinstance(note, Note) and "is this a stream2 detector?" in note.text


def test_a_message_beyond_the_limits_is_refused() -> None:
    decoder = Decoder(Limits(message_bytes=500, parts=4, json_bytes=80))
    for parts, text in (
        ([b"{}"] * 5, "5 parts"),
        ([b"{}", bytes(500)], "500 bytes"),
        ([b" " * 90], "90 bytes"),
        ([], "0 parts"),
    ):
        (note,) = feed(parts, decoder=decoder)
        assert isinstance(note, Note) and text in note.text


@pytest.mark.parametrize("applied", [True, False, None])
def test_whether_bad_pixels_are_flagged_is_what_the_detector_said(applied: bool | None) -> None:
    start = v1_header(pixel_mask_applied=applied)
    assert start_of(start).detector.pixel_mask_applied is applied


def test_a_beam_centre_of_nought_is_one_that_nobody_has_set() -> None:
    for x, y, found in ((0.0, 0.0, (None, None)), (0.0, 3.25, (0.0, 3.25)), (0, 0, (None, None))):
        detector = start_of(v1_header(beam_center_x=x, beam_center_y=y)).detector
        assert (detector.beam_center_x_px, detector.beam_center_y_px) == found


def test_the_numbers_of_an_image_appendix_are_readings() -> None:
    appendix = b'{"motors": {"samx": 1.5}, "file": "a.h5", "i0": 7}'
    _, frame, other, none = feed(
        v1_header(), v1_image(0, appendix=appendix), v1_image(1, appendix=b"12.5 mm"), v1_image(2, appendix=b"\xff{")
    )
    assert isinstance(frame, Frame) and frame.readings == {"motors.samx": 1.5, "i0": 7.0}
    assert isinstance(other, Frame) and isinstance(none, Frame) and other.readings == none.readings == {}
    assert frame.detector_time == pytest.approx(4843.21380696, abs=1e-8)
    assert frame.stop_time - frame.detector_time == pytest.approx(0.01)
    assert frame.exposure_s == pytest.approx(0.01)


def stacked(index: int, encoding: str, thresholds: int = 3) -> tuple[list[np.ndarray], list[bytes]]:
    """The images of several thresholds, and the message that has them as one: [x, y, thresholds]."""
    images = [pixels(10 * index + number) for number in range(thresholds)]
    shape = [SHAPE[1], SHAPE[0], thresholds]
    return images, v1_image(index, encoding, image=np.concatenate(images), shape=shape)


@pytest.mark.parametrize("encoding", ["bs16-lz4<", "lz4<", "<", ">"])
@pytest.mark.parametrize("thresholds", [3, None])
def test_the_thresholds_of_an_image_are_channels(encoding: str, thresholds: int | None) -> None:
    decoder = Decoder(thresholds=thresholds)
    start, *frames = feed(v1_header(), *(stacked(index, encoding)[1] for index in range(2)), decoder=decoder)
    assert isinstance(start, ScanStart) and start.channels == ("threshold_1", "threshold_2", "threshold_3")
    assert start.shape == SHAPE and len(start.header) == (1 if thresholds else 2)
    for index, frame in enumerate(frames):
        assert isinstance(frame, Frame) and frame.status is FrameStatus.RECEIVED
        for payload, image in zip(frame.payloads.values(), stacked(index, encoding)[0], strict=True):
            np.testing.assert_array_equal(decode(payload), image)


def test_a_number_of_thresholds_that_was_not_expected_is_a_hole_that_says_what_to_set() -> None:
    _, frame, one = feed(v1_header(), stacked(0, "<")[1], v1_image(1))
    assert isinstance(frame, Frame) and frame.status is FrameStatus.CORRUPT and isinstance(one, Frame)
    assert "3 thresholds, not 1: set stream.thresholds to 3" in frame.problem and one.status is FrameStatus.RECEIVED


def test_thresholds_that_do_not_decode_are_a_hole() -> None:
    message = stacked(1, "bs16-lz4<")[1]
    message[2] = message[2][:-9]
    message[1] = json.dumps({**json.loads(message[1]), "size": len(message[2])}).encode()
    _, _, frame = feed(v1_header(), stacked(0, "bs16-lz4<")[1], message, decoder=Decoder(thresholds=3))[:3]
    assert isinstance(frame, Frame) and frame.status is FrameStatus.CORRUPT
