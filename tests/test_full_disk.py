"""Full disks, quotas, read-only targets: on a real small file system where it can be mounted, else by a real limit."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from sink_examples import PRODUCT, frame, image, make, open_files, pattern, scan

from sinks.check import check
from sinks.file import superblock
from sinks.file.ledger_reader import read
from sinks.file.whole import told, whole_file
from stream.commands.main import main
from stream.commands.original3d.arrays import Writer
from stream.errors import SinkFailed
from stream.events import ScanEnd

HELPERS = Path(__file__).with_name("helpers")
KINDS = ["archive", "hdf5"]
FRAMES = {"archive": 1000, "hdf5": 500}
"""More than 1.4 MB of them, less than 4 MB."""

LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[3])
from sink_examples import PRODUCT, frame, make, scan
from stream.errors import SinkFailed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_400_000, 1_400_000))
sink = make(sys.argv[1], sys.argv[2], flush_frames=4)
sink.start(scan(expected=2000), (PRODUCT,))
try:
    for index in range(2000):
        sink.write(frame(index))
except SinkFailed as error:
    print(error, flush=True)
    sink.close()
    sys.exit(3)
"""


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """The same, read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk


def goes_on_after(kind: str, path: Path, count: int) -> None:
    """The file is a sound HDF5 file with what was flushed, and the scan can be completed in it."""
    assert superblock.read(path).clean
    with h5py.File(path, "r") as file:
        record = read(file)
        held = np.flatnonzero(record.states)
        assert not record.finished
        assert 0 < len(held) < count
        rows = file["/entry/data/data" if kind == "archive" else "/entry/data/I"]
        for index in held.tolist():
            np.testing.assert_array_equal(rows[index], image(index) if kind == "archive" else pattern(index))
    sink = make(kind, path)
    stored = sink.start(scan(expected=count), (PRODUCT,))
    assert stored is not None
    assert np.array_equal(np.flatnonzero(stored.states), held)
    for index in range(count):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", announced=count, expected=count))
    verdict = check(path)
    assert verdict.sound, verdict.line()
    assert verdict.with_data == count


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_and_the_scan_goes_on_once_there_is_room(kind: str, small_disk: Path) -> None:
    path, ballast = small_disk / "scan.h5", small_disk / "ballast"
    ballast.write_bytes(bytes(2_800_000))
    sink = make(kind, path, flush_frames=4)
    sink.start(scan(expected=400), (PRODUCT,))
    with pytest.raises(SinkFailed, match=r"cannot write .*scan\.h5: the disk is full: free space and start again"):
        for index in range(2000):
            sink.write(frame(index))
    sink.close()
    assert not [name for name in open_files() if str(small_disk) in name]
    ballast.unlink()
    goes_on_after(kind, path, FRAMES[kind])


@pytest.mark.slow
@pytest.mark.parametrize("spare", [-24_000, -9_000, -3_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_full_at_the_very_end_is_told_too(kind: str, spare: int, small_disk: Path) -> None:
    path, ballast = small_disk / "scan.h5", small_disk / "ballast"
    end = ScanEnd("01-first", announced=600, expected=600)
    sink = make(kind, path, flush_ms=60_000)
    sink.start(scan(expected=600), (PRODUCT,))
    for index in range(300):
        sink.write(frame(index))
    sink.finish(end)
    size = path.stat().st_size
    path.unlink()
    sink.start(scan(expected=600), (PRODUCT,))
    sink.write(frame(0))
    taken = os.statvfs(small_disk)
    ballast.write_bytes(bytes(taken.f_bavail * taken.f_bsize - (size - path.stat().st_size) - spare))
    with pytest.raises(SinkFailed, match=r"scan\.h5: the disk is full"):
        for index in range(1, 300):
            sink.write(frame(index))
        sink.finish(end)
    sink.close()
    ballast.unlink()
    assert superblock.read(path).clean
    sink.start(scan(expected=600), (PRODUCT,))
    for index in range(600):
        sink.write(frame(index))
    sink.finish(ScanEnd("01-first", announced=600, expected=600))
    assert check(path).sound, check(path).line()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_on_the_file_size_is_told_and_the_scan_goes_on_without_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    command = [sys.executable, "-c", LIMITED, kind, str(path), str(HELPERS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert "scan.h5: the file size limit is reached" in done.stdout
    assert done.stderr == ""
    goes_on_after(kind, path, FRAMES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_no_room_for_the_layout_is_told_and_nothing_is_left(kind: str, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(5_000_000))
    sink = make(kind, small_disk / "scan.h5")
    with pytest.raises(SinkFailed, match=r"scan\.h5: the disk is full"):
        sink.start(scan(), (PRODUCT,))
        sink.write(frame(0))
    sink.close()
    assert [entry.name for entry in small_disk.iterdir()] == ["ballast"]


def test_a_file_that_is_written_at_one_go_is_whole_or_not_there(small_disk: Path) -> None:
    path = small_disk / "volume.h5"
    with (
        pytest.raises(SinkFailed, match=r"cannot write .*volume\.h5: the disk is full: free space"),
        whole_file(path) as file,
    ):
        data = file.create_dataset("data", (64, 512, 512), "f4", chunks=(1, 512, 512))
        for place in range(64):
            data[place] = np.random.default_rng(place).random((512, 512))
    assert not list(small_disk.iterdir()) and not [name for name in open_files() if str(small_disk) in name]
    with pytest.raises(KeyError), whole_file(path) as file:
        file["data"] = np.arange(3)
        file["nothing"]
    assert not list(small_disk.iterdir())
    with whole_file(path) as file:
        file["data"] = np.arange(3)
    with h5py.File(path) as read_again:
        assert read_again["data"][()].tolist() == [0, 1, 2]


def test_a_disk_that_is_full_at_any_place_of_it_is_told(small_disk: Path) -> None:
    """Also in small datasets, which HDF5 keeps back until they are closed: that fails in silence, then it crashes."""
    path, ballast, whole = small_disk / "volume.h5", small_disk / "ballast", 0
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    for room in range(0, 120_000, 8_192):
        ballast.write_bytes(bytes(free - room))
        try:
            with whole_file(path) as file:
                for number in range(20):
                    file.create_group(f"group_{number}")["values"] = np.random.default_rng(number).random(500)
        except SinkFailed:
            assert list(small_disk.iterdir()) == [ballast]
        else:
            whole += 1
            path.unlink()
    assert 0 < whole < 10


@pytest.mark.parametrize("npy", [False, True])
@pytest.mark.parametrize("room", [0, 50_000])
def test_an_array_without_room_is_told_and_nothing_is_left(npy: bool, room: int, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    taken = os.statvfs(small_disk)
    ballast.write_bytes(bytes(taken.f_bavail * taken.f_bsize - room))
    axes = {name: np.arange(4.0) for name in ("mu", "gamma", "omega")}
    with pytest.raises(SinkFailed, match=r"cannot write .*dataarray.*: the disk is full"):
        writer = Writer(small_disk, axes, (64, 64), npy=npy)
        try:
            with told(writer.path):
                for each in np.ndindex(4, 4, 4):
                    writer.data[each] = np.random.default_rng(each).random((64, 64))
            writer.finish({})
        finally:
            writer.give_up()
    assert list(small_disk.iterdir()) == [ballast]


@pytest.mark.parametrize(
    "words",
    [["keys", "monitor"], ["savu", "{list}", "-o", "made.yaml"], ["jobs", "submit", "true"]],
    ids=lambda each: each[0],
)
def test_a_command_that_has_no_room_says_so(
    words: list[str], small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(small_disk / "list.nxs", "w") as file:
        plugin = file.create_group("entry/plugin/1")
        plugin.update({"name": "DarkFlatFieldCorrection", "id": "savu.x", "active": True, "data": "{}"})
    monkeypatch.chdir(small_disk)
    (small_disk / "ballast").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    assert main([each.format(list=small_disk / "list.nxs") for each in words]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (small_disk / "made.yaml").exists() and not list(small_disk.rglob("*.key*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_target_is_told(kind: str, read_only_disk: Path) -> None:
    sink = make(kind, read_only_disk / "inner" / "scan.h5")
    with pytest.raises(SinkFailed, match=r"cannot create .*scan\.h5: the file system is read-only"):
        sink.start(scan(), (PRODUCT,))
    sink.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(SinkFailed, match=r"scan\.h5: no permission"):
        make("hdf5", tmp_path / "scan.h5").start(scan(), (PRODUCT,))
    tmp_path.chmod(0o755)


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(SinkFailed, match=r"cannot create .*scan\.h5"):
        make("archive", tmp_path / "out" / "scan.h5").start(scan(), (PRODUCT,))
