"""`inbeam run --receivers N`: several processes share a detector; each scan ends with one file that reads like one."""

import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import committed, wait_for
from dectris_messages import pixels
from receivers import INTEGRATE, Detector, configuration, end, image, running, shares, start, written_parts

from sinks.check import check
from sinks.file.columns import Rows
from sinks.receivers import mapping, master
from stream.codec.payload import decode
from stream.commands import receivers as receivers_command
from stream.commands.demo import free_port
from stream.commands.main import main
from stream.commands.receivers import Receivers
from stream.config import validate
from stream.errors import ConfigError
from stream.events import FrameStatus
from stream.testing import examples


@pytest.fixture
def detector() -> Iterator[Detector]:
    made = Detector()
    yield made
    made.close()


@pytest.mark.slow
def test_the_files_of_three_receivers_are_one_that_reads_like_that_of_a_single_run(
    detector: Detector, tmp_path: Path
) -> None:
    count = 90
    config = configuration(tmp_path / "several", detector.endpoint, {"type": "correct"}, INTEGRATE, scans=2)
    with running(config, 3, detector) as (_, codes):
        for series in (1, 2):
            detector.send(start(count, series), *(image(index, series) for index in range(count)), end(series))
    assert codes == [0]
    single = Detector()
    alone = configuration(tmp_path / "one", single.endpoint, {"type": "correct"}, INTEGRATE, scans=1)
    with running(alone, 1, single):
        single.send(start(count), *(image(index) for index in range(count)), end())
    single.close()
    for name in ("1", "2"):
        frames, results = (tmp_path / "several" / f"{name}{kind}.h5" for kind in ("_frames", ""))
        assert sum(shares(frames)) == count and min(shares(frames)) > 0
        for path in (frames, results):
            assert check(path).sound, check(path).line()
        with h5py.File(frames) as file, h5py.File(results) as one, h5py.File(tmp_path / "one/1.r0.h5") as other:
            for index in range(count):
                np.testing.assert_array_equal(file["entry/data/data"][index], pixels(index))
                np.testing.assert_array_equal(one["entry/frames/data"][index], pixels(index))
            np.testing.assert_array_equal(one["entry/data/I"], other["entry/data/I"])
            np.testing.assert_array_equal(one["entry/data/radial_axis"], other["entry/data/radial_axis"])
            assert (one["entry/ledger/status"][()] == FrameStatus.RECEIVED).all()
            assert one["entry/ledger/counts"][()].sum() == count and one["entry/ledger/finished"][0]
            assert sum(one["entry/latency/received_to_visible"][()]) == count
            names: list[str] = []
            other.visit(names.append)
            assert not [each for each in names if each not in one]
            pids = {one[f"{master.GROUP}/{each}/provenance/process_id"][()] for each in "012"}
            assert len(pids) == 3
    assert main(["process", "--quiet", str(recorded(tmp_path)), str(tmp_path / "several/1_frames.h5")]) == 0
    with h5py.File(tmp_path / "again/1_frames.h5") as again, h5py.File(tmp_path / "several/1.h5") as first:
        np.testing.assert_array_equal(again["entry/data/I"], first["entry/data/I"])


def recorded(folder: Path) -> Path:
    path = folder / "again.yaml"
    plain = {**INTEGRATE, "beam_center_px": [6.0, 5.0], "pixel_size_m": [75e-6, 75e-6]}
    document = {
        "stream": {"type": "files", "files": ["given"]},
        "processors": [{"type": "correct"}, plain],
        "sinks": [{"type": "hdf5", "path": str(folder / "again/{scan}.h5")}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.slow
def test_a_receiver_that_is_killed_is_started_again_and_its_frames_are_there(
    detector: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration(tmp_path, detector.endpoint, scans=1)
    with running(config, 2, detector) as (receivers, codes):
        detector.send(start(200), *(image(index) for index in range(100)))
        parts = [tmp_path / f"1_frames.r{number}.h5" for number in range(2)]
        wait_for(lambda: sum(committed(path) for path in parts) == 100, "all frames on disk")
        before = committed(parts[1])
        killed = receivers.processes[1]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: receivers.processes[1] != killed, "another process")
        detector.send(*(image(index) for index in range(100, 200)), end())
    assert codes == [1] and "started again" in capsys.readouterr().out
    whole = tmp_path / "1_frames.h5"
    with h5py.File(whole) as file:
        states = file["entry/ledger/status"][()]
    has_data = np.isin(states, (1, 2, 3))
    assert len(states) == 200 and has_data[:100].all(), "what was on disk is not lost"
    assert has_data[100:].sum() >= 100 - 2 * 4, "what was in hand, no more"
    assert shares(whole)[1] >= before
    assert check(whole).sound, check(whole).line()


@pytest.mark.slow
def test_a_receiver_that_took_frames_is_started_again_however_soon_it_is_killed(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = 2
    monkeypatch.setattr(receivers_command, "QUICK_S", 600.0)
    monkeypatch.setattr(receivers_command, "MOST_QUICK", times)
    config = configuration(tmp_path, detector.endpoint, scans=1)
    part = tmp_path / "1_frames.r0.h5"
    with running(config, 1, detector) as (receivers, codes):
        detector.send(start(2 * times))
        for turn in range(times):
            killed = receivers.processes[0]
            detector.send(image(turn))
            wait_for(lambda turn=turn: committed(part) == turn + 1, "the frame on disk")
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda killed=killed: receivers.processes[0] not in (0, killed), "another process")
        detector.send(*(image(index) for index in range(times, 2 * times)), end())
    assert codes == [1]
    with h5py.File(tmp_path / "1_frames.h5") as file:
        assert (file["entry/ledger/status"][()] == FrameStatus.RECEIVED).all()


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    owners = np.random.default_rng(4).integers(0, 3, 60)
    return master.make(written_parts(tmp_path, owners), tmp_path / "scan.h5")


def test_a_master_reads_like_one_file_also_from_elsewhere(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert check(merged).sound, check(merged).line()
    with h5py.File(merged) as file:
        assert file["entry/data/data"].is_virtual and file["entry/data/data"].shape[0] == 60
        for index in range(60):
            expected = decode(next(iter(examples.frame(index).payloads.values())))
            np.testing.assert_array_equal(file["entry/data/data"][index], expected)
        assert file["entry/data/frame_number"] == file["entry/ledger/frame_number"]


def test_frames_that_nobody_has_are_missing_and_the_master_is_sound_all_the_same(tmp_path: Path) -> None:
    owners = np.arange(60) % 3
    owners[20:31] = -1
    path = master.make(written_parts(tmp_path, owners), tmp_path / "scan.h5")
    assert check(path).sound, check(path).line()
    with h5py.File(path) as file:
        assert int(file["entry/ledger/counts"][FrameStatus.MISSING]) == 11
        assert (file["entry/ledger/status"][20:31] == FrameStatus.MISSING).all()
        assert (file["entry/data/data"][25] == file["entry/data/data"].fillvalue).all()
        assert file["entry/data/frame_number"][25] == 25


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["bytes", "gone", "ledger", "status", "swapped"])
def test_a_master_that_is_not_what_its_parts_say_is_not_sound(merged: Path, damage: str) -> None:
    part = merged.with_name("scan.r1.h5")
    if damage == "gone":
        part.unlink()
    elif damage == "bytes":
        with h5py.File(part, "r+") as file:
            data = file["entry/data/data"]
            index = int(np.flatnonzero(file["entry/ledger/status"][()])[0])
            _, packed = data.id.read_direct_chunk((index, 0, 0))
            packed = bytearray(packed)
            packed[-1] ^= 1
            data.id.write_direct_chunk((index, 0, 0), bytes(packed))
    elif damage == "ledger":
        with h5py.File(merged, "r+") as file:
            file["entry/ledger/checksum"][5] += 1
    elif damage == "status":
        with h5py.File(merged, "r+") as file:
            file["entry/ledger/status"][7] = 0
    else:
        with h5py.File(merged, "r+") as file:
            data = file["entry/data/data"]
            like = h5py.File(merged.with_name("scan.r0.h5"))["entry/data/data"]
            del file["entry/data/data"]
            everything = {"0": ("scan.r0.h5", 60, np.arange(60))}
            mapping.declare(file["entry/data"], "data", like, 60, everything)
            like.file.close()
    verdict = check(merged)
    assert not verdict.sound, damage


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_the_rows_that_they_were_made_of(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(200) < rng.random())
    found = list(mapping.runs(rows))
    again = [first + step * place for first, step, count in found for place in range(count)]
    assert again == rows.tolist()
    assert len(list(mapping.runs(np.arange(3, 100_000, 16)))) == 1


def two_free_ports() -> int:
    """The first of two that follow each other."""
    for _ in range(100):
        first = free_port()
        with suppress(OSError), socket.create_server(("127.0.0.1", first + 1)):
            return first
    raise AssertionError("no two ports are free")


@pytest.mark.slow
def test_prometheus_sees_the_receivers_together_and_each_of_them(detector: Detector, tmp_path: Path) -> None:
    ports = two_free_ports()
    config = configuration(tmp_path, detector.endpoint, scans=1, metrics=f":{ports}")
    found: dict[str, float] = {}

    def scraped(*wanted: tuple[str, float]) -> bool:
        for port in (ports, ports + 1):
            with suppress(urllib.error.URLError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#"]
                found.update({name: float(value) for name, value in lines})
        return all(found.get(name) == value for name, value in wanted)

    with running(config, 1, detector) as (_, codes):
        detector.send(start(4), *(image(index) for index in range(3)))
        wanted = (("inbeam_scan_frames", 3), ("inbeam_scan_expected", 4), ('inbeam_frames{status="received"}', 3))
        wait_for(lambda: scraped(*wanted, ('inbeam_receiver_up{receiver="0"}', 1)), "the frames in both scrapes")
        assert found['inbeam_receiver_restarts_total{receiver="0"}'] == 0 == found["inbeam_masters"]
        detector.send(image(3), end())
    assert codes == [0]


@pytest.mark.parametrize(("address", "told"), [(":0", "give a port"), (":65534", "no address")])
def test_ports_that_the_receivers_cannot_have_are_told_before_the_start(
    address: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"run\.metrics.*{told}"):
        Receivers(configuration(tmp_path, "tcp://127.0.0.1:9", metrics=address), 2).execute()


def test_names_of_parts_lead_back_to_the_whole() -> None:
    for path in ("out/{scan}.h5", "a.b/c_frames.h5", "plain"):
        for number in (0, 12):
            assert master.whole_name(master.part_name(path, number)) == path
    assert master.whole_name("data.r0_2.h5") == "data_2.h5"
    assert master.whole_name("beam.rest.h5") == "beam.rest.h5"
    assert master.beside(Path("a.r1/b.r1.c.r1_2.h5"), 0) == Path("a.r1/b.r1.c.r0_2.h5")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stream": {"type": "capture", "file": __file__}}, "not capture"),
        ({"sinks": [{"type": "sparse", "path": "x.h5"}]}, "not merged"),
        ({"sinks": [{"type": "monitor"}]}, "add an archive"),
        ({"processors": [INTEGRATE, {"type": "tomography"}]}, "all frames in one process"),
        ({"run": {"control": "tcp://127.0.0.1:9"}}, "run.control"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_the_start(change: Any, told: str, tmp_path: Path) -> None:
    document = {**configuration(tmp_path, "tcp://127.0.0.1:9").document, **change}
    with pytest.raises(ConfigError, match=told):
        Receivers(validate(document), 2).execute()


@pytest.mark.parametrize(
    "numbers", [[0, 4, 8, 12], [3], [5, 6, 9, 12, 15, 7], [0, 100, 200], [8, 4, 0], list(range(1, 400, 3))]
)
def test_rows_of_every_nth_frame_come_to_their_own_places(numbers: list[int], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        dataset = file.create_dataset("d", (0, 2), "f8", maxshape=(None, 2), chunks=(16, 2), fillvalue=-1)
        rows = Rows(dataset)
        for number in numbers:
            rows.put(number, [number, number + 0.5])
        rows.flush()
        expected = np.full((max(numbers) + 1, 2), -1.0)
        expected[numbers] = np.array(numbers)[:, None] + [0, 0.5]
        np.testing.assert_array_equal(dataset, expected)


def test_the_ledger_of_every_nth_frame_is_written_in_few_pieces_and_right(tmp_path: Path) -> None:
    owners = np.arange(240) % 4
    owners[100:110] = 1
    paths = written_parts(tmp_path, owners)
    for number, path in enumerate(paths):
        with h5py.File(path) as file:
            own = np.flatnonzero(owners == number)
            assert np.flatnonzero(file["entry/ledger/status"][()]).tolist() == own.tolist()
            assert np.flatnonzero(file["entry/ledger/checksum"][:, 0]).tolist() == own.tolist()
            assert file["entry/ledger/frame_number"][()].tolist() == list(range(240))
        assert check(path).sound, check(path).line()
