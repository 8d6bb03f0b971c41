"""The source `watch` on real folders and files. Time-outs are driven by a clock of the test; nothing sleeps."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from watched import BSLZ4, IMAGES, Driven, images, indices, kinds, running, tiff_bytes, until, write

from stream.errors import ConfigError, CorruptPayload, SourceLost
from stream.events import EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.formats.folder import changes as folders
from stream.formats.folder.changes import Change
from stream.formats.hdf5.chunks import Stack
from stream.sources import files
from stream.sources.watch import Config, create


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "watched"
    made.mkdir()
    return made


@pytest.mark.parametrize("events", ["native", "poll"])
def test_a_series_written_into_a_new_sub_folder_arrives_whole(shared: Path, folder: Path, events: str) -> None:
    with running(folder, events=events, scan_files=91, poll_s=0.05, settle_s=0.05) as (_, found):
        (folder / "tomo").mkdir()
        for source in sorted((shared / "tomo/savu_24737_tiff/tiffs").glob("*.tiff")):
            data = source.read_bytes()
            with open(folder / "tomo" / source.name, "wb", buffering=0) as file:
                file.write(data[:20_000])
                file.write(data[20_000:])
        start, *frames, end = until(found, ScanEnd)
    assert (start.name, start.expected, end.announced, end.status) == ("raw", 91, 91, EndStatus.COMPLETE)
    assert sorted(indices(frames)) == list(range(91))
    for frame in frames[::20]:
        with fabio.open(str(shared / f"tomo/savu_24737_tiff/tiffs/raw_{frame.index:05d}.tiff")) as image:
            np.testing.assert_array_equal(images([frame])[0], image.data)


@pytest.mark.slow
def test_every_recorded_image_format_is_taken_natively_as_it_is_closed(shared: Path, folder: Path) -> None:
    names = ["saxs/AgB_00001.edf.gz", "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2"]
    names += ["powder/odftomo_varex_steel/frame_123163.cbf", "powder/dioptas_ceo2_pilatus1m/CeO2_Pilatus1M.tif"]
    with running(folder, events="native", settle_s=100.0) as (_, found):
        for name in names:
            data = (shared / name).read_bytes()
            (folder / Path(name).name).write_bytes(data)
            frame = until(found, Frame)[-1]
            with fabio.open(str(shared / name)) as image:
                np.testing.assert_array_equal(images([frame])[0], image.data)


def test_a_file_renamed_into_place_counts_at_once(folder: Path) -> None:
    with running(folder, events="native", settle_s=1000.0) as (_, found):
        (folder / ".img_5.tmp").write_bytes(tiff_bytes(5))
        os.rename(folder / ".img_5.tmp", folder / "img_5.tif")
        (frame,) = [event for event in until(found, Frame) if isinstance(event, Frame)]
    np.testing.assert_array_equal(images([frame])[0], IMAGES[5])


def test_closing_the_source_ends_the_open_scan_as_stopped(folder: Path) -> None:
    write(folder, 0)
    with running(folder, events="native", settle_s=0.05) as (source, found):
        until(found, ScanStart)
        source.close()
        assert until(found, ScanEnd)[-1].status is EndStatus.STOPPED
        assert found.get(timeout=20) is None


def test_a_file_written_in_two_halves_is_taken_once_and_whole(folder: Path) -> None:
    watched = Driven(folder)
    assert watched.begin() == []
    data = tiff_bytes(4)
    with open(folder / "img_4.tif", "wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        assert watched.step() == watched.step(5.0) == watched.step(5.0) == []
        file.write(data[len(data) // 2 :])
        assert watched.step(1.0) == []  # it has just grown
    events = watched.step(1.1) + watched.step(1.1)
    assert kinds(events) == ["ScanStart", "Frame"]
    np.testing.assert_array_equal(images(events), IMAGES[[4]])


def test_a_file_truncated_for_ever_is_a_corrupt_frame_and_never_blocks_the_rest(folder: Path) -> None:
    watched = Driven(folder, give_up_s=30.0, scan_idle_s=None)
    watched.begin()
    write(folder, 0, 2)
    (folder / "img_1.tif").write_bytes(tiff_bytes(1)[:100])
    assert indices(watched.settle()) == [0, 2]
    write(folder, 3)
    assert indices(watched.settle()) == [3]
    before, after = watched.step(20.0), watched.step(10.0)
    assert before == [] and indices(after) == [1]
    assert (after[0].status, "img_1.tif is cut off" in after[0].problem) == (FrameStatus.CORRUPT, True)
    assert watched.step(100.0) == [] and len(watched.source.incoming) == 0
    list(watched.source.step([Change("closed", str(folder / "img_1.tif"))], watched.now))
    write(folder, 1)  # its writer has come back after all
    late = list(watched.source.step([Change("closed", str(folder / "img_1.tif"))], watched.now))
    assert indices(late) == [1]
    np.testing.assert_array_equal(images(late), IMAGES[[1]])


def test_frames_are_placed_by_their_number_in_whatever_order_they_are_completed(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None)
    write(folder, 10)
    (folder / "img_7.tif").write_bytes(b"")
    watched.begin()
    assert indices(watched.settle()) == [3]  # 7 is there but not whole: it is frame 0
    write(folder, 12, 7)
    events = watched.settle()
    assert sorted(indices(events)) == [0, 5]
    write(folder, 9)
    events = watched.settle()
    assert indices(events) == [2]
    np.testing.assert_array_equal(images(events), IMAGES[[9]])
    write(folder, 1)
    (note,) = watched.settle()
    assert "img_1.tif comes before the first file of its scan: set `first_number` to 1" in note.text


@pytest.mark.parametrize("existing", [True, False])
def test_files_that_are_there_already_are_taken_in_natural_order_if_wanted(folder: Path, existing: bool) -> None:
    write(folder, 1, 2, 9, 10, 11)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    watched = Driven(folder, existing=existing, scan_idle_s=None)
    assert indices(watched.begin()) == ([0, 1, 8, 9, 10] if existing else [])
    write(folder, 12)
    events = watched.settle()
    assert indices(events) == ([11] if existing else [0])


def test_a_new_sub_folder_or_another_prefix_begins_a_new_scan(folder: Path) -> None:
    for name in ("scan_10", "scan_2"):
        (folder / name).mkdir()
        write(folder / name, 0, 1)
        for path in (folder / name).iterdir():
            os.utime(path, (1, 1))
    watched = Driven(folder, series="folder", scan_idle_s=None)
    events = watched.begin()
    assert kinds(events) == ["ScanStart", "Frame", "Frame", "ScanEnd", "ScanStart", "Frame", "Frame"]
    assert [event.name for event in events if isinstance(event, ScanStart)] == ["scan_2", "scan_10"]
    (folder / "deep/er").mkdir(parents=True)
    write(folder / "deep/er", 4)
    events = watched.settle()
    assert kinds(events) == ["ScanEnd", "ScanStart", "Frame"] and events[1].uid == f"file:{folder}/deep/er"

    watched = Driven(folder / "scan_2", scan_idle_s=None)
    write(folder / "scan_2", 0, 1, name="other_{}.tif")
    events = watched.begin() + watched.settle()
    assert [event.name for event in events if isinstance(event, ScanStart)] == ["img", "other"]
    write(folder / "scan_2", 5)
    events = watched.settle()
    assert [event.name for event in events if isinstance(event, ScanStart)] == ["img_2"] and indices(events) == [0]


@pytest.mark.parametrize("folders", [False, True])
def test_images_of_two_detectors_written_by_turns_are_two_whole_scans(folder: Path, folders: bool) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    events = []
    for number in range(5):
        for name in ("saxs", "waxs"):
            place = folder / name if folders else folder
            place.mkdir(exist_ok=True)
            write(place, number, name=name + "_{}.tif")
            events += watched.step(1.1) + watched.step(1.1)
    for _ in range(60):
        events += watched.step(2.0)
    assert [event.name for event in events if isinstance(event, ScanStart)] == ["saxs", "waxs"]
    assert indices(events) == [0, 1, 2, 3, 4] * 2 and kinds(events)[-1] == "ScanEnd"
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.harmless and "waxs_0.tif waits" in note.text and "`include`" in note.text


def test_a_scan_ends_with_its_last_file_or_after_the_idle_time(folder: Path) -> None:
    watched = Driven(folder, scan_files=2, scan_idle_s=60.0)
    watched.begin()
    write(folder, 0, 1)
    events = watched.settle()
    assert kinds(events) == ["ScanStart", "Frame", "Frame", "ScanEnd"] and events[-1].announced == 2
    write(folder, 3)
    events = watched.settle()
    assert (events[0].name, events[0].expected, indices(events)) == ("img_2", 2, [0])
    assert watched.step(50.0) == []
    (end,) = watched.step(10.0)
    assert (end.scan, end.announced, end.status) == (events[0].uid, 2, EndStatus.COMPLETE)


def test_deleted_files_and_folders_are_forgotten(folder: Path) -> None:
    watched = Driven(folder, give_up_s=5.0)
    (folder / "sub").mkdir()
    for name in ("img_0.tif", "sub/img_1.tif", "sub/img_2.tif"):
        (folder / name).write_bytes(b"II*")
    watched.begin()
    assert len(watched.source.incoming) == 3
    (folder / "img_0.tif").unlink()
    shutil.rmtree(folder / "sub")
    assert watched.step(0.1) == [] and len(watched.source.incoming) == 0
    assert watched.step(100.0) == []
    (folder / "sub").mkdir()
    write(folder / "sub", 1)
    assert indices(watched.settle()) == [0]


def test_a_watched_folder_that_is_deleted_is_a_lost_source_and_comes_back(folder: Path) -> None:
    write(folder, 0, 1)
    with running(folder, events="native", settle_s=0.05, scan_idle_s=None) as (source, found):
        until(found, Frame, 2)
        shutil.rmtree(folder)
        lost = found.get(timeout=20)
    assert isinstance(lost, SourceLost) and f"{folder} is gone" in str(lost)
    folder.mkdir()
    write(folder, 2)
    source._closed = False
    again = source.events()
    assert indices([next(again), next(again)]) == [0]
    source.close()
    assert kinds(list(again)) == ["ScanEnd"]


def test_a_folder_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stream\.folder: .*nowhere is not a folder"):
        create(Config(folder=str(tmp_path / "nowhere")))


def test_only_included_names_are_taken_and_hidden_ones_never(folder: Path) -> None:
    watched = Driven(folder, include=("cam1_*", "dark/*"), scan_idle_s=None)
    (folder / "dark").mkdir()
    write(folder, 0, name="cam1_{}.tif")
    write(folder, 1, name="cam2_{}.tif")
    write(folder, 2, name=".cam1_{}.tif")
    write(folder / "dark", 3, name="x_{}.tif")
    (folder / "cam1_notes.txt").write_text("")
    watched.begin()
    events = watched.settle() + watched.step(5.0)  # a second image of the first series may still come
    assert [event.name for event in events if isinstance(event, ScanStart)] == ["cam1", "x"]


def test_polling_takes_over_where_native_events_cannot_be_had(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(folders.Observer):  # type: ignore[misc, valid-type]
        def start(self) -> None:
            raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(folders, "Observer", Refused)
    with running(folder, events="auto", poll_s=0.05, settle_s=0.05) as (source, found):
        note = found.get(timeout=20)
        assert isinstance(note, Note) and "inotify watch limit reached" in note.text and not source.folder.native
        write(folder, 0)
        assert indices(until(found, Frame)) == [0]


def test_remote_file_systems_are_polled_and_local_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not folders.is_remote(str(tmp_path))
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/data {tmp_path}/data nfs4 rw 0 0\n")
    (tmp_path / "data").mkdir()
    genuine = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *rest, **more: genuine(mounts if path == "/proc/self/mounts" else path, *rest, **more),
    )
    assert folders.is_remote(str(tmp_path / "data")) and not folders.is_remote(str(tmp_path))


def test_the_cost_of_a_new_file_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    """The same 500 files into an empty folder and into one of 10 000, by turns: looks counted, times compared."""
    (tmp_path / "model.tif").write_bytes(tiff_bytes(0))
    watched = {}
    for name, many in (("small", 0), ("large", 10_000)):
        (tmp_path / name).mkdir()
        for number in range(many):
            os.link(tmp_path / "model.tif", tmp_path / name / f"old_{number}.tif")
        watched[name] = Driven(tmp_path / name, events="native", existing=False, scan_idle_s=None)
        watched[name].begin()
    looks = {name: one.source.folder.looks for name, one in watched.items()}
    times = dict.fromkeys(watched, 0.0)
    for number in range(500):
        for name, one in watched.items():
            path = tmp_path / name / f"img_{number}.tif"
            os.link(tmp_path / "model.tif", path)
            before = time.thread_time()
            events = list(one.source.step([Change("closed", str(path))], one.now))
            times[name] += time.thread_time() - before
            assert indices(events) == [number]
    assert {name: one.source.folder.looks for name, one in watched.items()} == looks
    assert [one.source.incoming.stats for one in watched.values()] == [0, 0]
    assert times["large"] < 2.0 * times["small"], times


def test_polling_a_large_folder_looks_at_the_new_file_alone(folder: Path) -> None:
    (folder / "old.tif").write_bytes(b"")
    for number in range(3000):
        os.link(folder / "old.tif", folder / f"old_{number}.tif")
    watched = Driven(folder, existing=False, scan_idle_s=None)
    watched.begin()
    os.utime(folder, (1, 1))  # long quiet
    watched.step()
    looks, listings, stats = watched.source.folder.looks, watched.source.folder.listings, watched.source.incoming.stats
    for _ in range(50):
        assert watched.step(1.0) == []
    assert watched.source.folder.listings == listings, "an unchanged folder was listed"
    assert watched.source.folder.looks - looks == 50
    write(folder, 1)
    assert indices(watched.settle()) == [0]
    assert watched.source.incoming.stats - stats <= 3, "files were looked at that had not changed"


WRITER = """
import sys
import h5py, hdf5plugin, numpy as np
path, mode, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
images = np.random.default_rng(3).integers(0, 60, (12, 9, 13)).astype("u2")
file = h5py.File(path, "w", libver="earliest" if mode == "old" else "v110")
file.create_group("entry").attrs["NX_class"] = "NXentry"
data = file.create_dataset("entry/data/data", (room, 9, 13), "u2", chunks=(1, 9, 13),
                           maxshape=(None if not room else room, 9, 13), **hdf5plugin.Bitshuffle())
if mode == "swmr":
    file.swmr_mode = True
file.flush()
print("ready", flush=True)
for line in sys.stdin:
    command, *numbers = line.split()
    for number in map(int, numbers):
        if number >= len(data):
            data.resize(number + 1, axis=0)
        if command == "write":
            data[number] = images[number]
    data.flush()
    file.flush()
    if command == "close":
        file.close()
    print("done", flush=True)
"""


class Writer:
    """Another process that writes an HDF5 file at our command."""

    def __init__(self, path: Path, mode: str, room: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), mode, str(room)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answer()

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() in ("ready", "done")

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def writer() -> Iterator[Any]:
    started: list[Writer] = []

    def start(*arguments: Any) -> Writer:
        started.append(Writer(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_frames_of_a_swmr_file_come_as_they_are_flushed_and_its_scan_ends_with_its_writer(
    folder: Path, writer: Any
) -> None:
    watched = Driven(folder, scan_idle_s=None)
    watched.begin()
    process = writer(folder / "x.h5", "swmr")
    process.tell("write 0 1 2")
    events = watched.settle()
    assert kinds(events) == ["ScanStart", "Frame", "Frame", "Frame"] and indices(events) == [0, 1, 2]
    assert watched.step(5.0) == []
    process.tell("extend 5")  # the extent is ahead of the chunks: nothing to be had, least of all zeros
    assert watched.step(1.0) == []
    process.tell("write 3 5")
    events += watched.step(1.0)
    assert indices(events) == [0, 1, 2, 3, 5]
    process.tell("write 4")
    events += watched.step(1.0)
    process.tell("close")
    events += watched.step(1.0)
    assert indices(events) == [0, 1, 2, 3, 5, 4] and kinds(events)[-1] == "ScanEnd"
    np.testing.assert_array_equal(images(events), IMAGES[[0, 1, 2, 3, 5, 4]])
    assert (events[-1].status, events[-1].announced) == (EndStatus.COMPLETE, 6)


def test_a_file_that_never_lies_still_is_followed_from_its_first_frame(folder: Path, writer: Any) -> None:
    watched = Driven(folder, scan_idle_s=None, give_up_s=2.0)
    watched.begin()
    process = writer(folder / "x.h5", "swmr")
    events = watched.step()
    for number in range(6):
        process.tell(f"write {number}")
        events += watched.step(0.6)
        assert indices(events) == list(range(number + 1))
    assert kinds(events) == ["ScanStart"] + ["Frame"] * 6


def test_a_swmr_file_is_followed_natively(folder: Path, writer: Any) -> None:
    with running(folder, events="native", poll_s=0.05) as (_, found):
        process = writer(folder / "x.h5", "swmr")
        process.tell("write 0 1")
        assert indices(until(found, Frame, 2)) == [0, 1]
        process.tell("write 2")
        assert indices(until(found, Frame)) == [2]
        process.tell("close")
        assert until(found, ScanEnd)[-1].announced == 3


def test_a_file_with_room_for_all_frames_ends_with_the_last_one(folder: Path, writer: Any) -> None:
    watched = Driven(folder, scan_idle_s=None)
    watched.begin()
    process = writer(folder / "x.h5", "swmr", 4)
    process.tell("write 0")
    events = watched.settle()
    assert events[0].expected == 4 and indices(events) == [0]
    process.tell("write 1 2 3")
    events = watched.step(1.0)
    assert kinds(events) == ["Frame", "Frame", "Frame", "ScanEnd"]


def test_a_file_of_a_writer_without_swmr_is_opened_again_at_every_look(folder: Path, writer: Any) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    process = writer(folder / "x.h5", "old")
    process.tell("write 0 1")
    events = watched.settle()
    process.tell("write 2 3")
    events += watched.step(1.0)
    assert indices(events) == [0, 1, 2, 3]
    np.testing.assert_array_equal(images(events), IMAGES[:4])
    process.tell("close")
    assert watched.step(50.0) == [] and kinds(watched.step(20.0)) == ["ScanEnd"]


def test_a_file_that_is_closed_and_opened_again_for_every_frame_is_followed(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    events = []
    for number in range(4):
        with h5py.File(folder / "x.h5", "a", libver="v110") as file:
            data = file.require_group("entry/data")
            if "data" not in data:
                data.create_dataset("data", (0, 9, 13), "u2", maxshape=(None, 9, 13), **BSLZ4)
            data["data"].resize(number + 1, axis=0)
            data["data"][number] = IMAGES[number]
        events += watched.step(1.0) + watched.step(1.0)
    events += watched.settle()
    assert indices(events) == [0, 1, 2, 3]
    np.testing.assert_array_equal(images(events), IMAGES[:4])


def test_a_file_locked_by_its_writer_is_taken_when_it_is_closed(folder: Path, writer: Any) -> None:
    watched = Driven(folder, scan_idle_s=60.0, give_up_s=30.0)
    watched.begin()
    process = writer(folder / "x.h5", "new")
    process.tell("write 0 1 2")
    assert watched.settle() == []  # HDF5 does not let a reader in
    process.tell("close")
    assert indices(watched.settle()) == [0, 1, 2]


def test_data_files_of_a_master_are_taken_one_after_another(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None)
    watched.begin()
    with h5py.File(folder / "s_master.h5", "w") as file:
        for part in (1, 2, 3):
            file[f"entry/data/data_{part:06d}"] = h5py.ExternalLink(f"s_data_{part:06d}.h5", "/entry/data/data")
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["nimages"], specific["ntrigger"] = 12, 1
        file["entry/instrument/detector/description"] = "EIGER2"
    events = watched.settle()
    for part in (1, 2, 3):
        assert len(indices(events)) == 4 * (part - 1)
        with h5py.File(folder.parent / "new.h5", "w") as file:
            data = file.create_dataset("entry/data/data", data=IMAGES[4 * part - 4 : 4 * part], **BSLZ4)
            data.attrs["image_nr_low"], data.attrs["image_nr_high"] = 4 * part - 3, 4 * part
        os.rename(folder.parent / "new.h5", folder / f"s_data_{part:06d}.h5")
        events += watched.settle()
    assert (events[0].name, events[0].expected, events[0].detector.description) == ("s_master", 12, "EIGER2")
    assert indices(events) == list(range(12)) and kinds(events)[-1] == "ScanEnd"
    np.testing.assert_array_equal(images(events), IMAGES)
    assert kinds(events).count("ScanStart") == 1


def test_an_hdf5_file_cut_off_for_ever_is_set_aside_and_the_next_one_followed(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None, give_up_s=30.0)
    with h5py.File(folder / "b.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES[:3], **BSLZ4)
    (folder / "a.h5").write_bytes((folder / "b.h5").read_bytes()[:2500])
    assert indices(watched.begin() + watched.settle()) == [0, 1, 2]
    (note,) = watched.step(20.0) + watched.step(20.0) + watched.step(100.0)
    assert "set aside" in note.text and "a.h5 cannot be opened as HDF5" in note.text


def test_data_files_without_their_master_wait_for_it_and_then_stand_alone(folder: Path) -> None:
    watched = Driven(folder, give_up_s=30.0)
    with h5py.File(folder / "s_data_000001.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES[:2], **BSLZ4)
    watched.begin()
    assert watched.settle() == []
    assert indices(watched.step(30.0)) == [0, 1]


def test_the_next_scan_in_a_bliss_file_is_taken_when_it_appears(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()

    def add(entry: str, first: int) -> None:
        with h5py.File(folder / "visit.h5", "a") as file:
            group = file.create_group(entry)
            group.attrs["NX_class"] = "NXentry"
            group.create_dataset("measurement/eiger", data=IMAGES[first : first + 2], **BSLZ4)

    add("1.1", 0)
    events = watched.settle()
    assert kinds(events) == ["ScanStart", "Frame", "Frame", "ScanEnd"]
    add("2.1", 2)
    events = watched.settle()
    assert kinds(events) == ["ScanStart", "Frame", "Frame", "ScanEnd"]
    assert events[0].uid.endswith("visit.h5::/2.1")
    np.testing.assert_array_equal(images(events), IMAGES[2:4])


def add_scans(path: Path, *entries: str, **detectors: np.ndarray) -> None:
    """Add scans to a file as BLISS does: an entry, and in it the frames of each detector."""
    with h5py.File(path, "a") as file:
        for entry in entries:
            group = file.create_group(entry)
            group.attrs["NX_class"], group.create_group("instrument").attrs["NX_class"] = "NXentry", "NXinstrument"
            for name, frames in detectors.items():
                group.create_dataset(f"instrument/{name}/data", data=frames, **BSLZ4)
                group[f"measurement/{name}"] = h5py.SoftLink(f"/{entry}/instrument/{name}/data")


def begun(events: list[Any]) -> list[str]:
    return [event.name for event in events if isinstance(event, ScanStart)]


def test_every_scan_that_a_file_holds_already_is_taken(folder: Path) -> None:
    add_scans(folder / "v.h5", "1.1", "2.1", "10.1", cam=IMAGES[:2])
    watched = Driven(folder, scan_idle_s=60.0)
    events = watched.begin() + watched.settle()
    assert begun(events) == ["v_1.1", "v_2.1", "v_10.1"] and kinds(events).count("ScanEnd") == 3
    assert len(indices(events)) == 6


def test_scans_added_to_a_file_while_another_is_open_are_taken_as_they_come(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    open_ended = {"maxshape": (None, 9, 13), **BSLZ4}
    with h5py.File(folder / "v.h5", "w") as file:
        data = file.create_dataset("1.1/measurement/cam", (1, 9, 13), "u2", **open_ended)
        file["1.1"].attrs["NX_class"] = "NXentry"
        data[0] = IMAGES[0]
    events = watched.settle()
    with h5py.File(folder / "v.h5", "a") as file:
        file["1.1/measurement/cam"].resize(2, axis=0)
        file["1.1/measurement/cam"][1] = IMAGES[1]
    events += watched.step(1.0)
    with h5py.File(folder / "v.h5", "a") as file:
        file["1.1/end_time"] = "2024-06-25T23:29:25Z"
    add_scans(folder / "v.h5", "2.1", "3.1", cam=IMAGES[2:4])
    events += watched.settle()  # 1.1 says that it has ended: nothing is waited for
    assert begun(events) == ["v_1.1", "v_2.1", "v_3.1"]
    np.testing.assert_array_equal(images(events), IMAGES[[0, 1, 2, 3, 2, 3]])
    add_scans(folder / "v.h5", "4.1", cam=IMAGES[4:6])
    assert begun(watched.settle()) == ["v_4.1"]


def test_two_detectors_of_one_growing_file_are_two_scans(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    add_scans(folder / "v.h5", "1.1", saxs=IMAGES[:3], waxs=IMAGES[3:6])
    events = watched.settle()
    assert begun(events) == ["v_1.1_saxs", "v_1.1_waxs"]
    np.testing.assert_array_equal(images(events), IMAGES[:6])


def test_two_files_written_by_turns_lose_no_frame(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    events = []
    for number in range(5):
        for place, name in enumerate(("saxs", "waxs")):
            with h5py.File(folder / f"{name}.h5", "a", libver="v110") as file:
                data = file.require_group("entry/data")
                if "data" not in data:
                    data.create_dataset("data", (0, 9, 13), "u2", maxshape=(None, 9, 13), **BSLZ4)
                data["data"].resize(number + 1, axis=0)
                data["data"][number] = IMAGES[number + 6 * place]
            events += watched.step(2.0)
    for _ in range(90):
        events += watched.step(2.0)
    assert begun(events) == ["saxs", "waxs"] and indices(events) == [0, 1, 2, 3, 4] * 2
    np.testing.assert_array_equal(images(events), IMAGES[[*range(5), *range(6, 11)]])
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.harmless and "waxs.h5 waits" in note.text and "`include`" in note.text


def test_a_scan_whose_frames_never_come_does_not_hold_up_the_next_one_and_is_told(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0, give_up_s=30.0)
    watched.begin()
    layout = h5py.VirtualLayout((4, 9, 13), "u2")
    for part in (0, 1):
        layout[2 * part : 2 * part + 2] = h5py.VirtualSource(f"../raw_{part}.h5", "data", (2, 9, 13))
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_group("1.1/measurement").create_virtual_dataset("cam", layout)
        file["1.1"].attrs["NX_class"] = "NXentry"
    add_scans(folder / "v.h5", "2.1", cam=IMAGES[4:6])
    assert begun(watched.settle()) == ["v_2.1"]
    with h5py.File(folder.parent / "raw_1.h5", "w") as file:  # no change of a file in the folder
        file.create_dataset("data", data=IMAGES[2:4], **BSLZ4)
    events = watched.step(20.0) + watched.step(20.0) + watched.step(1.0)
    assert begun(events) == ["v_1.1"] and indices(events) == [2, 3]
    assert ["raw_0.h5" in event.text for event in events if isinstance(event, Note)] == [True]


def test_the_recorded_files_of_a_visit_are_taken_as_they_are_written(shared: Path, folder: Path) -> None:
    """A BLISS visit, grown step by step: the Lima file, then scan 1.1, then the file of the visit, then scan 2.1."""
    recorded = shared / "filewatch/esrf_id11_demoh5"
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    dataset = folder / "demoh5_dataset/demoh5_dataset.h5"
    dataset.parent.mkdir()
    with h5py.File(recorded / "demoh5_dataset/demoh5_dataset.h5") as source, h5py.File(dataset, "w") as file:
        source.copy("1.1", file)
    assert watched.settle() == []  # its Lima file is not there yet
    (dataset.parent / "scan0001").mkdir()
    shutil.copy(recorded / "demoh5_dataset/scan0001/marana_0000.h5", folder / "marana.part")
    os.rename(folder / "marana.part", dataset.parent / "scan0001/marana_0000.h5")
    events = watched.settle()
    assert begun(events) == ["demoh5_dataset_1.1"] and indices(events) == [0, 1]
    shutil.copy(recorded / "ma4500_demoh5.h5", folder)
    (dataset.parent / "scan0002").mkdir()
    with h5py.File(dataset.parent / "scan0002/marana_0000.h5", "w") as file:
        frames = np.arange(5, dtype="u2")[:, None, None] + np.zeros((1, 2048, 2048), "u2")
        file.create_dataset("entry_0000/ESRF-ID11/marana/data", data=frames, chunks=(1, 2048, 2048))
    with h5py.File(recorded / "demoh5_dataset/demoh5_dataset.h5") as source, h5py.File(dataset, "a") as file:
        source.copy("2.1", file)
    events = watched.settle() + watched.step(70.0)
    assert [name.endswith("_2.1") for name in begun(events)] == [True] and indices(events) == [0, 1, 2, 3, 4]
    assert [event for event in events if isinstance(event, Note) and not event.harmless] == []


def test_what_a_file_grows_by_after_its_scan_was_ended_is_a_scan_of_its_own(folder: Path, writer: Any) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    process = writer(folder / "x.h5", "old")
    process.tell("write 0 1")
    assert kinds(watched.settle() + watched.step(60.0)) == ["ScanStart", "Frame", "Frame", "ScanEnd"]
    process.tell("write 2 3 4 5 6")
    note, start, *frames = watched.step(1.0) + watched.step(1.0)
    assert "x.h5 has grown after its scan x had ended" in note.text and "raise `scan_idle_s`" in note.text
    assert (start.name, start.uid) == ("x_from_2", f"file:{folder}/x.h5_from_2")
    process.tell("write 7")
    frames += watched.step(1.0)
    assert indices(frames) == list(range(6))
    np.testing.assert_array_equal(images(frames), IMAGES[2:8])
    (end,) = watched.step(60.0)
    assert end.announced == 6


def test_the_files_of_a_lima_scan_are_one_scan(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None)
    watched.begin()
    events: list[Event] = []
    for part in range(3):
        with h5py.File(folder / f"eiger_{part:04d}.h5", "w") as file:
            file.attrs["creator"] = "LIMA-1.9.4"
            detector = file.create_group("entry_0000/ESRF-ID11/eiger")
            detector.attrs["NX_class"], detector.parent.attrs["NX_class"] = "NXdetector", "NXinstrument"
            detector["acquisition/nb_frames"] = 10
            data = detector.create_dataset("data", (4, 9, 13), "u2", **BSLZ4)
            data[: 4 if part < 2 else 2] = IMAGES[4 * part : min(10, 4 * part + 4)]
            file["entry_0000/measurement/data"] = h5py.SoftLink(data.name)
        events += watched.settle()
    assert kinds(events) == ["ScanStart"] + ["Frame"] * 10 + ["ScanEnd"]
    assert (events[0].name, events[0].expected, indices(events)) == ("eiger_0000", 10, list(range(10)))
    np.testing.assert_array_equal(images(events), IMAGES[:10])
    recorded = list(files.create(files.Config(files=(str(folder),))).events())
    assert kinds(recorded) == kinds(events) and recorded[0].expected == 10
    np.testing.assert_array_equal(images(recorded), IMAGES[:10])
    (folder / "eiger_0001.h5").unlink()
    recorded = list(files.create(files.Config(files=(str(folder),))).events())
    assert indices(recorded) == [0, 1, 2, 3, 8, 9] and recorded[-1].announced == 10
    assert ["eiger_0001.h5, which is not there" in event.text for event in recorded if isinstance(event, Note)] == [
        True
    ]


def test_a_virtual_dataset_that_comes_before_its_sources_never_holds_up_their_frames(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0, give_up_s=30.0)
    watched.begin()
    layout = h5py.VirtualLayout((4, 9, 13), "u2")
    layout[:] = h5py.VirtualSource("scan0001/cam_0000.h5", "entry_0000/measurement/data", (4, 9, 13))
    with h5py.File(folder / "visit.h5", "w") as file:
        file.create_group("1.1/measurement").create_virtual_dataset("cam", layout)
        file["1.1"].attrs["NX_class"] = "NXentry"
    assert watched.settle() == []
    (folder / "scan0001").mkdir()
    with h5py.File(folder / "scan0001/cam_0000.h5", "w") as file:
        file.create_dataset("entry_0000/measurement/data", data=IMAGES[:4], **BSLZ4)
    events = watched.settle()
    assert len(indices(events)) == 4 and kinds(events).count("ScanStart") == 1
    np.testing.assert_array_equal(images(events), IMAGES[:4])
    notes = [event for event in events + watched.settle() if isinstance(event, Note)]
    assert ["links to frames that are taken" in note.text and note.harmless for note in notes] == [True] * len(notes)


def test_recorded_hdf5_layouts_copied_into_the_folder_are_taken_once(shared: Path, folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    shutil.copytree(shared / "powder/i15_1_eiger2_cdte500k", folder / "i15")
    shutil.copy(shared / "single_crystal/derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5", folder / "lima.h5")
    events = watched.settle() + watched.step(70.0) + watched.step(70.0) + watched.step(70.0)
    names = [event.name for event in events if isinstance(event, ScanStart)]
    assert sorted(names) == ["i15-1-100245", "i15-1-100614", "lima"]
    assert len(indices(events)) == 20 + 10 + 2
    with h5py.File(shared / "powder/i15_1_eiger2_cdte500k/i15-1-100245.nxs") as file:
        first = next(
            event for event in events if isinstance(event, Frame) and event.payloads and "100245" in event.scan
        )
        np.testing.assert_array_equal(images([first])[0], file["entry/fastcs_eiger/data"][0])


def test_a_series_whose_beginning_is_not_taken_is_another_scan_at_every_start(folder: Path) -> None:
    write(folder, 0, 1)
    uids = []
    for number in (2, 3):
        watched = Driven(folder, existing=False, scan_idle_s=None)
        watched.begin()
        write(folder, number)
        events = watched.settle()
        assert indices(events) == [0]
        uids += [event.uid for event in events if isinstance(event, ScanStart)]
    assert len(set(uids)) == 2, "frame 0 would be taken for the one that is stored already"


def test_a_frame_that_is_read_in_the_middle_of_a_change_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_scans(folder / "v.h5", "1.1", cam=IMAGES[:4])
    watched = Driven(folder, scan_idle_s=60.0, poll_s=0.5)
    genuine, tries = Stack.read, iter(range(100))

    def read(stack: Stack, index: int) -> Any:
        if index == 2 and next(tries) < 3:
            raise CorruptPayload("addr overflow: its end had not been written when the file was opened", index=index)
        return genuine(stack, index)

    monkeypatch.setattr(Stack, "read", read)
    events = watched.begin()
    assert sorted(indices(events)) == [0, 1, 3]
    for _ in range(3):
        os.utime(folder / "v.h5")  # it goes on changing
        events += watched.step(0.6)
    frames = [event for event in events if isinstance(event, Frame)]
    assert sorted((frame.index, frame.status.name) for frame in frames) == [(n, "RECEIVED") for n in range(4)]


def test_a_frame_that_stays_unreadable_is_corrupt_once_the_file_lies_still(folder: Path) -> None:
    with h5py.File(folder / "x.h5", "w") as file:
        data = file.create_dataset("entry/data/data", data=IMAGES[:4], chunks=(1, 9, 13), fletcher32=True)
        place = data.id.get_chunk_info(2).byte_offset
    raw = bytearray((folder / "x.h5").read_bytes())
    raw[place] ^= 1
    (folder / "x.h5").write_bytes(raw)
    watched = Driven(folder, scan_idle_s=60.0)
    events = watched.begin() + watched.settle() + watched.step(2.0)
    states = {event.index: event.status.name for event in events if isinstance(event, Frame)}
    assert states == {0: "RECEIVED", 1: "RECEIVED", 2: "CORRUPT", 3: "RECEIVED"}
    assert kinds(events)[-1] == "ScanEnd"
