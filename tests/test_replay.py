"""`inbeam replay` and `inbeam simulate` as a reader on the other end of the socket sees them."""

import argparse
import gzip
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2
import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq
import zmq.auth

from stream import Frame, FrameStatus, ScanEnd, ScanStart
from stream.codec.payload import decode
from stream.commands import replay, simulate
from stream.commands.main import main
from stream.errors import InbeamError
from stream.simulate import eiger
from stream.simulate.encode import scan_of
from stream.simulate.messages import Message
from stream.simulate.scans import encoder, simulated
from stream.simulate.sender import Sender
from stream.wire.simplon import Decoder as SimplonDecoder
from stream.wire.stream2 import Decoder as Stream2Decoder

STREAM2 = "streams/streaming-receiver/derived_dectris_stream2_plain.cborseq.gz"
SIMPLON = "streams/streaming-receiver/eiger_legacy_dump.zip"
DECODERS = {"stream2": Stream2Decoder, "simplon": SimplonDecoder}


@contextmanager
def reader(endpoint: str, **options: object) -> Iterator[Callable[[], list[bytes]]]:
    """A connected PULL socket; the function gives the next message."""
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.linger = 0
        pull.rcvtimeo = 20_000
        for name, value in options.items():
            setattr(pull, name, value)
        pull.connect(endpoint)
        yield pull.recv_multipart


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    """An address of this test's own, without any port that could be taken."""
    return f"ipc://{tmp_path}/detector"


class Command:
    """A command running in a thread of its own, as in a process of its own."""

    def __init__(self, command: object, *arguments: str) -> None:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)  # type: ignore[attr-defined]
        args = parser.parse_args(arguments)
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(command, args), name="inbeam-test-replay")
        self._thread.start()

    def _run(self, command: object, args: argparse.Namespace) -> None:
        self.code = command.run(args)  # type: ignore[attr-defined]

    def wait(self) -> int | None:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the command does not end"
        return self.code


def original_messages(shared: Path, name: str) -> list[list[bytes]]:
    """The recorded parts, read by cbor2 alone."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(shared / name) as archive:
            data = archive.read(archive.namelist()[0])
    else:
        data = gzip.decompress((shared / name).read_bytes())
    file, found = io.BytesIO(data), []
    while file.tell() < len(data):
        item = cbor2.load(file)
        if isinstance(item, cbor2.CBORTag):
            (stream,) = item.value[1].values()
            item = stream.value[1]
        found.append([bytes(part) for part in item])
    return found


@pytest.mark.parametrize(("name", "messages"), [(SIMPLON, 10), (STREAM2, 12)])
def test_a_recorded_capture_goes_out_byte_for_byte(shared: Path, endpoint: str, name: str, messages: int) -> None:
    wanted = original_messages(shared, name)
    assert len(wanted) == messages
    command = Command(replay, str(shared / name), "--bind", endpoint, "--repeat", "2")
    with reader(endpoint) as receive:
        assert [receive() for _ in range(2 * messages)] == wanted + wanted
    assert command.wait() == 0


def capture_file(path: Path, messages: list[tuple[float, list[bytes]]]) -> Path:
    items: list[object] = [{"inbeam_capture": 1, "endpoint": "tcp://x:1", "protocol": "stream2", "started": 1.0}]
    items += [[round(at * 1e9), parts] for at, parts in messages]
    path.write_bytes(b"".join(map(cbor2.dumps, items)))
    return path


def made_messages(protocol: str = "stream2", frames: int = 4) -> list[Message]:
    detector = eiger.small()
    return list(simulated(detector, eiger.pool(detector, 2), protocol=protocol, frames=frames, header_detail="basic"))


def test_a_capture_of_ours_goes_out_at_the_times_of_its_arrival_or_as_fast_as_it_is_taken(
    tmp_path: Path, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = made_messages()
    timed = [(5.0 + 0.06 * number, list(message.parts)) for number, message in enumerate(messages)]
    path = capture_file(tmp_path / "x.cbor", timed)
    taken: dict[str, float] = {}
    for rate in ("as-recorded", "max"):
        command = Command(replay, str(path), "--bind", endpoint, "--rate", rate)
        with reader(endpoint) as receive:
            first = receive()
            begin = time.monotonic()
            assert [first, *(receive() for _ in timed[1:])] == [parts for _, parts in timed]
            taken[rate] = time.monotonic() - begin
        assert command.wait() == 0
    assert 0.2 < taken["as-recorded"] < 4  # 5 intervals of 60 ms, and none of the 5 s before the first
    assert taken["max"] < taken["as-recorded"]
    assert "sent 4 images in 6 messages, 1 scans" in capsys.readouterr().out


def test_a_rate_is_kept_on_average(endpoint: str) -> None:
    sender = Sender(endpoint, timeout_s=10)
    with sender, reader(endpoint) as receive:
        sender.bind(1000)
        sent = sender.send(made_messages(frames=60), rate_hz=300)
        assert 59 / 300 * 0.95 < sent.seconds < 59 / 300 + 1.5
        assert (sent.images, sent.messages, sent.scans) == (60, 62, 1)
        assert len([receive() for _ in range(62)]) == 62


def test_a_capture_that_was_cut_short_is_played_as_far_as_it_goes_and_said(
    tmp_path: Path, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = made_messages()
    path = capture_file(tmp_path / "x.cbor", [(0.0, list(message.parts)) for message in messages])
    path.write_bytes(path.read_bytes()[:-20])
    command = Command(replay, str(path), "--bind", endpoint)
    with reader(endpoint) as receive:
        assert [receive() for _ in messages[:-1]] == [list(message.parts) for message in messages[:-1]]
    assert command.wait() == 0
    assert "cut short" in capsys.readouterr().err


@pytest.fixture
def recorded_file(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A DECTRIS-like HDF5 file with five bslz4 frames."""
    detector = eiger.small()
    frames = np.stack([frame["threshold_1"] for frame in eiger.frames(detector, 5)])
    path = tmp_path / "scan7.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "entry/data/data", data=frames, chunks=(1, *detector.shape), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        data.parent.attrs["NX_class"] = "NXdata"
        file["entry"].attrs["NX_class"] = "NXentry"
    return path, frames


@pytest.mark.parametrize("protocol", ["stream2", "simplon"])
def test_a_recorded_scan_comes_out_of_the_other_end_with_the_same_pixels(
    protocol: str, endpoint: str, recorded_file: tuple[Path, np.ndarray]
) -> None:
    path, frames = recorded_file
    command = Command(
        replay, str(path), "--as", protocol, "--bind", endpoint, "--repeat", "2", "--rate", "max", "--series", "30"
    )
    decoder, events = DECODERS[protocol](), []
    with reader(endpoint) as receive:
        for _ in range(2 * 7):
            events += decoder.feed([memoryview(part) for part in receive()], 0.0)
    assert command.wait() == 0
    kinds = [type(event) for event in events if not isinstance(event, Frame)]
    assert kinds == [ScanStart, ScanEnd, ScanStart, ScanEnd]
    starts = [event for event in events if isinstance(event, ScanStart)]
    assert len({start.uid for start in starts}) == 2 and [start.name for start in starts] == ["30", "31"]
    assert all(start.expected == 5 and start.shape == (256, 256) for start in starts)
    images = [event for event in events if isinstance(event, Frame)]
    assert [frame.index for frame in images] == [0, 1, 2, 3, 4] * 2
    for frame in images:
        assert frame.status is FrameStatus.RECEIVED
        assert np.array_equal(decode(next(iter(frame.payloads.values()))), frames[frame.index])


def test_a_vendor_file_and_a_tiff_are_played_as_the_detector(shared: Path, endpoint: str) -> None:
    for name in (
        "streams/dectris_h5-testfiles/eiger2_simread7_2datafiles_4images_bslz4_uint8_data_000001.h5",
        "powder/dioptas_ceo2_pilatus1m/CeO2_Pilatus1M.tif",
    ):
        decoder, frames = Stream2Decoder(), []
        command = Command(replay, str(shared / name), "--bind", endpoint, "--rate", "max")
        with reader(endpoint) as receive:
            while True:
                events = decoder.feed([memoryview(receive()[0])], 0.0)
                frames += [event for event in events if isinstance(event, Frame)]
                if any(isinstance(event, ScanEnd) for event in events):
                    break
        assert command.wait() == 0
        assert frames
        for frame in frames:
            (payload,) = frame.payloads.values()
            assert decode(payload).shape == payload.shape


def test_a_simulated_detector_reports_its_faults_and_ends_by_itself(
    tmp_path: Path, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report, poni = tmp_path / "report.json", tmp_path / "geometry.poni"
    common = ("--detector", "small", "--frames", "200", "--scans", "2", "--rate", "max", "--bind", endpoint)
    faults = ("--faults", "drop=0.1,duplicate=0.1", "--seed", "5", "--report", str(report), "--poni", str(poni))
    command = Command(simulate, *common, *faults)
    decoder, scans = Stream2Decoder(grace_s=0.0), []
    with reader(endpoint) as receive:
        while len(scans) < 2 or not isinstance(scans[-1][-1], ScanEnd):
            for event in decoder.feed([memoryview(receive()[0])], 0.0):
                if isinstance(event, ScanStart):
                    scans.append([])
                scans[-1].append(event)
    assert command.wait() == 0
    found = json.loads(report.read_text())
    assert found["seed"] == 5 and found["faults"] == faults[1]
    for events, deeds in zip(scans, found["scans"], strict=True):
        arrived = [event.index for event in events if isinstance(event, Frame)]
        assert set(range(200)) - set(arrived) == set(deeds["dropped"])
        assert {index for index in arrived if arrived.count(index) == 2} == set(deeds["duplicated"])
        assert deeds["dropped"] and deeds["duplicated"]
    assert "Wavelength" in poni.read_text()
    assert "listening on" in capsys.readouterr().out


def test_a_detector_that_dies_says_so(tmp_path: Path, endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--detector", "small", "--frames", "9", "--rate", "max", "--bind", endpoint, "--faults", "die-at=4")
    command = Command(simulate, *arguments, "--protocol", "simplon")
    with reader(endpoint) as receive:
        kinds = [json.loads(receive()[0])["htype"] for _ in range(5)]
    assert kinds == ["dheader-1.0"] + 4 * ["dimage-1.0"]
    assert command.wait() == 0
    assert "died before image 4, as asked" in capsys.readouterr().out


def test_nobody_there_is_said_within_the_time_out(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(simulate, "--detector", "small", "--frames", "2", "--bind", endpoint, "--timeout", "0.2")
    assert command.wait() == 1
    assert "nobody connected" in capsys.readouterr().err


def test_a_reader_that_stops_taking_is_said_within_the_time_out(endpoint: str) -> None:
    detector = eiger.small()
    packed = eiger.pool(detector, 1)
    endless = simulated(detector, packed, protocol="simplon", frames=None, header_detail="none")
    with Sender(endpoint, timeout_s=0.3) as sender, reader(endpoint, rcvhwm=1) as receive:
        sender.bind(64_000_000)
        with pytest.raises(InbeamError, match=r"took nothing for 0\.3 s"):
            sender.send(endless)
        assert receive()[0].startswith(b'{"header_detail"')


def test_a_taken_port_a_missing_file_and_wrong_options_are_told_with_what_to_do(
    tmp_path: Path, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        assert Command(simulate, "--detector", "small", "--frames", "1", "--bind", taken).wait() == 1
        assert f"cannot send from {taken}" in (text := capsys.readouterr().err) and "--bind" in text
    assert main(["replay", str(tmp_path / "no.h5")]) == 2
    assert "no.h5 is not there" in capsys.readouterr().err
    capture = capture_file(tmp_path / "x.cbor", [(0.0, list(message.parts)) for message in made_messages()])
    assert Command(replay, str(capture), "--as", "simplon").wait() == 1
    assert "a capture of stream2" in capsys.readouterr().err
    rubbish = capture_file(tmp_path / "y.cbor", [(0.0, [b"\xff\x00"])])
    assert Command(replay, str(rubbish)).wait() == 1
    assert "no message of a detector" in capsys.readouterr().err
    for rate in ("0", "-3", "fast", "inf", "nan"):
        assert Command(simulate, "--detector", "small", "--frames", "1", "--rate", rate, "--bind", endpoint).wait() == 1
        assert f"--rate {rate}" in capsys.readouterr().err
    assert Command(simulate, "--detector", "small", "--channels", "2", "--protocol", "simplon").wait() == 1
    assert "one channel" in capsys.readouterr().err
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["entry/title"] = "nothing"
    assert Command(replay, str(tmp_path / "empty.h5"), "--bind", endpoint).wait() == 1
    assert "holds no frames to send" in capsys.readouterr().err


def test_with_a_curve_key_only_readers_that_know_it_get_anything(tmp_path: Path) -> None:
    _, secret = zmq.auth.create_certificates(tmp_path, "detector")
    public, _ = zmq.auth.load_certificate(tmp_path / "detector.key")
    mine, my_secret = zmq.curve_keypair()
    with Sender("tcp://127.0.0.1:0", timeout_s=0.3, secret_key=Path(secret)) as sender:
        address = sender.bind(1000)
        with reader(address), pytest.raises(InbeamError, match="nobody connected"):
            sender.send(made_messages())
        sender.timeout_s = 10.0
        keys = {"curve_serverkey": public, "curve_publickey": mine, "curve_secretkey": my_secret}
        with reader(address, **keys) as receive:
            messages = made_messages()
            sender.send(messages)
            assert [receive() for _ in messages] == [list(message.parts) for message in messages]


@pytest.mark.slow
def test_thousands_of_4m_messages_per_second_are_made(endpoint: str) -> None:
    detector = eiger.eiger2_4m()
    packed = eiger.pool(detector, 2)
    scan = scan_of(detector, expected=None)
    for protocol in ("stream2", "simplon"):
        made = encoder(protocol, scan, header_detail="basic")
        best = 0.0
        for _ in range(5):
            begin = time.process_time()
            for index in range(100):
                made.image(Frame(scan.uid, index, packed[index % 2], 0.0))
            best = max(best, 100 / (time.process_time() - begin))
        assert best > 1000, protocol  # measured: 29 000 and 350 000
