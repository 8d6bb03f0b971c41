"""A run whose source is lost, and the journal that it leaves: on sources made of lists and on real sockets."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmq
from commands import wait_for
from dectris_messages import stream2_end, stream2_image, stream2_start
from runs import LIMIT_S, configuration, finished

from sinks.check import check
from stream import Counters, Detector, EndStatus, Event, FrameStatus, ScanEnd, ScanStart, SourceLost, registry
from stream.config import RunOptions, validate
from stream.pipeline.chain import Chain
from stream.pipeline.journal import Journal
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.report import Report, ScanReport
from stream.pipeline.runner import Run, reading_ahead
from stream.wire.stream2 import Decoder


def scan(uid: str, header: tuple[tuple[bytes, ...], ...] = ()) -> ScanStart:
    return ScanStart(uid, uid, (4, 8), np.dtype("u2"), ("data",), None, Detector(), 0.0, header=header)


def closed_port() -> "tuple[zmq.Socket[bytes], int]":
    """A port that somebody else has."""
    other = zmq.Context.instance().socket(zmq.PULL)
    return other, other.bind_to_random_port("tcp://127.0.0.1")


class Losing:
    """Loses its scan in the middle each time."""

    def __init__(self) -> None:
        self.opened = 0

    def events(self) -> Iterator[Event]:
        self.opened += 1
        yield scan(f"scan{self.opened}")
        raise SourceLost("the folder is gone")

    def close(self) -> None:
        pass


class Patient(Losing):
    """One scan, which ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def events(self) -> Iterator[Event]:
        yield scan("patient")
        assert self.end.wait(LIMIT_S)
        yield ScanEnd("patient")


def test_a_scan_that_was_lost_counts_towards_the_scans_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, create = Losing(), registry.create
    monkeypatch.setattr(
        registry, "create", lambda section, *more: source if section == "stream" else create(section, *more)
    )
    monkeypatch.setattr("test_runner.LIMIT_S", 10.0)
    stream = {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"}
    report = finished(Run(configuration(tmp_path, stream, scans=1), reopen=True))
    assert [ended.status for ended in report.scans] == [EndStatus.ABORTED]
    assert source.opened == 1


def test_a_scan_is_gone_on_with_although_the_port_was_taken_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.pipeline.runner.preflight", lambda config: None)  # it was free then
    other, port = closed_port()
    config = configuration(tmp_path, {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{port}", "bind": True}, scans=1)
    Journal.of(config).begin(scan("uid of the journal", ((stream2_start(),),)))
    running = Run(config, reopen=True)
    refused = threading.Event()
    wait, detector = running._stop.wait, zmq.Context.instance().socket(zmq.PUSH)

    def refuse(seconds: float) -> bool:
        other.close(0)
        refused.set()
        return wait(seconds)

    running._stop.wait = refuse  # type: ignore[method-assign]

    def send() -> None:
        assert refused.wait(LIMIT_S)
        # the other one's socket is closed in a thread of ZMQ: who connects too soon is let in there
        wait_for(lambda: running._source.receiver.ready.is_set(), "the port")  # type: ignore[union-attr]
        detector.setsockopt(zmq.SNDTIMEO, int(LIMIT_S * 1000))
        detector.connect(f"tcp://127.0.0.1:{port}")
        for message in (stream2_image(3), stream2_image(4), stream2_end()):
            detector.send(message)

    try:
        report = finished(running, send)
    finally:
        detector.close(0)
        other.close(0)
    assert [ended.status for ended in report.scans] == [EndStatus.COMPLETE]
    assert "no start message" not in report.summary()
    assert Journal.of(config).read() is None


def test_one_scan_is_the_next_one_not_what_an_interrupted_one_left_behind(tmp_path: Path) -> None:
    config = configuration(tmp_path, {"type": "stream2", "endpoint": "tcp://127.0.0.1:0", "bind": True}, scans=1)
    Journal.of(config).begin(scan("left behind", ((stream2_start(series_id=6, series_unique_id="01LEFTBEHIND"),),)))
    running = Run(config, reopen=True)
    detector = zmq.Context.instance().socket(zmq.PUSH)

    def send() -> None:
        while running._source is None:
            threading.Event().wait(0.01)
        assert running._source.receiver.ready.wait(LIMIT_S)  # type: ignore[attr-defined]
        detector.setsockopt(zmq.SNDTIMEO, int(LIMIT_S * 1000))
        detector.connect(running._source.receiver.address)  # type: ignore[attr-defined]
        for message in (stream2_start(), *map(stream2_image, range(5)), stream2_end()):
            detector.send(message)

    try:
        report = finished(running, send)
    finally:
        detector.close(0)
    assert [(ended.name, ended.status) for ended in report.scans] == [
        ("6", EndStatus.ABORTED),
        ("7", EndStatus.COMPLETE),
    ]
    assert check(tmp_path / "7.h5").sound and Journal.of(config).read() is None


@pytest.mark.parametrize(("before", "status", "code"), [(3, EndStatus.SILENT, 1), (5, EndStatus.COMPLETE, 0)])
def test_a_scan_whose_end_went_to_the_process_that_was_killed_is_whole_only_if_all_frames_are_there(
    before: int, status: EndStatus, code: int, tmp_path: Path
) -> None:
    """Of 5 announced frames `before` were stored by a process that then took the rest, and the end, into its grave."""
    config = configuration(tmp_path, {"type": "stream2", "endpoint": "tcp://127.0.0.1:0", "bind": True})
    start = stream2_start(number_of_images=5)
    first = Pipeline([Chain([])], {"archive": (registry.create("sinks", config.sinks[0]), True)}, RunOptions())
    decoder = Decoder()
    for message in (start, *map(stream2_image, range(before))):
        for event in decoder.feed((message,), 0.0):
            first.put(event)
            if isinstance(event, ScanStart):
                Journal.of(config).begin(event)
    first.close()  # without an end of the scan

    running = Run(config, reopen=True)

    def stop() -> None:
        while running.counters().scan != "7":
            threading.Event().wait(0.01)
        running.stop()

    report = finished(running, stop)
    assert [(ended.status, ended.expected) for ended in report.scans] == [(status, before)]
    assert report.exit_code == code, report.summary()
    assert (f"silent after {before} of 5 frames" in report.scans[0].line()) is bool(code)
    assert (Journal.of(config).read() is None) is not bool(code)
    with h5py.File(tmp_path / "7.h5") as file:
        assert file["/entry/ledger/end_status"].asstr()[0] == status


def test_a_scan_that_begins_while_the_last_one_is_completed_stays_in_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    journal.begin(scan("first", ((b"1",),)))
    beginning = threading.Thread(target=journal.begin, args=(scan("second", ((b"2",),)),), name="inbeam-test-begin")
    read = journal.read

    def read_and_lose_the_race() -> Any:
        found = read()
        beginning.start()
        beginning.join(0.2)
        return found

    journal.read = read_and_lose_the_race  # type: ignore[method-assign]
    journal.end("first")
    beginning.join(LIMIT_S)
    left = read()
    assert left is not None and left.uid == "second"


def test_recorded_scans_are_not_read_far_ahead_unless_that_is_wanted() -> None:
    assert RunOptions().inbox_mb == 512
    assert reading_ahead(RunOptions(sink_mb=7)) == RunOptions(sink_mb=7, inbox_mb=32)
    assert reading_ahead(RunOptions(inbox_mb=512)).inbox_mb == 512


def test_a_journal_that_may_not_be_touched_costs_nothing_but_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "a.journal")
    journal.path.mkdir()
    assert journal.read() is None
    journal.end("first")
    assert str(journal.path) in caplog.text


def test_a_terminal_that_goes_away_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, create = Patient(), registry.create
    monkeypatch.setattr(
        registry, "create", lambda section, *more: source if section == "stream" else create(section, *more)
    )
    stream = {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"}

    def progress(counters: Counters) -> None:
        source.end.set()
        raise BrokenPipeError(32, "Broken pipe")

    report = Run(configuration(tmp_path, stream, scans=1), reopen=True).execute(progress)
    assert [ended.status for ended in report.scans] == [EndStatus.COMPLETE]
    assert report.exit_code == 0


def test_numbers_that_a_stopped_scan_had_not_reached_are_not_told_as_lost() -> None:
    report = Report()
    counts = dict.fromkeys(FrameStatus, 0) | {FrameStatus.RECEIVED: 98, FrameStatus.MISSING: 902}
    report.add(ScanReport("uid", "1", EndStatus.STOPPED, 1000, counts, 0, 99, 1000, ()))
    assert "2 frames without data (2 missing)" in report.summary()


def test_a_sink_that_is_added_to_a_processed_scan_gets_every_frame(tmp_path: Path) -> None:
    recorded = tmp_path / "scan.h5"
    with h5py.File(recorded, "w") as file:
        file["entry/data/data"] = np.arange(5 * 32, dtype="u2").reshape(5, 4, 8)
    stream = {"type": "files", "files": [str(recorded)]}
    sinks = [{"type": "archive", "path": str(tmp_path / f"{name}.h5")} for name in ("first", "second")]
    for wanted in (sinks[:1], sinks):
        report = Run(validate({"stream": stream, "sinks": wanted, "run": {"workers": 1}}), reopen=False).execute()
        assert report.exit_code == 0
    for name in ("first", "second"):
        verdict = check(tmp_path / f"{name}.h5")
        assert verdict.sound and "5 received" in verdict.line()


def test_frames_that_a_complete_file_cannot_take_any_more_are_never_lost_in_silence(tmp_path: Path) -> None:
    recorded = tmp_path / "scan.h5"
    sinks = [{"type": "archive", "path": str(tmp_path / "kept.h5")}]
    document = {"stream": {"type": "files", "files": [str(recorded)]}, "sinks": sinks, "run": {"workers": 1}}
    for count in (3, 3, 5):
        with h5py.File(recorded, "w") as file:
            file["entry/data/data"] = np.arange(count * 32, dtype="u2").reshape(count, 4, 8)
        report = Run(validate(document), reopen=False).execute()
        assert report.exit_code == 0 or "kept.h5" in report.summary()
        held = [check(path).line() for path in tmp_path.glob("kept*.h5")]
        assert report.exit_code == 1 or any(f"{count} received" in line for line in held), held
