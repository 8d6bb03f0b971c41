"""Killing writers, and repairing what they leave."""

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from sink_examples import PRODUCT, frame, image, make, pattern, scan

from sinks.check import check
from sinks.file import superblock
from sinks.file.ledger_reader import read
from sinks.file.repair import find, recover
from stream.commands.main import main
from stream.errors import SinkFailed
from stream.events import ScanEnd

HELPERS = Path(__file__).with_name("helpers")

HALF_WRITTEN = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from sink_examples import PRODUCT, frame, make, scan
sink = make(sys.argv[1], sys.argv[2], flush_frames=5)
sink.start(scan(expected=20), (PRODUCT,))
for index in range(12):
    sink.write(frame(index))
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_after_twelve(kind: str, path: Path) -> None:
    """A writer that flushed ten of twelve frames when it was killed."""
    done = subprocess.run([sys.executable, "-c", HALF_WRITTEN, kind, str(path), str(HELPERS)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_writers_lose_nothing_that_was_flushed() -> None:
    command = [sys.executable, str(HELPERS / "kill_harness.py"), "--kills", "24", "--seed", "20261120", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tallies = json.loads(done.stdout)
    assert [tally["sink"] for tally in tallies] == ["archive", "hdf5", "sparse"]
    for tally in tallies:
        assert tally["kills"] == 8
        assert tally["repaired"] > 0
        assert tally["flushed"] == tally["present"] > 0
        assert tally["lost"] == tally["holes"] == tally["duplicates"] == tally["unsound"] == tally["misled"] == 0
    assert all(sum(tally[name] for tally in tallies) > 0 for name in ("viewers", "continued"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "hdf5"])
def test_a_killed_file_is_gone_on_with_by_itself(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    kill_after_twelve(kind, path)
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path, "r")
    sink = make(kind, path)
    stored = sink.start(scan(expected=20), (PRODUCT,))
    assert stored is not None
    assert stored.states.tolist() == [1] * 10
    for index in range(10, 20):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", announced=20, expected=20))
    assert check(path).sound, check(path).line()
    with h5py.File(path, "r") as file:
        assert len(file["/entry/provenance/resumed"]) == 1
        for index in range(20):
            row = file["/entry/data/data" if kind == "archive" else "/entry/data/I"][index]
            np.testing.assert_array_equal(row, image(index) if kind == "archive" else pattern(index))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "hdf5"])
def test_recover_repairs_reports_and_keeps_what_it_changed(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan.h5"
    kill_after_twelve(kind, path)
    before = path.read_bytes()
    assert not superblock.read(path).clean
    assert main(["recover", str(path)]) == 0
    told = capsys.readouterr().out
    assert "repaired" in told
    assert "10 of 20 frames stored" in told
    assert superblock.read(path).clean
    assert (tmp_path / "scan.h5.superblock-before-repair").read_bytes() == before[: superblock.SIZE]
    assert path.read_bytes()[superblock.SIZE :] == before[superblock.SIZE :]
    with h5py.File(path, "r") as file:
        assert read(file).states.tolist() == [1] * 10
    assert main(["recover", str(path)]) == 0
    assert "needed no repair" in capsys.readouterr().out


def test_recover_refuses_what_it_did_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, other, crashed = tmp_path / "notes.txt", tmp_path / "other.h5", tmp_path / "crashed.h5"
    text.write_text("notes of the night shift, long enough to hold a superblock")
    with h5py.File(other, "w", libver="v110") as file:
        file["x"] = 1
    before = other.read_bytes()
    killed = bytearray(before)
    killed[11] = superblock.OPEN_NOT_SWMR
    crashed.write_bytes(killed)
    assert main(["recover", str(text), str(other), str(crashed), str(tmp_path / "nothing.h5")]) == 1
    told = capsys.readouterr().err
    assert "notes.txt is not an HDF5 file" in told
    assert "other.h5 has no /entry/ledger" in told
    assert "nothing.h5" in told
    assert "crashed.h5 has no /entry/ledger" in told
    assert other.read_bytes() == before
    assert crashed.read_bytes() == bytes(killed)


@pytest.mark.slow
def test_a_file_killed_while_it_was_reopened_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    kill_after_twelve("archive", path)
    raw = bytearray(path.read_bytes())
    raw[11] = superblock.OPEN_NOT_SWMR
    struct.pack_into("<I", raw, 44, superblock.lookup3(bytes(raw[:44])))
    path.write_bytes(raw)
    found = find(path)
    assert found is not None
    assert found.uid == "01-first"
    assert path.read_bytes() == bytes(raw)
    assert recover(path).changed
    with h5py.File(path, "r") as file:
        assert read(file).states.tolist() == [1] * 10


def test_a_file_that_was_cut_off_does_not_hold_up_the_next_scan(tmp_path: Path) -> None:
    """As an SWMR reader HDF5 tries to read its lost parts again and again."""
    path = tmp_path / "scan.h5"
    sink = make("archive", path)
    sink.start(scan(expected=12), (PRODUCT,))
    for index in range(12):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", announced=12, expected=12))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    looking = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib, sinks.file.repair as r; print(r.find(pathlib.Path(sys.argv[1])))",
            path,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert looking.stdout.strip() == "None"


def test_a_row_without_its_data_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    sink = make("archive", path)
    sink.start(scan(expected=4), (PRODUCT,))
    for index in range(3):
        sink.write(frame(index))
    sink.close()
    with h5py.File(path, "r+", libver="v110") as file:
        file["/entry/data/data"].resize(2, axis=0)
    stored = sink.start(scan(expected=4), (PRODUCT,))
    assert stored is not None
    assert stored.states.tolist() == [1, 1, 0]
    for index in range(4):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", announced=4, expected=4))
    assert check(path).sound, check(path).line()


@pytest.mark.slow
def test_a_file_beyond_repair_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    kill_after_twelve("hdf5", path)
    os.truncate(path, 600)
    with pytest.raises(SinkFailed, match=r"scan\.h5"):
        recover(path)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["entry/data/data"] = 1
    with pytest.raises(SinkFailed, match=r"theirs\.h5 was not written by inbeam"):
        recover(tmp_path / "theirs.h5")


def test_the_checksum_is_the_one_hdf5_writes(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w", libver="v110") as file:
            file.create_dataset("x", data=np.arange(number * 100))
        assert superblock.read(path).checksum_right
        assert superblock.read(path).clean


@pytest.mark.parametrize("command", ["recover", "check", "densify", "export"])
def test_a_file_that_is_not_there_is_called_just_that(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.h5").symlink_to(tmp_path / "elsewhere.h5")
    for name, words in (
        ("nothere.h5", "nothere.h5 is not there"),
        ("", "is a folder, not a file"),
        ("link.h5", "elsewhere.h5, which is not there"),
    ):
        assert main([command, str(tmp_path / name)]) == 1
        told = "".join(capsys.readouterr())
        assert words in told and "Errno" not in told and "folder is gone" not in told
