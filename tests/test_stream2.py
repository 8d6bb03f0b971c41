"""stream2: what its messages become, on recorded bytes of a detector and on small messages of every kind."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from dectris_messages import SHAPE, UID, array, pixels, stream2_end, stream2_image, stream2_start

from stream.codec.payload import decode
from stream.events import Encoding, EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.wire.capture import Reader, Recorded
from stream.wire.stream2 import Decoder, rational

RECORDED = "streams/streaming-receiver/derived_dectris_stream2_plain.cborseq.gz"


def feed(*messages: bytes, decoder: Decoder | None = None) -> list[Event]:
    """All events, also of what waits for a message that does not come."""
    decoder = decoder or Decoder()
    events = [event for message in messages for event in decoder.feed([message], 1.5e9)]
    return events + decoder.tick(1.5e9 + 1)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def start_of(*messages: bytes) -> ScanStart:
    (start,) = [event for event in feed(*messages) if isinstance(event, ScanStart)]
    return start


@pytest.mark.shared
def test_a_recorded_scan_of_a_detector_comes_out_whole(shared: Path) -> None:
    messages = [item.parts for item in Reader(shared / RECORDED) if isinstance(item, Recorded)]
    decoder = Decoder()
    start, *frames, end = [event for parts in messages for event in decoder.feed(parts, 0.0)]

    assert isinstance(start, ScanStart)
    assert (start.uid, start.name) == ("01HRCJF83SA63WH8M5X1VBKFJM", "16")
    assert (start.shape, start.dtype, start.channels, start.expected) == (
        (1065, 1030),
        np.dtype("uint32"),
        ("threshold_1",),
        10,
    )
    assert start.header == ((bytes(messages[0][0]),), (bytes(messages[1][0]),)), "this firmware tells no image_dtype"
    detector = start.detector
    assert detector.description == "Dectris EIGER1 Si 1M"
    assert (detector.pixel_size_x_m, detector.sensor_thickness_m, detector.energy_ev) == (7.5e-05, 0.00045, 8000.0)
    assert detector.wavelength_angstrom == pytest.approx(12398.4198 / 8000, rel=1e-6)
    assert detector.distance_m is None, "the detector says 0: nobody has set it"
    assert detector.beam_center_x_px is detector.beam_center_y_px is None
    assert detector.pixel_mask_applied is True
    assert detector.flatfield_applied
    mask, flatfield = detector.pixel_mask["threshold_1"], detector.flatfield["threshold_1"]
    assert (mask.shape, mask.dtype, np.count_nonzero(mask)) == (start.shape, np.uint32, 38130)
    assert (flatfield.shape, flatfield.dtype) == (start.shape, np.float32)
    assert detector.metadata["user_data"]["sample_name"] == "lyso"
    assert detector.metadata["countrate_correction_lookup_table"] == "array of uint32, 65536"

    assert [frame.index for frame in frames] == list(range(10))
    for frame in frames:
        payload = frame.payloads["threshold_1"]
        assert (payload.encoding, payload.shape) == (Encoding.BSLZ4, start.shape)
        assert bytes(payload.data[:12]) == (4387800).to_bytes(8, "big") + (8192).to_bytes(4, "big")
        image = decode(payload)
        flagged = image == 2**32 - 1
        assert np.count_nonzero(flagged) == 38130 and not (flagged & (mask == 0)).any()
        assert 50_000 < image[~flagged].max() < 53_000, "one hot pixel"
    assert np.diff([frame.detector_time for frame in frames]) == pytest.approx(1.0, abs=1e-4)
    began = datetime(2024, 3, 7, 13, 43, 35, 200_000, UTC).timestamp()
    assert [frame.absolute_time - began for frame in frames] == pytest.approx(range(10), abs=1e-4)
    assert frames[0].exposure_s == 49716627 / 50e6 < frames[0].stop_time == 49999377 / 50e6
    assert isinstance(end, ScanEnd) and (end.status, end.announced) == (EndStatus.COMPLETE, 10)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("bslz4", Encoding.BSLZ4), ("lz4", Encoding.LZ4_HDF5), ("none", Encoding.RAW)],
)
def test_every_encoding_and_type_decodes_to_its_pixels(encoding: str, expected: Encoding, dtype: str) -> None:
    image = pixels(3, dtype=dtype)
    data = {"threshold_1": array(image, encoding)}
    _, frame = feed(stream2_start(image_dtype=dtype), stream2_image(3, data=data))
    assert isinstance(frame, Frame) and frame.status is FrameStatus.RECEIVED
    payload = frame.payloads["threshold_1"]
    assert payload.encoding is expected
    np.testing.assert_array_equal(decode(payload), image)


def test_every_channel_travels_in_the_order_of_the_start_message() -> None:
    channels = ["threshold_1", "threshold_2", "difference"]
    images = {name: pixels(number) for number, name in enumerate(channels)}
    data = {name: array(images[name], "bslz4") for name in reversed(channels)}
    energies = {"threshold_1": 6200.0, "threshold_2": 9300.0, "difference": [6200.0, 9300.0]}
    start, frame = feed(stream2_start(channels=channels, threshold_energy=energies), stream2_image(0, data=data))
    assert isinstance(start, ScanStart) and isinstance(frame, Frame)
    assert start.channels == tuple(frame.payloads) == tuple(channels)
    assert start.detector.threshold_energy_ev == {"threshold_1": 6200.0, "threshold_2": 9300.0}
    assert start.detector.metadata["threshold_energy"]["difference"] == [6200.0, 9300.0]
    for name, image in images.items():
        np.testing.assert_array_equal(decode(frame.payloads[name]), image)


def test_the_detector_is_filled_completely() -> None:
    detector = start_of(stream2_start(flatfield_enabled=False)).detector
    assert (detector.beam_center_x_px, detector.beam_center_y_px, detector.distance_m) == (25.5, 3.25, 0.25)
    assert (detector.pixel_size_x_m, detector.pixel_size_y_m, detector.sensor_thickness_m) == (
        7.5e-05,
        7.5e-05,
        0.00045,
    )
    assert (detector.wavelength_angstrom, detector.energy_ev) == (0.99987, 12400.0)
    assert (detector.count_time_s, detector.frame_time_s, detector.saturation_value) == (0.01, 0.0125, 65000)
    assert (detector.serial_number, detector.sensor_material) == ("E-32-0101", "Si")
    assert not detector.flatfield_applied
    np.testing.assert_array_equal(detector.pixel_mask["threshold_1"], np.eye(*SHAPE))
    np.testing.assert_array_equal(detector.flatfield["threshold_1"], np.full(SHAPE, 1.5))
    assert detector.metadata["goniometer"] == {"omega": {"increment": 0.1, "start": 5.0}}
    assert detector.metadata["arm_date"] == "2024-03-07T14:43:31.193+01:00"
    assert "pixel_mask" not in detector.metadata and "beam_center_x" not in detector.metadata


def test_the_distance_is_the_third_translation_of_a_real_header_which_is_negative() -> None:
    real = [0.15370380680006296, 0.1622715786431361, -0.23715919962215962]  # an EIGER2 16M, E-32-0117
    assert start_of(stream2_start(detector_translation=real)).detector.distance_m == 0.23715919962215962
    assert start_of(stream2_start(detector_translation=[0.0, 0.0, 0.25])).detector.distance_m == 0.25
    for nobody_has_set_it in ([0.0, 0.0, 0.0], [0.1, 0.1], "far", [0.0, 0.0, math.nan], [0.0, 0.0, "far"], None):
        assert start_of(stream2_start(detector_translation=nobody_has_set_it)).detector.distance_m is None


def test_a_basic_header_has_neither_mask_nor_flat_field() -> None:
    start = start_of(stream2_start(pixel_mask=None, flatfield=None))
    assert (start.detector.pixel_mask, start.detector.flatfield) == ({}, {})
    assert start.shape == SHAPE


def test_a_compressed_or_column_major_mask_is_read() -> None:
    mask = np.eye(*SHAPE, dtype=np.uint32)
    turned = cbor2.CBORTag(1040, [list(SHAPE), cbor2.CBORTag(70, mask.tobytes(order="F"))])
    for value in (array(mask, "bslz4"), array(mask, "lz4"), turned):
        found = start_of(stream2_start(pixel_mask={"threshold_1": value})).detector.pixel_mask["threshold_1"]
        np.testing.assert_array_equal(found, mask)


def test_typed_arrays_of_either_byte_order_are_read() -> None:
    for tag, dtype in ((65, ">u2"), (69, "<u2"), (66, ">u4"), (70, "<u4"), (64, "u1"), (68, "u1")):
        image = pixels(0).astype(dtype)
        data = {"threshold_1": cbor2.CBORTag(40, [list(SHAPE), cbor2.CBORTag(tag, image.tobytes())])}
        _, frame = feed(stream2_start(image_dtype=np.dtype(dtype).name), stream2_image(0, data=data))
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(decode(frame.payloads["threshold_1"]), image)


def test_without_an_image_type_the_scan_starts_at_its_first_image() -> None:
    message = stream2_start(image_dtype=None)
    assert feed(message) == []
    first = stream2_image(0)
    start, frame = feed(message, first)
    assert isinstance(start, ScanStart) and isinstance(frame, Frame)
    assert (start.dtype, start.detector.wavelength_angstrom) == (np.dtype("uint16"), 0.99987)
    assert start.header == ((message,), (first,)), "both are needed to go on after a crash"


def test_without_a_start_message_the_scan_starts_at_its_first_image() -> None:
    events = feed(stream2_image(3), stream2_image(4), stream2_end())
    assert kinds(events) == ["ScanStart", "Note", "Frame", "Frame", "ScanEnd"]
    start = events[0]
    assert isinstance(start, ScanStart) and (start.shape, start.expected) == (SHAPE, None)
    assert start.uid != UID, "the scan with this identity is the one that has its start message"
    decoder = Decoder()
    feed(stream2_image(3), decoder=decoder)
    end, start, frame = feed(stream2_start(), stream2_image(4), decoder=decoder)
    assert isinstance(end, ScanEnd) and end.status is EndStatus.ABORTED
    assert isinstance(start, ScanStart) and start.uid == UID and isinstance(frame, Frame)


def test_times_count_from_the_start_of_the_series() -> None:
    _, frame = feed(stream2_start(), stream2_image(4))
    assert isinstance(frame, Frame) and (frame.detector_time, frame.received) == (0.05, 1.5e9)
    assert rational([3, 4]) == 0.75
    for value in ([1, 0], [0, 0], [1.5, 2], [1], "1/2", None, [1, -2], [True, True]):
        assert math.isnan(rational(value))


def test_a_zero_denominator_costs_the_time_but_not_the_frame() -> None:
    events = feed(stream2_start(), *(stream2_image(index, start_time=[1, 0]) for index in range(3)))
    assert kinds(events) == ["ScanStart", "Note", "Frame", "Frame", "Frame"], "noted once"
    assert all(math.isnan(event.detector_time) for event in events if isinstance(event, Frame))


@pytest.mark.parametrize("user_data", [{"beam": {"i0": 5.5}}, '{"beam": {"i0": 5.5}}'])
def test_the_monitor_is_one_of_the_readings(user_data: Any) -> None:
    decoder = Decoder(monitor_key="beam.i0")
    _, frame, silent = feed(stream2_start(), stream2_image(0, user_data=user_data), stream2_image(1), decoder=decoder)
    assert isinstance(frame, Frame) and frame.monitor == 5.5
    assert frame.readings == {"beam.i0": 5.5, "monitor": 5.5}
    assert isinstance(silent, Frame) and math.isnan(silent.monitor) and silent.readings == {}


MOTORS = {"motors": {"samx": 1.5, "stage": {"rot": -90}}, "note": "ok", "open": True, "list": [1, [2.5]], "nan": None}
FLAT = {"motors.samx": 1.5, "motors.stage.rot": -90.0, "list.0": 1.0, "list.1.0": 2.5}


@pytest.mark.parametrize(
    ("user_data", "readings"),
    [
        (MOTORS, FLAT),
        (json.dumps(MOTORS), FLAT),
        ([1, "\U0001f499"], {"user_data.0": 1.0}),  # as in the maker's own test data
        (7, {"user_data": 7.0}),
        ({1: 2.0}, {"1": 2.0}),
        ("no JSON", {}),
        ("{broken", {}),
        ('{"a": NaN, "b": 1e999, "c": 1}', {"c": 1.0}),
        ("", {}),
        (None, {}),
        ({"\0a": 1.0, "big": 2**70}, {"a": 1.0}),
    ],
)
def test_the_numbers_of_an_images_user_data_are_its_readings(user_data: Any, readings: dict[str, float]) -> None:
    (frame,) = [
        event for event in feed(stream2_start(), stream2_image(0, user_data=user_data)) if isinstance(event, Frame)
    ]
    assert frame.readings == readings


def test_readings_are_bounded_over_the_whole_scan_and_what_is_left_out_is_told_once() -> None:
    many = [stream2_image(index, user_data={f"m{100 * index + n}": 1.0 for n in range(100)}) for index in range(5)]
    events = feed(stream2_start(), *many, stream2_image(6, user_data={"m7": 7.0}))
    names = {name for event in events if isinstance(event, Frame) for name in event.readings}
    assert len(names) == 256
    (note,) = [event for event in events if isinstance(event, Note)]
    assert "256 readings" in note.text and note.harmless
    assert [event.readings for event in events if isinstance(event, Frame)][-1] == {"m7": 7.0}
    deep: Any = 1.0
    for _ in range(20):
        deep = {"a": deep}
    frame, note = feed(stream2_start(), stream2_image(0, user_data={"deep": deep, "flat": 2.0}))[1:]
    assert isinstance(frame, Frame) and frame.readings == {"flat": 2.0} and isinstance(note, Note)


def test_the_times_of_an_exposure_are_kept() -> None:
    _, frame = feed(stream2_start(), stream2_image(4, real_time=[499_000, 50_000_000]))
    assert isinstance(frame, Frame)
    assert (frame.detector_time, frame.stop_time, frame.exposure_s) == (0.05, 0.06, 0.00998)
    assert frame.absolute_time == datetime(2024, 3, 7, 13, 43, 35, 250_000, UTC).timestamp()
    for date in (None, "yesterday", cbor2.CBORTag(0, "2024-03-07T14:43:35.200"), cbor2.CBORTag(1, 0), 5):
        _, frame = feed(stream2_start(), stream2_image(4, series_date=date))
        assert isinstance(frame, Frame) and math.isnan(frame.absolute_time) and frame.detector_time == 0.05


def test_an_image_that_disagrees_with_its_scan_is_a_hole_with_a_reason() -> None:
    wrong = {
        "6 x 50 uint32": {"threshold_1": array(pixels(0, dtype="uint32"), "bslz4")},
        "5 x 50": {"threshold_1": array(pixels(0, (5, 50)), "bslz4")},
        "599 bytes instead of 600": {"threshold_1": cbor2.CBORTag(40, [[6, 50], cbor2.CBORTag(69, bytes(599))])},
        "not in the message": {"threshold_2": array(pixels(0), "bslz4")},
        "no map of channels": [],
        "unknown": {
            "threshold_1": cbor2.CBORTag(40, [[6, 50], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["zstd", 2, b""]))])
        },
    }
    for text, data in wrong.items():
        _, bad, good = feed(stream2_start(), stream2_image(1, data=data), stream2_image(2))
        assert isinstance(bad, Frame) and (bad.status, bad.index) == (FrameStatus.CORRUPT, 1)
        assert text in bad.problem and not bad.payloads
        assert isinstance(good, Frame) and good.status is FrameStatus.RECEIVED


@pytest.mark.parametrize("index", [2**60, 2**64 - 1, 5 + 100_000, -1, 1.5, None, "7", True])
def test_an_absurd_image_number_is_noted_and_reaches_nobody(index: Any) -> None:
    events = feed(stream2_start(), stream2_image(0), stream2_image(1, image_id=index), stream2_image(2))
    assert kinds(events) == ["ScanStart", "Frame", "Note", "Frame"]


def test_an_announced_count_beyond_all_reason_is_an_open_end() -> None:
    assert start_of(stream2_start(number_of_images=100_000)).expected == 100_000
    assert start_of(stream2_start(number_of_images=2_000_000_000)).expected is None


def test_a_new_start_ends_the_scan_before_it_as_aborted() -> None:
    second = stream2_start(series_id=8, series_unique_id="01HRCJF83SA63WH8M5X1VBKFJN")
    events = feed(stream2_start(), stream2_image(0), second)
    assert kinds(events) == ["ScanStart", "Frame", "ScanEnd", "ScanStart"]
    end = events[2]
    assert isinstance(end, ScanEnd) and end.status is EndStatus.ABORTED and "series 8" in end.notes[0]


def test_images_of_another_series_are_noted_and_left_out() -> None:
    stale = stream2_image(3, series_id=6, series_unique_id="01HRCJF83SA63WH8M5X1VBKFJL")
    decoder = Decoder()
    events = feed(stale, stream2_start(), stale, stream2_image(0), stream2_end(), decoder=decoder)
    assert kinds(events) == ["ScanStart", "Note", "Frame", "ScanEnd", "ScanStart", "Note", "Frame", "ScanEnd"]
    (note,) = feed(stream2_image(1), decoder=decoder)
    assert isinstance(note, Note) and "has ended" in note.text


def test_a_later_series_whose_start_was_lost_takes_over_at_its_third_image() -> None:
    later = [stream2_image(index, series_id=8, series_unique_id="01HRCJF83SA63WH8M5X1VBKFJN") for index in range(6)]
    events = feed(stream2_start(), stream2_image(0), *later)
    assert kinds(events)[2:] == ["ScanEnd", "ScanStart", "Note", *["Frame"] * 6]
    between = feed(stream2_start(), *later[:2], stream2_image(0), *later[2:4], stream2_image(1))
    assert kinds(between) == ["ScanStart", "Frame", "Frame", *["Note"] * 4], "not one after another"
    older = [stream2_image(index, series_id=6, series_unique_id="01HRCJF83SA63WH8M5X1VBKFJL") for index in range(6)]
    assert kinds(feed(stream2_start(), *older)) == ["ScanStart", *["Note"] * 6]


def test_the_same_start_message_again_does_not_end_the_scan() -> None:
    events = feed(stream2_start(), stream2_image(0), stream2_start(), stream2_image(1), stream2_end())
    assert kinds(events) == ["ScanStart", "Frame", "Note", "Frame", "ScanEnd"]


def test_the_end_of_another_series_does_not_end_the_scan() -> None:
    other = stream2_end(series_id=6, series_unique_id="01HRCJF83SA63WH8M5X1VBKFJL")
    assert kinds(feed(stream2_start(), other, stream2_image(0))) == ["ScanStart", "Note", "Frame"]


@pytest.mark.parametrize("messages", [[stream2_start()], [stream2_start(image_dtype=None), stream2_image(0)]])
def test_a_restored_scan_goes_on_under_its_uid(messages: list[bytes]) -> None:
    starts = [event for event in feed(*messages) if isinstance(event, ScanStart)]
    decoder = Decoder()
    (restored,) = decoder.restore("uid of the journal", starts[0].header)
    assert isinstance(restored, ScanStart) and restored.resumed and restored.uid == "uid of the journal"
    assert (restored.shape, restored.expected) == (SHAPE, 5)
    frame, end = feed(stream2_image(2), stream2_end(), decoder=decoder)
    assert isinstance(frame, Frame) and (frame.scan, frame.index) == ("uid of the journal", 2)
    assert isinstance(end, ScanEnd) and end.scan == "uid of the journal"


def test_a_header_that_cannot_be_restored_is_noted() -> None:
    decoder = Decoder()
    (note,) = decoder.restore("uid", [[b"\xff"]])
    assert isinstance(note, Note) and "uid" in note.text
    assert feed(stream2_start(), decoder=decoder)[0].uid == UID  # type: ignore[union-attr]


def test_a_source_that_closes_ends_its_scan() -> None:
    decoder = Decoder()
    assert decoder.finish(EndStatus.STOPPED) == []
    feed(stream2_start(), decoder=decoder)
    (end,) = decoder.finish(EndStatus.STOPPED)
    assert isinstance(end, ScanEnd) and end.status is EndStatus.STOPPED
    assert decoder.finish(EndStatus.STOPPED) == []


def test_header_values_that_cannot_be_read_are_noted_and_left_out() -> None:
    nonsense = {
        "beam_center_x": math.nan,
        "count_time": "long",
        "incident_wavelength": -1.0,
        "sensor_thickness": math.inf,
        "pixel_mask": {"threshold_1": array(np.eye(3, dtype=np.uint32))},
        "flatfield": [1],
        "detector_description": 5,
    }
    start, *notes = feed(stream2_start(**nonsense))
    assert isinstance(start, ScanStart)
    detector = start.detector
    assert detector.beam_center_x_px is detector.count_time_s is detector.wavelength_angstrom is None
    assert detector.sensor_thickness_m is detector.description is None
    assert (detector.pixel_mask, detector.flatfield) == ({}, {})
    assert len(notes) == len(nonsense)
    for key in nonsense:
        assert any(isinstance(note, Note) and key in note.text for note in notes), key


def test_names_that_no_file_can_bear_are_not_passed_on() -> None:
    start = start_of(stream2_start(series_unique_id="../../etc/passwd"))
    assert "/" not in start.uid
    assert feed(stream2_start(channels=["../a"])) == feed(stream2_start(channels=["a", "a"])) != []
    text = start_of(stream2_start(detector_description="EIGER\0")).detector.description
    assert text == "EIGER"


@pytest.mark.parametrize("applied", [True, False, None])
def test_whether_bad_pixels_are_flagged_is_what_the_detector_said(applied: bool | None) -> None:
    start = stream2_start(pixel_mask_enabled=applied)
    assert start_of(start).detector.pixel_mask_applied is applied


def test_a_beam_centre_of_nought_is_one_that_nobody_has_set() -> None:
    for x, y, found in ((0.0, 0.0, (None, None)), (0.0, 3.25, (0.0, 3.25)), (0, 0, (None, None))):
        detector = start_of(stream2_start(beam_center_x=x, beam_center_y=y)).detector
        assert (detector.beam_center_x_px, detector.beam_center_y_px) == found
