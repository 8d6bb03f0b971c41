"""Faults on demand: what is reported is exactly what was done, whatever the protocol."""

import io
import json
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import h5py
import pytest

from stream import CorruptPayload, Encoding, Frame, FrameStatus, Note, Payload, ScanEnd, ScanStart
from stream.codec.payload import decode
from stream.commands.replay import captured
from stream.config import validate
from stream.errors import InbeamError
from stream.pipeline.runner import Run
from stream.simulate import eiger
from stream.simulate.damage import corrupted, flipped, garbage, truncated
from stream.simulate.encode import scan_of
from stream.simulate.faults import Faults, Report, ScanDeeds, inject, parse
from stream.simulate.messages import Message, classify
from stream.simulate.scans import encoder, simulated
from stream.simulate.sender import Sender
from stream.wire.simplon import Decoder as SimplonDecoder
from stream.wire.stream2 import Decoder as Stream2Decoder

DECODERS = {"stream2": Stream2Decoder, "simplon": SimplonDecoder}
PROTOCOLS = ("stream2", "simplon")


def series(protocol: str, frames: int, scans: int = 1, channels: int = 1) -> Iterator[Message]:
    detector = eiger.small(channels=channels)
    packed = eiger.pool(detector, 2)
    return simulated(detector, packed, protocol=protocol, frames=frames, scans=scans, header_detail="basic")


def play(messages: Iterable[Message], text: str, seed: int = 1) -> tuple[list[Message], Report]:
    report = Report(seed)
    return list(inject(messages, parse(text), report)), report


def received(protocol: str, messages: Sequence[Message]) -> list[list[object]]:
    """The decoder's events, scan by scan."""
    decoder, scans = DECODERS[protocol](), []
    for message in messages:
        for event in decoder.feed([memoryview(part) for part in message.parts], 0.0):
            if isinstance(event, ScanStart) or not scans:
                scans.append([])
            scans[-1].append(event)
    scans[-1] += decoder.tick(1.0)
    return scans


def numbers(messages: Iterable[Message]) -> list[int]:
    return [message.index for message in messages if message.kind == "image" and message.index is not None]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_faults_nothing_is_changed(protocol: str) -> None:
    before = list(series(protocol, 20, scans=2))
    after, report = play(before, "")
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert [scan.images for scan in report.scans] == [20, 20] == [scan.sent for scan in report.scans]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_deed_is_reported_and_nothing_else_is_done(protocol: str) -> None:
    faults = "drop=0.05,duplicate=0.05,late=0.02@90,corrupt=0.05,truncate=0.05,reorder=6,garbage=0.03"
    sent, report = play(series(protocol, 400, scans=2), faults)
    assert len(report.scans) == 2
    for scan, events in zip(report.scans, received(protocol, sent), strict=True):
        assert isinstance(events[0], ScanStart) and isinstance(events[-1], ScanEnd)
        copies: Counter[int] = Counter()
        undecodable, cut, notes = [], [], 0
        for event in events:
            notes += isinstance(event, Note)
            if not isinstance(event, Frame):
                continue
            copies[event.index] += 1
            if event.status is FrameStatus.CORRUPT:
                cut.append(event.index)
                continue
            try:
                decode(event.payloads["threshold_1"])
            except CorruptPayload:
                undecodable.append(event.index)
        assert scan.images == 400
        assert sorted(undecodable) == sorted(scan.corrupted)
        if protocol == "simplon":
            assert sorted(cut) == sorted(scan.truncated) and notes == scan.garbage
            gone = set(scan.dropped)
        else:  # half a CBOR map has no readable frame number: a bad message, and the frame is missing
            assert not cut and notes == scan.garbage + len(scan.truncated)
            gone = {*scan.dropped, *scan.truncated}
        assert set(range(400)) - set(copies) == gone
        assert {index for index, count in copies.items() if count > 1} == set(scan.duplicated)
        assert scan.sent == sum(copies.values()) + (len(scan.truncated) if protocol == "stream2" else 0)
        for name in ("dropped", "duplicated", "late", "corrupted", "truncated", "reordered"):
            assert getattr(scan, name), f"400 frames without any {name}: the test shows nothing"
        chosen = [*scan.dropped, *scan.duplicated, *scan.late, *scan.corrupted, *scan.truncated]
        assert len(chosen) == len(set(chosen)), "one frame, one fault"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_seed_repeats_the_same_deeds_and_another_seed_does_others(protocol: str) -> None:
    faults = "drop=0.1,duplicate=0.1,flip=0.1,garbage=0.1,reorder=4"
    messages = list(series(protocol, 100))
    runs = [play(messages, faults, seed) for seed in (7, 7, 8)]
    first, again, other = ([list(map(bytes, message.parts)) for message in sent] for sent, _ in runs)
    assert first == again != other
    assert runs[0][1].as_json() == runs[1][1].as_json()


@pytest.mark.parametrize("reorder", [1, 8, 32])
def test_reordering_lets_no_frame_be_overtaken_by_more_than_asked(reorder: int) -> None:
    sent, report = play(series("stream2", 300), f"reorder={reorder}")
    order = numbers(sent)
    assert sorted(order) == list(range(300))
    for place, number in enumerate(order):
        assert sum(later > number for later in order[:place]) <= reorder
    overtaken = [number for place, number in enumerate(order) if order[:place] and max(order[:place]) > number]
    assert report.scans[0].reordered == overtaken and overtaken


def test_late_frames_come_behind_as_many_others_as_asked() -> None:
    sent, report = play(series("stream2", 300), "late=0.05@100")
    order = numbers(sent)
    (scan,) = report.scans
    assert scan.late and sorted(order) == list(range(300))
    for number in scan.late:
        assert order[: order.index(number)].count(number + 1) == 1
        assert sum(later > number for later in order[: order.index(number)]) >= 90
    assert scan.maybe_late and not scan.reordered
    for number in scan.maybe_late:  # the end of the scan did not let them be late enough
        assert number > 195


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_starts_and_ends_are_never_touched_unless_asked(protocol: str) -> None:
    faults = "drop=1,reorder=9"
    sent, _ = play(series(protocol, 10, scans=3), faults)
    assert [message.kind for message in sent] == ["start", "end"] * 3
    sent, report = play(series(protocol, 2, scans=2), "drop-start")
    assert [message.kind for message in sent] == ["image", "image", "end"] * 2
    assert [scan.start_dropped for scan in report.scans] == [True, True]
    sent, report = play(series(protocol, 2, scans=2), "drop-end")
    assert [message.kind for message in sent] == ["start", "image", "image"] * 2
    assert [scan.end_dropped for scan in report.scans] == [True, True]


def test_a_detector_that_dies_sends_neither_the_frame_nor_an_end_nor_another_scan() -> None:
    sent, report = play(series("simplon", 20, scans=3), "die-at=12,reorder=5")
    assert sorted(numbers(sent)) == list(range(12))
    assert [message.kind for message in sent].count("start") == 1 and sent[-1].kind == "image"
    assert [scan.died_at for scan in report.scans] == [12]


def test_a_stall_is_one_pause_before_one_frame_of_each_scan() -> None:
    sent, report = play(series("stream2", 20, scans=2), "stall=1.5@3")
    assert [(message.index, message.pause_s) for message in sent if message.pause_s] == [(3, 1.5), (3, 1.5)]
    assert [scan.stalled for scan in report.scans] == [[3], [3]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_faults_on_a_recorded_capture_are_exact_too(protocol: str, shared: Path) -> None:
    name = {"simplon": "eiger_legacy_dump.zip", "stream2": "derived_dectris_stream2_plain.cborseq.gz"}[protocol]
    before = list(captured(str(shared / "streams/streaming-receiver" / name), 1))
    sent, report = play(before, "drop=0.3,corrupt=0.3,duplicate=0.3", seed=3)
    (scan,) = report.scans
    (events,) = received(protocol, sent)
    undecodable, copies = set(), Counter[int]()
    for event in events:
        if isinstance(event, Frame):
            copies[event.index] += 1
            try:
                decode(event.payloads["threshold_1"])
            except CorruptPayload:
                undecodable.add(event.index)
    assert scan.dropped and scan.corrupted and scan.duplicated
    assert undecodable == set(scan.corrupted)
    assert set(range(scan.images)) - set(copies) == set(scan.dropped)
    assert {index for index, count in copies.items() if count == 2} == set(scan.duplicated)


@pytest.mark.parametrize(
    ("protocol", "encoding"),
    [
        *((protocol, encoding) for protocol in PROTOCOLS for encoding in (Encoding.RAW, Encoding.BSLZ4)),
        ("stream2", Encoding.LZ4_HDF5),
        ("simplon", Encoding.LZ4_BLOCK),
    ],
)
def test_corrupt_pixels_never_decode_and_the_frame_number_is_never_touched(protocol: str, encoding: Encoding) -> None:
    detector = eiger.small()
    image = eiger.frames(detector, 1)[0]["threshold_1"]
    packed = lz4_payload(image, encoding)
    assert (decode(packed) == image).all()
    made = encoder(protocol, scan_of(detector, expected=300))
    message = made.image(Frame("uid", 260, {"threshold_1": packed}, 0.0))
    for seed in range(20):
        bad = corrupted(message.parts), truncated(message.parts), flipped(message.parts, random.Random(seed))
        for parts in bad:
            assert [bytes(part) for part in parts] != [bytes(part) for part in message.parts]
        _, _, bits = bad
        assert sum((a ^ b).bit_count() for a, b in zip(joined(bits), joined(message.parts), strict=True)) == 1
        assert classify(bits) == ("image", 260)
    decoder = DECODERS[protocol]()
    decoder.feed(made.start().parts, 0.0)
    (event,) = decoder.feed(corrupted(message.parts), 0.0)
    if encoding is Encoding.RAW:  # pixels without structure are cut short instead
        assert isinstance(event, Note) or (event.index, event.status) == (260, FrameStatus.CORRUPT)
        return
    assert event.index == 260
    with pytest.raises(CorruptPayload):
        decode(event.payloads["threshold_1"])


def joined(parts: Sequence[object]) -> bytes:
    return b"".join(bytes(part) for part in parts)  # type: ignore[call-overload]


def lz4_payload(image: object, encoding: Encoding) -> Payload:
    """The same image in another packing, by hdf5plugin's own filter where there is one."""
    import h5py
    import hdf5plugin
    import numpy as np

    from stream.codec.native import bslz4_compress

    array = np.asarray(image)
    if encoding is Encoding.RAW:
        return Payload(array.tobytes(), encoding, array.shape, array.dtype)
    if encoding is Encoding.BSLZ4:
        return Payload(bslz4_compress(array), encoding, array.shape, array.dtype)
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("data", data=array, chunks=array.shape, **hdf5plugin.LZ4(nbytes=0))
        _, chunk = dataset.id.read_direct_chunk((0, 0))
    if encoding is Encoding.LZ4_BLOCK:  # one block: behind u64 size, u32 block size, u32 length
        chunk = chunk[16:]
    return Payload(bytes(chunk), encoding, array.shape, array.dtype)


def test_garbage_is_no_message_of_any_detector() -> None:
    rng = random.Random(1)
    for _ in range(200):
        rubbish = garbage(rng)
        assert classify((rubbish,)) == ("other", None)
        for decoder in (SimplonDecoder(), Stream2Decoder()):
            assert all(isinstance(event, Note) for event in decoder.feed([rubbish], 0.0))


def test_the_command_line_is_read_or_refused_with_the_part_that_is_wrong() -> None:
    assert parse("") == Faults()
    assert parse("drop=0.01, late=0.1@50,stall=0.5@100,die-at=500,drop-end,reorder=8") == Faults(
        drop=0.01, late=0.1, late_by=50, stall_s=0.5, stall_at=100, die_at=500, drop_end=True, reorder=8
    )
    wrong = ("drop=2", "drop=x", "drop", "drop=-1", "reorder=1.5", "reorder=-1", "die-at=x", "stall=-1", "lose=0.1")
    for part in (*wrong, "drop-end=1", "drop=0.1@4", "late=2@3", "stall=nan", "drop=nan"):
        with pytest.raises(InbeamError, match=f"cannot read '{part}'"):
            parse(f"duplicate=0.1,{part}")
    with pytest.raises(InbeamError, match="add up to more than 1"):
        parse("drop=0.6,corrupt=0.6")


def test_a_report_is_plain_json() -> None:
    _, report = play(series("stream2", 50), "drop=0.5,die-at=40")
    found = json.loads(json.dumps(report.as_json()))
    assert found["seed"] == 1
    (scan,) = found["scans"]
    assert ScanDeeds(**scan) == report.scans[0]


def expected_states(scan: ScanDeeds, protocol: str) -> dict[int, set[FrameStatus]]:
    """What the ledger may say of every frame number after these deeds: one status, but for late ones near the end."""
    states = {index: {FrameStatus.RECEIVED} for index in range(scan.images)}
    cut = FrameStatus.CORRUPT if protocol == "simplon" else FrameStatus.MISSING
    for deeds, status in (
        (scan.dropped, FrameStatus.MISSING),
        (scan.duplicated, FrameStatus.DUPLICATE),
        (scan.late, FrameStatus.LATE),
        (scan.corrupted, FrameStatus.CORRUPT),
        (scan.truncated, cut),
    ):
        states.update((index, {status}) for index in deeds)
    states.update((index, {FrameStatus.LATE, FrameStatus.RECEIVED}) for index in scan.maybe_late)
    return states


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_ledger_of_the_file_says_of_every_frame_what_the_report_of_the_faults_says(
    tmp_path: Path, protocol: str
) -> None:
    endpoint = f"ipc://{tmp_path}/detector"
    document = {
        "stream": {"type": protocol, "endpoint": endpoint},
        "sinks": [{"type": "archive", "path": str(tmp_path / "{scan}.h5")}],
        "run": {"scans": 2, "reorder_frames": 64, "reorder_ms": 60_000},
    }
    running = Run(validate(document), reopen=True)
    thread = threading.Thread(target=running.execute, name="inbeam-test-run")
    faults = "drop=0.05,duplicate=0.05,late=0.02@90,corrupt=0.05,truncate=0.05,reorder=6,garbage=0.02"
    report = Report(11)
    with Sender(endpoint, timeout_s=30) as sender:
        sender.bind(100_000)
        thread.start()
        try:
            sender.send(inject(series(protocol, 500, scans=2), parse(faults), report))
            thread.join(60)
        finally:
            running.stop()
            thread.join(30)
    assert not thread.is_alive()
    for number, scan in enumerate(report.scans, start=1):
        with h5py.File(tmp_path / f"{number}.h5") as file:
            states = file["entry/ledger/status"][()]
            counts = file["entry/ledger/counts"][()]
        assert len(states) == 500 == counts.sum()
        wrong = {
            index: (FrameStatus(states[index]).name, wanted)
            for index, wanted in expected_states(scan, protocol).items()
            if FrameStatus(states[index]) not in wanted
        }
        assert not wrong
        assert {FrameStatus(state) for state in states} >= {FrameStatus.MISSING, FrameStatus.LATE, FrameStatus.CORRUPT}
