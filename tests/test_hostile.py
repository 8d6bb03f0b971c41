"""Whatever comes over the network: nothing raises or allocates beyond the limit, and the next good frame comes out."""

import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from abused import GOOD, abuse, good_frame, limited_memory
from dectris_messages import pixels, stream2_image, stream2_start, v1_header, v1_image
from fuzz.run import Fault, Fuzzer
from hostile_corpus import Case, garbage, simplon_cases, simplon_headers, stream2_cases

from stream.codec.payload import decode
from stream.events import Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.sources import capture
from stream.wire import simplon, stream2
from stream.wire.capture import Reader, Recorded, Writer
from stream.wire.decoder import FAULT


def run_corpus(
    make: Any, cases: Iterable[Case], start: Sequence[bytes], image: Sequence[bytes], *, within: bool
) -> int:
    """Every case within a scan, or before it; then a good frame. Returns the number of cases."""
    count = 0
    with limited_memory():
        for case in cases:
            count += 1
            decoder = make()
            try:
                if within:
                    (begun,) = decoder.feed(start, 0.0)
                    abuse(decoder, case)
                    assert decoder.scan is begun, "the scan goes on"
                else:
                    abuse(decoder, case)
                    decoder.feed(start, 0.0)
                frame = good_frame(decoder.feed(image, 0.0))
                np.testing.assert_array_equal(decode(frame.payloads["threshold_1"]), pixels(GOOD))
            except AssertionError as error:
                raise AssertionError(f"{case.name}: {error}") from error
    return count


@pytest.mark.slow
@pytest.mark.parametrize("within", [True, False])
def test_stream2_survives_the_corpus(within: bool) -> None:
    cases = stream2_cases()
    assert run_corpus(stream2.Decoder, cases, [stream2_start()], [stream2_image(GOOD)], within=within) > 2000


@pytest.mark.slow
@pytest.mark.parametrize("within", [True, False])
def test_simplon_survives_the_corpus(within: bool) -> None:
    assert run_corpus(simplon.Decoder, simplon_cases(), v1_header(), v1_image(GOOD), within=within) > 2000


@pytest.mark.slow
def test_simplon_survives_hostile_headers() -> None:
    assert run_corpus(simplon.Decoder, simplon_headers(), v1_header(), v1_image(GOOD), within=False) > 500


def test_the_capture_reader_survives_the_corpus(tmp_path: Path) -> None:
    """Hostile messages in a recording: every good one between them still comes out."""
    for cases, start, images, kind in (
        (stream2_cases(), [stream2_start()], [[stream2_image(index)] for index in range(500, 600)], "stream2"),
        (simplon_cases(), v1_header(), [v1_image(index) for index in range(500, 600)], "simplon"),
    ):
        path = tmp_path / f"{kind}.cbors"
        writer = Writer(path, "tcp://127.0.0.1:9999")
        writer.write(start, time.time())
        rest = iter(images)
        for number, case in enumerate(case for case in cases if case.parts and sum(map(len, case.parts)) < 50_000):
            writer.write(case.parts, time.time())
            if number % 30 == 0 and (image := next(rest, None)) is not None:
                writer.write(image, time.time())
        for image in rest:
            writer.write(image, time.time())
        writer.close()
        source = capture.create(capture.Config(type="capture", file=path))
        events = list(source.events())
        assert not [event for event in events if isinstance(event, Note) and FAULT in event.text]
        found = [event for event in events if isinstance(event, Frame) and 500 <= event.index < 600]
        assert [frame.index for frame in found] == list(range(500, 600))
        assert {frame.status for frame in found} == {FrameStatus.RECEIVED}


@pytest.mark.slow
def test_a_capture_of_garbage_is_noted_or_ends(tmp_path: Path) -> None:
    path = tmp_path / "garbage.cbors"
    for case in garbage():
        path.write_bytes(b"".join(case.parts))
        assert all(isinstance(item, (str, Recorded)) for item in Reader(path))
        events = capture.create(capture.Config(type="capture", file=path)).events()
        assert all(isinstance(event, (Note, ScanStart, ScanEnd, Frame)) for event in events)


def recorded(shared: Path, name: str) -> list[list[memoryview]]:
    reader = Reader(shared / "streams" / "streaming-receiver" / name)
    return [item.parts for item in reader if isinstance(item, Recorded)]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (stream2.Decoder, "derived_dectris_stream2_plain.cborseq.gz"),
        (simplon.Decoder, "eiger_legacy_dump.zip"),
    ],
)
def test_recorded_messages_damaged_at_random_places_hurt_nobody(make: Any, name: str, shared: Path) -> None:
    start, image, good = recorded(shared, name)[:3]
    chance = random.Random(20261120)
    decoder = make()
    decoder.feed(start, 0.0)
    decoder.feed(image, 0.0)
    scan = decoder.scan
    reference = decode(good_frame(decoder.feed(good, 0.0), 1).payloads["threshold_1"])
    with limited_memory():
        for number in range(400):
            parts = [bytearray(part) for part in image]
            part = chance.choice(parts)
            place = chance.randrange(min(len(part), 300) if number % 2 else len(part))
            if number % 3:
                part[place] = chance.randrange(256)
            else:
                del part[place : place + chance.randrange(1, 2000)]
            abuse(decoder, Case(f"random {number}", [bytes(part) for part in parts]))
            frame = good_frame(decoder.feed(good, 0.0), 1)
            assert frame.scan == scan.uid
    np.testing.assert_array_equal(decode(frame.payloads["threshold_1"]), reference)


@pytest.mark.slow
def test_a_short_fuzz_run_finds_nothing() -> None:
    with limited_memory():
        counts = Fuzzer(seed=20261120, chunk=0).run(3000)
    assert counts["good frames between"] == 60
    assert min(counts["stream2"], counts["simplon"], counts["captures"], counts["payloads corrupt"]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raises", "deaf", "internal"])
def test_the_fuzz_run_finds_a_decoder_that_is_broken(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: stream2.Decoder, parts: Sequence[memoryview], received: float) -> list[Event]:
        if fault == "raises":
            raise IndexError("a bug of ours")
        return [] if fault == "deaf" else [Note(f"{FAULT} IndexError")]

    monkeypatch.setattr(stream2.Decoder, "feed", broken)
    with pytest.raises(Fault):
        Fuzzer(seed=1, chunk=0).run(200)
