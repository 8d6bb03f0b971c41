"""Series that the operator ends before all announced images were taken: what was never taken is not lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image
from pipelines import Kept, frame, play, scan

from sinks.check import check
from sinks.file.ledger_reader import read
from stream.commands.main import main
from stream.events import EndStatus, FrameStatus, ScanEnd
from stream.wire import simplon, stream2
from stream.wire.arrivals import Arrivals
from stream.wire.capture import Reader, Recorded, Writer

FREE_RUNNING = "streams/streaming-receiver/eiger_legacy_dump.zip"
"""A recorded series of 9 images of 1 s, 100 000 announced; its end message was not recorded."""


def free_running(shared: Path, folder: Path, *, ended_after_s: float, without: int | None = None) -> Path:
    """A capture of the recorded series, each message at its time, with an end message behind the last image."""
    path = folder / "free_running.cbors"
    writer = Writer(path, "tcp://127.0.0.1:9999")
    messages = [item.parts for item in Reader(shared / FREE_RUNNING) if isinstance(item, Recorded)]
    for position, parts in enumerate(messages):
        if without is None or position != without + 1:
            writer.write(parts, 1.7e9 + position)
    writer.write([memoryview(part) for part in v1_end(14)], 1.7e9 + len(messages) - 1 + ended_after_s)
    writer.close()
    return path


def archived(capture: Path, folder: Path) -> tuple[int, Path]:
    """Exit code of `inbeam process`, and the file that it wrote."""
    config = folder / "archive.yaml"
    path = folder / "frames.h5"
    stream = {"type": "simplon", "endpoint": "tcp://127.0.0.1:9999"}
    config.write_text(yaml.safe_dump({"stream": stream, "sinks": [{"type": "archive", "path": str(path)}]}))
    return main(["process", "--quiet", str(config), str(capture)]), path


@pytest.mark.shared
def test_a_recorded_free_running_series_that_is_disarmed_is_whole(shared: Path, tmp_path: Path) -> None:
    capture = free_running(shared, tmp_path, ended_after_s=0.4)
    code, path = archived(capture, tmp_path)
    assert code == 0
    verdict = check(path)
    assert verdict.sound and verdict.frames == 9, verdict
    with h5py.File(path) as file:
        found = read(file)
        assert file["entry/data/data"].shape == (9, 1065, 1030)
    assert (found.end_status, found.expected, found.announced) == (EndStatus.DISARMED, 9, 100_000)
    assert found.complete and sum(found.counts.values()) == 9
    assert "ended by the detector after 9 of 100000 frames" in found.notes
    assert archived(capture, tmp_path)[0] == 0, "the same again has nothing to add"


@pytest.mark.shared
def test_a_frame_below_the_last_one_is_lost_all_the_same(shared: Path, tmp_path: Path) -> None:
    code, path = archived(free_running(shared, tmp_path, ended_after_s=0.4, without=5), tmp_path)
    assert code == 1
    with h5py.File(path) as file:
        found = read(file)
    assert found.counts[FrameStatus.MISSING] == 1 and found.expected == 9


Message = Callable[[int], list[bytes]]


@pytest.fixture(params=["stream2", "simplon"])
def series(request: pytest.FixtureRequest) -> tuple[Any, list[bytes], Message, list[bytes]]:
    """A decoder; start, images and end of a series of 100 frames of 12.5 ms."""
    if request.param == "stream2":
        start, end = [stream2_start(number_of_images=100)], [stream2_end()]
        return stream2.Decoder(grace_s=0), start, lambda index: [stream2_image(index)], end
    return simplon.Decoder(grace_s=0), v1_header(nimages=100), v1_image, v1_end()


def ended(series: Any, images: int, after_s: float, disturbed: bool = False) -> EndStatus:
    """How the series ends whose end message comes that long after the last of its first images, at their times."""
    decoder, start, image, end = series
    decoder.feed(start, 1.7e9)
    for index in range(images):
        decoder.feed(image(index), 1.7e9 + 0.0125 * (index + 1) + 0.01)
    if disturbed:
        decoder.disturbed()
    at = 1.7e9 + 0.0125 * images + 0.01 + after_s
    (found,) = [*decoder.feed(end, at), *decoder.tick(at + 1)]
    assert isinstance(found, ScanEnd) and found.announced == 100
    return found.status


def test_an_end_before_the_rest_can_have_been_taken_is_the_operators(series: Any) -> None:
    assert ended(series, 50, after_s=0.3) is EndStatus.DISARMED


def test_an_end_that_comes_when_the_rest_may_have_been_taken_leaves_it_missing(series: Any) -> None:
    assert ended(series, 50, after_s=50 * 0.0125) is EndStatus.COMPLETE


def test_after_a_lost_connection_nobody_knows_what_was_taken(series: Any) -> None:
    assert ended(series, 50, after_s=0.0, disturbed=True) is EndStatus.COMPLETE


def test_a_series_that_is_armed_and_disarmed_has_lost_nothing(series: Any) -> None:
    assert ended(series, 0, after_s=0.5) is EndStatus.DISARMED


def test_a_single_image_that_went_to_another_reader_is_not_taken_for_one_that_was_never_taken() -> None:
    arrivals = Arrivals(1.7e9)
    assert not arrivals.cut_short(1, 1.0, 1.7e9 + 1.2)


def test_what_has_no_time_proves_nothing() -> None:
    for times, frame_time in (((float("nan"),), 1.0), ((0.0,), None)):
        arrivals = Arrivals(1.7e9)
        for index, time in enumerate(times):
            arrivals.add(index, 1.7e9, time)
        assert not arrivals.cut_short(1000, frame_time, 1.7e9)
    gone_on_with = Arrivals(None)
    assert not gone_on_with.cut_short(1000, 1.0, 1.7e9)


def test_a_reader_that_lags_behind_does_not_make_the_end_look_early() -> None:
    arrivals = Arrivals(0.0)
    for index in range(50):  # ten frames in time, then one at a tenth of the speed
        arrivals.add(index, index * 0.1 if index < 10 else 1.0 + (index - 10) * 1.0, index * 0.1)
    assert not arrivals.cut_short(100, 0.1, 41.0), "the other fifty were dropped by the detector's full buffer"


@pytest.mark.parametrize(
    ("status", "missing", "words"),
    [
        (EndStatus.DISARMED, 0, "ended by the detector after 10 of 50 frames: the others were not taken"),
        (EndStatus.COMPLETE, 40, "ended by the detector after 10 of 50 frames: the last 40 may have been taken"),
        (EndStatus.SILENT, 0, "silent after 10 of 50 frames"),
        (EndStatus.ABORTED, 40, ""),
    ],
)
def test_the_counts_sum_to_what_is_expected_however_a_scan_ends(
    status: EndStatus, missing: int, words: str, tmp_path: Path
) -> None:
    sink = Kept()
    pipeline = play([scan(expected=50), *map(frame, range(10)), ScanEnd("one", status, 50)], sink)
    (report,) = pipeline.report.scans
    assert report.lost == missing and pipeline.report.exit_code == (0 if status is EndStatus.DISARMED else 1)
    assert sum(report.counts.values()) == report.expected == sink.ends[0].expected == 10 + missing
    assert words in report.line() and (not words or words in sink.ends[0].notes[0])
