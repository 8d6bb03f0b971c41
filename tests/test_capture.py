"""Captures: recorded byte for byte, read back whole or as far as they go, played as a source."""

import argparse
import gzip
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import pytest
import zmq
from dectris_messages import stream2_end, stream2_image, stream2_start, v1_end, v1_header, v1_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.commands import capture as command
from stream.errors import SourceLost
from stream.events import EndStatus, Event, Frame, Note, ScanEnd, ScanStart
from stream.roles import Source
from stream.sources import capture
from stream.wire.capture import Reader, Recorded, Writer

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""
Messages = Sequence[Sequence[bytes]]
STREAM2: Messages = [[stream2_start()], *([stream2_image(index)] for index in range(5)), [stream2_end()]]
SIMPLON: Messages = [v1_header(), *(v1_image(index) for index in range(5)), v1_end()]
FOREIGN = ("streaming-receiver/eiger_legacy_dump.zip", "streaming-receiver/derived_dectris_stream2_plain.cborseq.gz")


def write(path: Path, messages: Messages, started: float | None = None) -> Path:
    writer = Writer(path, "tcp://127.0.0.1:9999")
    begin = time.time() if started is None else started
    for number, parts in enumerate(messages):
        writer.write(parts, begin + 0.25 * number)
    writer.close()
    return path


def read(path: Path) -> tuple[list[list[bytes]], list[str]]:
    """The messages of a recording, and what is said of the rest."""
    items = list(Reader(path))
    messages = [[bytes(part) for part in item.parts] for item in items if isinstance(item, Recorded)]
    return messages, [item for item in items if isinstance(item, str)]


def play(path: Path, **options: Any) -> list[Event]:
    return list(capture.create(capture.Config(type="capture", file=path, **options)).events())


def as_lists(messages: Messages) -> list[list[bytes]]:
    return [list(parts) for parts in messages]


@given(st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=5), min_size=1, max_size=6))
@settings(PATIENT, max_examples=50)
def test_messages_are_read_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, messages: list[list[bytes]]
) -> None:
    path = write(tmp_path_factory.mktemp("capture") / "any.cbors", messages)
    assert read(path) == (messages, [])


def test_arrival_times_and_the_protocol_are_kept(tmp_path: Path) -> None:
    for messages, protocol in ((STREAM2, "stream2"), (SIMPLON, "simplon")):
        before = time.time()
        path = write(tmp_path / f"{protocol}.cbors", messages)
        reader = Reader(path)
        items = [item for item in reader if isinstance(item, Recorded)]
        arrivals = [item.arrival_s for item in items if item.arrival_s is not None]
        assert [later - arrivals[0] for later in arrivals] == pytest.approx([0.25 * n for n in range(len(messages))])
        assert (reader.about.protocol, reader.about.endpoint) == (protocol, "tcp://127.0.0.1:9999")
        assert reader.about.started == pytest.approx(before, abs=60)


@pytest.mark.parametrize("messages", [STREAM2, SIMPLON])
def test_a_recording_cut_anywhere_is_read_as_far_as_it_goes(tmp_path: Path, messages: Messages) -> None:
    whole = write(tmp_path / "whole.cbors", messages)
    data = whole.read_bytes()
    ends = [0]
    with whole.open("rb") as stream:
        while stream.tell() < len(data):
            cbor2.CBORDecoder(stream, read_size=1).decode()
            ends.append(stream.tell())
    cut = tmp_path / "cut.cbors"
    for size in [*range(0, len(data), 97), *ends, *(end + 1 for end in ends[:-1])]:
        cut.write_bytes(data[:size])
        found, problems = read(cut)
        assert found == as_lists(messages)[: max(0, sum(end <= size for end in ends) - 2)]
        assert len(problems) == (size not in ends), "a file that ends within an item says so"


def test_a_damaged_place_is_told_and_what_was_before_it_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "damaged.cbors", STREAM2)
    data = bytearray(path.read_bytes())
    place = data.index(STREAM2[3][0]) - 8
    data[place : place + 8] = b"\x1c" * 8
    path.write_bytes(data)
    found, problems = read(path)
    assert found == as_lists(STREAM2[:3]) and len(problems) == 1 and "damaged" in problems[0]


def test_compressed_recordings_are_read_and_told_apart_by_their_content(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.cbors", STREAM2).read_bytes()
    (tmp_path / "without_suffix").write_bytes(gzip.compress(plain))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.cbors", plain)
    for name in ("without_suffix", "archive.zip"):
        assert read(tmp_path / name) == (as_lists(STREAM2), [])


@pytest.mark.parametrize("suffix", ["gz", "zip"])
def test_a_broken_archive_never_ends_in_a_traceback(tmp_path: Path, suffix: str) -> None:
    plain = write(tmp_path / "plain.cbors", STREAM2).read_bytes()
    whole, path = tmp_path / "whole", tmp_path / f"broken.{suffix}"
    if suffix == "gz":
        whole.write_bytes(gzip.compress(plain))
    else:
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.cbors", plain)
    data = whole.read_bytes()
    for place in range(4, len(data), 61):
        for broken in (data[:place], data[:place] + b"\xff\x00\xff" + data[place + 3 :]):
            path.write_bytes(broken)
            try:
                events = play(path)
            except SourceLost as error:
                assert str(path) in str(error)
            else:
                assert all(isinstance(event, (ScanStart, Frame, ScanEnd, Note)) for event in events)


def test_items_that_are_no_messages_are_noted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "foreign.cbors"
    items = [[b"first"], {"a": 1}, 5, [], ["text"], [1, "x"], cbor2.CBORTag(42877, [1, 2]), [b"a", b"b"]]
    path.write_bytes(b"".join(cbor2.dumps(item) for item in items))
    found, problems = read(path)
    assert found == [[b"first"], [b"a", b"b"]] and len(problems) == 6


@pytest.mark.shared
def test_foreign_recordings_play_as_the_detector_sent_them(shared: Path) -> None:
    for name, images in zip(FOREIGN, (9, 10), strict=True):
        start, *frames, end = play(shared / "streams" / name)
        assert isinstance(start, ScanStart) and start.shape == (1065, 1030)
        assert [frame.index for frame in frames if isinstance(frame, Frame)] == list(range(images))
        assert isinstance(end, ScanEnd)
        assert end.status is (EndStatus.ABORTED if images == 9 else EndStatus.COMPLETE), "the v1 recording has no end"


@pytest.mark.parametrize(("messages", "protocol"), [(STREAM2, "stream2"), (SIMPLON, "simplon")])
def test_a_capture_plays_the_scan_with_its_arrival_times(tmp_path: Path, messages: Messages, protocol: str) -> None:
    path = write(tmp_path / "scan.cbors", messages)
    start, *frames, end = play(path)
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd) and end.status is EndStatus.COMPLETE
    assert protocol in start.source
    times = [frame.received for frame in frames if isinstance(frame, Frame)]
    assert [later - start.received for later in times] == pytest.approx([0.25 * n for n in range(1, 6)], abs=1e-4)
    assert start.uid == play(path)[0].uid, "a second reading finds the same scan"  # type: ignore[union-attr]


def test_a_capture_without_any_known_message_is_noted(tmp_path: Path) -> None:
    events = play(write(tmp_path / "other.cbors", [[b"\x00"], [b"hello"]]))
    assert len(events) == 2 and all(isinstance(event, Note) for event in events)
    forced = play(write(tmp_path / "forced.cbors", [[b"\x00"], *STREAM2]), protocol="stream2")
    assert [type(event).__name__ for event in forced][:2] == ["Note", "ScanStart"]


def test_closing_the_source_ends_the_scan_as_stopped(tmp_path: Path) -> None:
    source = capture.create(capture.Config(type="capture", file=write(tmp_path / "scan.cbors", STREAM2)))
    assert isinstance(source, Source)
    events = source.events()
    assert isinstance(next(events), ScanStart)
    source.close()
    (end,) = events
    assert isinstance(end, ScanEnd) and end.status is EndStatus.STOPPED


def test_a_file_that_is_not_there_is_told_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="is not there"):
        capture.Config(type="capture", file=tmp_path / "nothing.cbors")


def test_at_most_a_second_is_at_risk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("stream.wire.capture.time.monotonic", lambda: clock[0])
    path = tmp_path / "killed.cbors"
    writer = Writer(path, "tcp://127.0.0.1:9999")
    writer.write([b"one"], time.time())
    clock[0] += 1.0
    writer.flush_due()
    writer_without_close = read(path)
    writer.close()
    assert writer_without_close == ([[b"one"]], [])


@contextmanager
def detector(messages: Messages) -> Iterator[str]:
    """A PUSH socket that sends `messages` to whoever connects; its address."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        done = threading.Event()

        def send() -> None:
            for parts in messages:
                while not done.is_set():
                    try:  # who records one message leaves before the next is taken
                        socket.send_multipart(parts, zmq.NOBLOCK)
                        break
                    except zmq.Again:
                        socket.poll(20, zmq.POLLOUT)
            done.wait(20)

        thread = threading.Thread(target=send, name="detector")
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            done.set()
            thread.join(30)


def record(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.mark.parametrize("messages", [STREAM2, SIMPLON])
def test_the_command_records_byte_for_byte(tmp_path: Path, messages: Messages, capsys: Any) -> None:
    path = tmp_path / "recorded.cbors"
    with detector(messages) as endpoint:
        assert record(endpoint, str(path), "--messages", str(len(messages))) == 0
    assert read(path) == (as_lists(messages), [])
    assert f"{len(messages)} messages" in capsys.readouterr().out
    assert isinstance(play(path)[-1], ScanEnd)


@pytest.mark.shared
def test_a_recorded_detector_is_recorded_again_unchanged(shared: Path, tmp_path: Path) -> None:
    for name in FOREIGN:
        messages, _ = read(shared / "streams" / name)
        path = tmp_path / "again.cbors"
        with detector(messages) as endpoint:
            assert record(endpoint, str(path), "--messages", str(len(messages)), "--overwrite") == 0
        assert read(path) == (messages, [])


def test_ctrl_c_ends_a_recording_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "interrupted.cbors"

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=interrupt, name="user")
    with detector(STREAM2) as endpoint:
        thread.start()
        assert record(endpoint, str(path)) == 0
        thread.join(20)
    assert read(path) == (as_lists(STREAM2), [])
    assert signal.getsignal(signal.SIGINT) is before


def test_an_existing_file_is_never_overwritten_unless_told(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "precious.cbors"
    path.write_bytes(b"precious")
    with detector(STREAM2) as endpoint:
        assert record(endpoint, str(path), "--messages", "1") == 2
        assert path.read_bytes() == b"precious" and "--overwrite" in capsys.readouterr().err
        assert record(endpoint, str(path), "--messages", "1", "--overwrite") == 0
    assert read(path)[0] == [list(STREAM2[0])]


def test_a_recording_in_a_folder_that_is_not_there_is_refused_before_anything_comes(
    tmp_path: Path, capsys: Any
) -> None:
    assert record("tcp://127.0.0.1:9", str(tmp_path / "new" / "x.cbors")) == 2
    assert "x.cbors: its folder is not there: make it" in capsys.readouterr().err


def test_a_recording_that_got_nothing_says_so_and_leaves_no_file(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "nothing.cbors"
    assert record("tcp://127.0.0.1:9", str(path), "--seconds", "0.2") == 1
    assert "armed" in capsys.readouterr().err and not path.exists()
    path.write_bytes(b"precious")
    assert record("tcp://127.0.0.1:9", str(path), "--seconds", "0.2", "--overwrite") == 1
    assert path.read_bytes() == b"precious", "nothing came that could replace it"
    path.unlink()
    assert record("nonsense", str(path)) == 2
    assert "tcp://host:port" in capsys.readouterr().err and not path.exists()
    assert record("tcp://127.0.0.1:9", str(tmp_path / "no" / "folder.cbors")) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_recording_with_a_clear_error(capsys: Any, tmp_path: Path) -> None:
    link = tmp_path / "full.cbors"
    link.symlink_to("/dev/full")
    with detector(STREAM2) as endpoint:
        assert record(endpoint, str(link), "--messages", "7", "--overwrite") == 1
    assert "No space left" in capsys.readouterr().err
