"""The simulated detector: its frames, and its messages against recorded ones."""

import gzip
import io
import json
import math
import zipfile
from dataclasses import replace
from hashlib import md5
from itertools import pairwise
from pathlib import Path

import cbor2
import numpy as np
import pytest

from stream import CorruptPayload, Encoding, Frame, Payload, ScanEnd, ScanStart
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.errors import InbeamError
from stream.simulate import eiger
from stream.simulate.detectors import DETECTORS
from stream.simulate.encode import fitting, scan_of, ulid
from stream.simulate.scans import chosen, encoder, recorded, simulated
from stream.simulate.simplon import ENCODINGS
from stream.simulate.stream2 import ALGORITHMS, head
from stream.wire.simplon import Decoder as SimplonDecoder
from stream.wire.stream2 import Decoder as Stream2Decoder

STREAM2 = "streams/streaming-receiver/derived_dectris_stream2_plain.cborseq.gz"
SIMPLON = "streams/streaming-receiver/eiger_legacy_dump.zip"
DECODERS = {"stream2": Stream2Decoder, "simplon": SimplonDecoder}


def recorded_stream2(shared: Path) -> list[bytes]:
    data = gzip.decompress((shared / STREAM2).read_bytes())
    file, found = io.BytesIO(data), []
    while file.tell() < len(data):
        found.append(bytes(cbor2.load(file)[0]))
    return found


def recorded_simplon(shared: Path) -> list[list[bytes]]:
    with zipfile.ZipFile(shared / SIMPLON) as archive:
        data = archive.read(archive.namelist()[0])
    file, found = io.BytesIO(data), []
    while file.tell() < len(data):
        (stream,) = cbor2.load(file).value[1].values()
        found.append([bytes(part) for part in stream.value[1]])
    return found


def image_frame(index: int, payload: Payload, seconds: float = math.nan) -> Frame:
    return Frame("uid", index, {"threshold_1": payload}, 0.0, seconds)


def test_an_eiger2_4m_frame_has_gaps_and_dead_pixels_at_the_largest_value_and_packs_to_about_1_4_mb() -> None:
    detector = eiger.eiger2_4m()
    (frame,) = eiger.frames(detector, 1)
    image = frame["threshold_1"]
    mask = eiger.pixel_mask(detector)
    assert image.shape == (2162, 2068) and image.dtype == np.uint32
    assert np.array_equal(image == 2**32 - 1, mask != 0)
    assert mask[512:550].all() and mask[:, 1028:1040].all() and not mask[511, :1028].all()
    assert 0.3 < image[mask == 0].mean() < 2
    assert 1.3e6 < len(bslz4_compress(image)) < 1.55e6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "pixel"),
    [
        ("eiger2-500k", (512, 1028), 75e-6),
        ("eiger2-1m", (1062, 1028), 75e-6),
        ("eiger2-4m", (2162, 2068), 75e-6),
        ("eiger2-9m", (3262, 3108), 75e-6),
        ("eiger2-16m", (4362, 4148), 75e-6),
        ("pilatus-100k", (195, 487), 172e-6),
        ("pilatus-300k", (619, 487), 172e-6),
        ("pilatus-1m", (1043, 981), 172e-6),
        ("pilatus-2m", (1679, 1475), 172e-6),
        ("pilatus-6m", (2527, 2463), 172e-6),
        ("small", (256, 256), 75e-6),
    ],
)
def test_every_detector_has_the_size_and_modules_of_the_real_one(
    name: str, shape: tuple[int, int], pixel: float
) -> None:
    detector = DETECTORS[name](channels=2)
    assert (detector.name, detector.shape, detector.pixel_size_m) == (name, shape, pixel)
    assert len(detector.channels) == 2 and DETECTORS[name]("uint16").dtype == np.uint16
    in_gap = (eiger.pixel_mask(detector) & eiger.GAP) != 0
    for axis, (module, gap) in enumerate(zip(detector.module_shape, detector.gap, strict=True)):
        sensitive = ~in_gap.all(axis=1 - axis)
        assert sensitive[0] and sensitive[-1], "no gap at the rim"
        count = int(np.count_nonzero(np.diff(sensitive.astype(int)) == 1)) + 1
        assert not module or (shape[axis] == count * module + (count - 1) * gap and sensitive.sum() == count * module)
    scan = scan_of(detector, expected=1)
    assert scan.shape == shape and scan.detector.pixel_size_x_m == pixel
    if in_gap.size < 1_200_000:
        assert eiger.expectation(detector).max() > 5, "the rings are on the detector"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_a_pool_decodes_to_its_frames_on_every_channel(dtype: str) -> None:
    detector = eiger.small(dtype, channels=2)
    frames, packed = eiger.frames(detector, 3, seed=5, spots=20), eiger.pool(detector, 3, seed=5, spots=20)
    for frame, payloads in zip(frames, packed, strict=True):
        assert list(payloads) == ["threshold_1", "threshold_2"]
        for channel, payload in payloads.items():
            assert np.array_equal(decode(payload), frame[channel])
    good = eiger.pixel_mask(detector) == 0
    assert frames[0]["threshold_2"][good].sum() < frames[0]["threshold_1"][good].sum()
    assert not np.array_equal(frames[0]["threshold_1"], frames[1]["threshold_1"])


def test_the_same_seed_gives_the_same_frames_and_another_seed_others() -> None:
    detector = eiger.small()
    first, again, other = (eiger.frames(detector, 1, seed=seed)[0]["threshold_1"] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_spots_stand_out_of_the_rings() -> None:
    detector = eiger.small()
    mask = eiger.pixel_mask(detector) == 0
    plain, spotted = (eiger.frames(detector, 1, spots=spots)[0]["threshold_1"][mask] for spots in (0, 50))
    assert spotted.max() > 3 * plain.max()


@pytest.mark.slow
def test_the_rings_lie_where_lab6_has_them_in_the_geometry_of_the_poni(tmp_path: Path) -> None:
    import pyFAI

    detector = eiger.eiger2_4m()
    poni = tmp_path / "simulated.poni"
    poni.write_text(eiger.poni(detector))
    integrator = pyFAI.load(str(poni))
    integrator.detector.mask = eiger.pixel_mask(detector) != 0
    pattern = integrator.integrate1d(
        eiger.expectation(detector), 3000, unit="2th_deg", method=("no", "histogram", "cython")
    )
    for total in (1, 2, 3, 4, 5, 6, 8, 9):
        wanted = math.degrees(
            2 * math.asin(detector.wavelength_angstrom * math.sqrt(total) / (2 * eiger.LAB6_ANGSTROM))
        )
        near = np.abs(pattern.radial - wanted) < 0.1
        found = pattern.radial[near][np.argmax(pattern.intensity[near])]
        assert found == pytest.approx(wanted, abs=0.03), total


def test_a_scan_goes_through_its_pool_from_first_to_last_and_never_sends_the_same_frame_twice_running() -> None:
    for frames, pool in ((500, 8), (100, 2), (7, 8), (None, 5)):
        order = [chosen(index, frames, pool) for index in range(frames or 200)]
        assert all(a != b for a, b in pairwise(order))
        assert order[0] == 0 and set(order) == set(range(min(pool, len(order))))
    assert chosen(499, 500, 8) == 7


def test_a_stream2_image_is_byte_for_byte_what_the_detector_sent(shared: Path) -> None:
    messages = recorded_stream2(shared)
    start = cbor2.loads(messages[0])
    scan = replace(
        scan_of(eiger.small(), expected=10),
        uid=start["series_unique_id"],
        shape=(1065, 1030),
        dtype=np.dtype("uint32"),
        received=start["arm_date"].timestamp(),
    )
    for message in messages[1:-1]:
        original = cbor2.loads(message)
        rows_columns, typed = original["data"]["threshold_1"].value
        payload = Payload(typed.value.value[2], Encoding.BSLZ4, tuple(rows_columns), np.dtype("<u4"))
        begin, end, real = (original[key][0] for key in ("start_time", "stop_time", "real_time"))
        timed = replace(scan, detector=replace(scan.detector, count_time_s=(end - begin) / 50e6))
        made = encoder("stream2", timed, series=16).image(image_frame(original["image_id"], payload, begin / 50e6))
        (sent,) = made.parts
        # the real time is a measured one, and the date carries the clock's own offset from UTC
        sent = sent.replace(b"\x69real_time\x82" + head(0, end - begin), b"\x69real_time\x82" + head(0, real))
        sent = sent.replace(sent[sent.index(b"\xc0\x78\x1d") :][:32], message[message.index(b"\xc0\x78\x1d") :][:32])
        assert sent == message


def test_stream2_start_and_end_have_the_keys_and_types_of_a_recorded_series(shared: Path) -> None:
    messages = recorded_stream2(shared)
    made = encoder("stream2", scan_of(eiger.small(), expected=10, uid="01HRCJF83SA63WH8M5X1VBKFJM"), series=16)
    original, sent = cbor2.loads(messages[0]), cbor2.loads(made.start().parts[0])
    assert set(original) <= set(sent)
    assert set(sent) - set(original) == {"goniometer", "image_dtype"}  # of newer firmware
    for key, value in original.items():
        assert isinstance(sent[key], type(value)), key
    for key, tag in (("flatfield", 85), ("pixel_mask", 70)):
        array = sent[key]["threshold_1"]
        assert (array.tag, array.value[1].tag) == (40, tag)
        assert (original[key]["threshold_1"].tag, original[key]["threshold_1"].value[1].tag) == (40, tag)
    assert made.end().parts[0] == messages[-1]
    assert made.start().parts[0][:3] == b"\xd9\xd9\xf7"


def test_simplon_messages_have_the_parts_and_keys_of_a_recorded_series(shared: Path) -> None:
    messages = recorded_simplon(shared)
    scan = replace(scan_of(eiger.small("uint32"), expected=10), shape=(1065, 1030))
    made = encoder("simplon", scan, series=14)
    config = json.loads(messages[0][1])
    start = made.start().parts
    assert start[0] == dumped(json.loads(messages[0][0]))
    assert set(json.loads(start[1])) == set(config)
    for key, value in json.loads(start[1]).items():
        assert isinstance(value, int if isinstance(config[key], int) else type(config[key])), key
    assert [set(json.loads(part)) for part in start[2::2]] == [set(json.loads(part)) for part in messages[0][2:8:2]]
    for message in messages[1:]:
        number, described, blob, times = message
        index = json.loads(number)["frame"]
        payload = Payload(blob, Encoding.BSLZ4, (1065, 1030), np.dtype("<u4"))
        began, real = (json.loads(times)[key] for key in ("start_time", "real_time"))
        sent = made.image(image_frame(index, payload, began / 1e9)).parts
        assert sent[0] == number and sent[1] == described and sent[2] is blob
        assert md5(sent[1]).hexdigest() == json.loads(number)["hash"]
        assert json.loads(sent[3]).keys() == json.loads(times).keys() and real


def test_the_distance_has_the_sign_that_real_detectors_give_it() -> None:
    # headers of an EIGER2 16M: stream2 in 2023, SIMPLON v1 in 2021
    real = {"beam": (2049.3840906675064, 2163.621048575148), "pixel": 7.5e-05, "distance": 0.23715919962215962}
    detector = replace(
        scan_of(eiger.small(), expected=1).detector,
        beam_center_x_px=real["beam"][0],
        beam_center_y_px=real["beam"][1],
        distance_m=real["distance"],
    )
    scan = replace(scan_of(eiger.small(), expected=1), detector=detector)
    start = cbor2.loads(encoder("stream2", scan).start().parts[0])
    assert start["detector_translation"] == pytest.approx(
        [0.15370380680006296, 0.1622715786431361, -0.23715919962215962]
    )
    config = json.loads(encoder("simplon", scan).start().parts[1])
    assert config["detector_distance"] == real["distance"]
    assert config["detector_translation"] == [0.0, 0.0, -real["distance"]]


def test_less_detail_in_the_header_does_not_change_what_the_detector_has_corrected() -> None:
    scan = scan_of(eiger.small(), expected=3)
    full, basic = (
        cbor2.loads(encoder("stream2", scan, header_detail=detail).start().parts[0])  # type: ignore[arg-type]
        for detail in ("all", "basic")
    )
    tables = {"flatfield", "pixel_mask", "countrate_correction_lookup_table"}
    assert {key: value for key, value in full.items() if key not in tables} == basic


def dumped(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(("detail", "parts"), [("all", 8), ("basic", 2), ("none", 1)])
def test_header_detail_takes_masks_and_more_out_of_the_start(detail: str, parts: int) -> None:
    scan = scan_of(eiger.small(), expected=3)
    assert len(encoder("simplon", scan, header_detail=detail).start().parts) == parts  # type: ignore[arg-type]
    start = cbor2.loads(encoder("stream2", scan, header_detail=detail).start().parts[0])  # type: ignore[arg-type]
    for key in ("flatfield", "pixel_mask", "countrate_correction_lookup_table"):
        assert (key in start) == (detail == "all")
    assert start["number_of_images"] == 3


@pytest.mark.parametrize(
    ("protocol", "dtype", "channels"),
    [
        *(("stream2", dtype, channels) for dtype in ("uint8", "uint16", "uint32") for channels in (1, 3)),
        *(("simplon", dtype, 1) for dtype in ("uint8", "uint16", "uint32")),
    ],
)
def test_what_is_sent_is_what_the_decoders_of_the_sources_read(protocol: str, dtype: str, channels: int) -> None:
    detector = eiger.small(dtype, channels)
    packed = eiger.pool(detector, 3)
    events = []
    decoder = DECODERS[protocol]()
    for message in simulated(detector, packed, protocol=protocol, frames=7, scans=2, series=41, frame_time_s=0.25):
        events += decoder.feed([memoryview(part) for part in message.parts], 1.0)
    starts = [event for event in events if isinstance(event, ScanStart)]
    frames = [event for event in events if isinstance(event, Frame)]
    assert len(events) == 2 + 14 + 2 and len(frames) == 14
    assert [event.status.value for event in events if isinstance(event, ScanEnd)] == ["complete", "complete"]
    assert starts[0].uid != starts[1].uid
    for start in starts:
        assert start.shape == detector.shape and start.dtype == detector.dtype and start.expected == 7
        assert len(start.channels) == channels
        found = start.detector
        x, y = detector.beam_center_px
        assert (found.beam_center_x_px, found.beam_center_y_px) == (x, y)
        assert found.wavelength_angstrom == pytest.approx(detector.wavelength_angstrom)
        assert found.distance_m == detector.distance_m and found.pixel_size_x_m == 75e-6
        assert np.array_equal(next(iter(found.pixel_mask.values())), eiger.pixel_mask(detector))
        assert np.array_equal(next(iter(found.flatfield.values())), eiger.flatfield(detector))
        assert found.flatfield_applied
    for position, frame in enumerate(frames):
        assert frame.index == position % 7
        assert frame.detector_time == pytest.approx(0.25 * frame.index)
        wanted = packed[chosen(frame.index, 7, 3)]
        for payload, sent in zip(frame.payloads.values(), wanted.values(), strict=True):
            assert bytes(payload.data) == sent.data and payload.encoding is Encoding.BSLZ4


@pytest.mark.parametrize("protocol", ["stream2", "simplon"])
def test_readings_and_times_of_a_recorded_frame_are_sent_on(protocol: str) -> None:
    scan = scan_of(eiger.small(), expected=2, frame_time_s=0.5)
    (packed,) = eiger.pool(eiger.small(), 1)
    frame = Frame(
        scan.uid,
        1,
        packed,
        0.0,
        detector_time=4843.25,
        stop_time=4843.65,
        exposure_s=0.375,
        absolute_time=1.7e9,
        readings={"motors.samx": 1.5, "i0": 7.0, "broken": math.nan},
    )
    made, decoder = encoder(protocol, scan), DECODERS[protocol]()
    decoder.feed(made.start().parts, 0.0)
    (found,) = decoder.feed(made.image(frame).parts, 0.0)
    assert isinstance(found, Frame) and found.readings == {"motors.samx": 1.5, "i0": 7.0}
    assert found.stop_time - found.detector_time == pytest.approx(0.4) and found.exposure_s == pytest.approx(0.375)
    if protocol == "stream2":
        assert found.absolute_time == pytest.approx(1.7e9, abs=0.001)
        assert found.detector_time == 0.5, "times count from the date of the series"
    else:
        assert found.detector_time == 4843.25


def payloads(image: np.ndarray) -> dict[Encoding, Payload]:
    packed = bslz4_compress(image)
    found = {Encoding.RAW: image.tobytes(), Encoding.BSLZ4: packed, Encoding.BSLZ4_BARE: packed[12:]}
    return {encoding: Payload(data, encoding, image.shape, image.dtype) for encoding, data in found.items()}


@pytest.mark.parametrize("allowed", [ALGORITHMS, ENCODINGS])
@pytest.mark.parametrize("dtype", ["uint16", ">u4"])
def test_every_encoding_of_a_recorded_scan_is_sent_such_that_it_decodes_to_the_same_pixels(
    allowed: dict[Encoding, str], dtype: str
) -> None:
    image = eiger.frames(eiger.small(), 1)[0]["threshold_1"].astype(dtype)
    for encoding, payload in payloads(image).items():
        sent = fitting(payload, allowed)
        assert sent.encoding in allowed
        assert np.array_equal(decode(sent), image), encoding
    damaged = Payload(payloads(image)[Encoding.BSLZ4].data[:-9], Encoding.LZ4_HDF5, image.shape, image.dtype)
    if Encoding.LZ4_HDF5 not in allowed:
        with pytest.raises(CorruptPayload):
            fitting(damaged, allowed)


def test_what_a_protocol_cannot_carry_is_refused_with_the_way_out() -> None:
    with pytest.raises(InbeamError, match=r"one channel.*use stream2"):
        encoder("simplon", scan_of(eiger.small(channels=2), expected=1))
    with pytest.raises(InbeamError, match=r"scan 1 has float32: use stream2"):
        encoder("simplon", replace(scan_of(eiger.small(), expected=1), dtype=np.dtype("float32")))
    with pytest.raises(InbeamError, match="use stream2 or simplon"):
        encoder("stins", scan_of(eiger.small(), expected=1))
    scan = scan_of(eiger.small(), expected=1)
    strange = Payload(bytes(256 * 256 * 16), Encoding.RAW, scan.shape, np.dtype("c16"))
    with pytest.raises(InbeamError, match="complex128"):
        encoder("stream2", scan).image(image_frame(0, strange))


def test_a_recorded_scan_is_encoded_with_its_holes_left_out_and_a_new_id_when_asked() -> None:
    detector = eiger.small()
    scan = scan_of(detector, expected=3)
    (packed,) = eiger.pool(detector, 1)
    hole = Frame(scan.uid, 1, {}, 0.0, problem="chunk is damaged")
    events = [
        scan,
        Frame(scan.uid, 0, packed, 0.0, 100.0),
        hole,
        Frame(scan.uid, 2, packed, 0.0, 102.5),
        ScanEnd(scan.uid),
    ]
    notes: list[str] = []
    messages = list(recorded(events, protocol="stream2", note=notes.append))
    assert [message.index for message in messages] == [None, 0, 2, None]
    assert [message.at_s for message in messages] == [0, 0, 2.5, 2.5]
    assert notes == ["frame 1 is left out: chunk is damaged"]
    assert cbor2.loads(messages[0].parts[0])["series_unique_id"] == scan.uid
    renewed = next(recorded(events, protocol="stream2", renew=True))
    assert cbor2.loads(renewed.parts[0])["series_unique_id"] != scan.uid


def test_unique_ids_are_ulids_in_the_order_of_their_making() -> None:
    ids = [ulid() for _ in range(50)]
    assert all(len(uid) == 26 and set(uid) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for uid in ids)
    assert len(set(ids)) == 50 and [uid[:10] for uid in ids] == sorted(uid[:10] for uid in ids)
    assert ids[0][0] == "0"  # 48 bits of milliseconds in 26 x 5 bits: as in the recorded 01HRCJF83S...


def test_cbor_heads_are_the_shortest() -> None:
    for value in (0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1):
        assert head(0, value) == cbor2.dumps(value)
    with pytest.raises(OverflowError):
        head(0, 2**64)
