"""Tomograms through the whole pipeline: from NXtomo and from folders that fill, stopped, killed, and gone on with.

What users of another live viewer asked for, complaint by complaint, is among them: see docs/tomography.md.
"""

import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image
from projected import CENTRE, DARK, SHAPE, SIZE, begun, counts, gains, lines, scan, start
from watched import Driven

from processors import tomogram
from processors.tomography import gridding
from processors.tomography.angles import weights_of
from processors.tomography.backprojection import seen
from sinks import nxtomo
from sinks.check import check
from stream.config import validate
from stream.events import Event, Frame, FrameStatus, ScanEnd, ScanStart
from stream.pipeline.runner import Run
from stream.testing.gathered import Gathered

ANGLES = np.arange(0, 183, 3.0)
INSIDE = seen(SIZE, SIZE, CENTRE)


def images(angles: np.ndarray = ANGLES) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a scan and what they are: darks, flats, projections."""
    flat, dark = np.round(DARK + gains()).astype("u2"), np.full(SHAPE, DARK, "u2")
    stack = np.concatenate([[dark] * 2, [flat] * 3, counts(lines(angles))])
    return stack, np.array([2, 2, 1, 1, 1, *([0] * len(angles))])


def write(path: Path, angles: np.ndarray) -> None:
    """NXtomo as others write it: nothing of ours is in it."""
    stack, keys = images(angles)
    with h5py.File(path, "w") as file:
        for name, kind in (
            ("entry", "NXentry"),
            ("entry/instrument", "NXinstrument"),
            ("entry/instrument/detector", "NXdetector"),
            ("entry/sample", "NXsample"),
            ("entry/data", "NXdata"),
        ):
            file.create_group(name).attrs["NX_class"] = kind
        file["entry/definition"] = "NXtomo"
        detector = file["entry/instrument/detector"]
        detector.create_dataset("data", data=stack, chunks=(1, *SHAPE))
        detector["image_key"] = detector["image_key_control"] = keys
        file["entry/sample/rotation_angle"] = np.concatenate([np.zeros(5), angles])
        file["entry/sample/rotation_angle"].attrs["units"] = "degree"
        for name, place in (("data", detector["data"]), ("image_key", detector["image_key"])):
            file[f"entry/data/{name}"] = place
        file["entry/data/rotation_angle"] = file["entry/sample/rotation_angle"]
        file["entry/data"].attrs["signal"] = "data"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Of the usual scan."""
    write(tmp_path / "sample.nx", ANGLES)
    return tmp_path / "sample.nx"


def document(recorded: Path, folder: Path, *kinds: str, **options: Any) -> dict[str, Any]:
    tomography = {"type": "tomography", "picture_s": 0.05, "centre": CENTRE, **options}
    sinks = [{"type": kind, "path": str(folder / f"{kind}.h5"), "flush_ms": 0} for kind in kinds]
    return {"stream": {"type": "files", "files": [str(recorded)]}, "processors": [tomography], "sinks": sinks}


def wanted(row: int = 3, angles: np.ndarray = ANGLES) -> np.ndarray:
    return gridding.fbp(lines(angles)[:, row], angles, centre=CENTRE, weights=weights_of(angles))


def error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - exact)[INSIDE].max() / np.abs(exact[INSIDE]).max())


def test_an_nxtomo_file_of_others_is_reconstructed_and_copied_with_its_keys_and_angles(
    recorded: Path, tmp_path: Path
) -> None:
    report = Run(validate(document(recorded, tmp_path, "hdf5", "nxtomo", volume=True)), reopen=False).execute()
    assert report.exit_code == 0, report.summary()
    with h5py.File(tmp_path / "hdf5.h5") as file:
        made = file["entry/tomography"]
        assert error(made["slice_1"][()], wanted()) < 1e-3 and made.attrs["signal"] == "slice_1"
        assert made["covered_frames"][()].all()
        assert error(file["entry/tomography_volume/I"][1], wanted(1)) < 1e-3
    with h5py.File(tmp_path / "nxtomo.h5") as file, h5py.File(recorded) as original:
        for place in ("instrument/detector/image_key", "sample/rotation_angle", "instrument/detector/data"):
            np.testing.assert_array_equal(file[f"entry/{place}"][()], original[f"entry/{place}"][()])
    assert check(tmp_path / "hdf5.h5").sound and check(tmp_path / "nxtomo.h5").sound


@pytest.mark.slow
def test_our_own_nxtomo_file_is_reconstructed_too(recorded: Path, tmp_path: Path) -> None:
    Run(validate(document(recorded, tmp_path, "nxtomo")), reopen=False).execute()
    again = tmp_path / "again"
    report = Run(validate(document(tmp_path / "nxtomo.h5", again, "hdf5")), reopen=False).execute()
    assert report.exit_code == 0, report.summary()
    with h5py.File(again / "hdf5.h5") as file:
        assert error(file["entry/tomography/slice_1"][()], wanted()) < 1e-3


def test_angles_that_a_recording_has_too_few_or_too_many_of_are_refused_before_the_start(
    recorded: Path, tmp_path: Path
) -> None:
    for count in (60, 62):
        given = document(recorded, tmp_path, "hdf5", turn={"angles": np.linspace(0, 180, count).tolist()})
        report = Run(validate(given), reopen=False).execute()
        assert report.exit_code != 0 and f"{count} angles for 61 projections of 66 frames" in report.summary()


@pytest.mark.slow
def test_a_list_of_as_many_angles_as_a_recording_has_projections_is_theirs(recorded: Path, tmp_path: Path) -> None:
    turn = {"angles": ANGLES.tolist()}
    report = Run(validate(document(recorded, tmp_path, "hdf5", turn=turn)), reopen=False).execute()
    assert report.exit_code == 0, report.summary()
    with h5py.File(tmp_path / "hdf5.h5") as file:
        np.testing.assert_array_equal(file["entry/tomography/angle"][5:], ANGLES)


@pytest.mark.slow
def test_a_slice_is_moved_at_a_frame_number_and_the_file_says_so(recorded: Path, tmp_path: Path) -> None:
    config = tmp_path / "one.yaml"
    config.write_text(yaml.safe_dump(document(recorded, tmp_path, "hdf5")))
    edits = [{"frame": 30, "path": "processors.tomography.slices", "value": [1]}]
    (tmp_path / "edits.yaml").write_text(yaml.safe_dump(edits))
    from stream.commands.main import main

    assert main(["process", "--quiet", "--changes", str(tmp_path / "edits.yaml"), str(config), str(recorded)]) == 0
    with h5py.File(tmp_path / "hdf5.h5") as file:
        assert file["entry/tomography/row"][0] == 1 and error(file["entry/tomography/slice_1"][()], wanted(1)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("hdf5",), ("nxtomo", "hdf5")])
def test_a_stopped_and_resumed_tomogram_is_that_of_a_run_that_was_never_stopped(
    kinds: tuple[str, ...], recorded: Path, tmp_path: Path
) -> None:
    config = validate(document(recorded, tmp_path, *kinds) | {"run": {"workers": 1, "inbox_mb": 0.001}})
    first = Run(config, reopen=False)
    first.execute(lambda counters: first.stop() if counters.finished > 20 else None)
    assert Run(config, reopen=False).execute().exit_code == 0
    whole = tmp_path / "whole"
    assert Run(validate(document(recorded, whole, "hdf5")), reopen=False).execute().exit_code == 0
    same(tmp_path / "hdf5.h5", whole / "hdf5.h5")


def same(path: Path, other: Path) -> None:
    with h5py.File(path) as file, h5py.File(other) as whole:
        made, exact = file["entry/tomography"], whole["entry/tomography"]
        for name in exact:
            np.testing.assert_array_equal(made[name][()], exact[name][()], err_msg=name)


@pytest.mark.slow
def test_a_killed_and_resumed_tomogram_is_that_of_a_run_that_was_never_killed(tmp_path: Path) -> None:
    """Killed as soon as there are frames in a file, and a little later, and later still."""
    recorded, angles = tmp_path / "sample.nx", np.arange(0, 180, 0.15)
    write(recorded, angles)
    options: dict[str, Any] = {"slices": [1, 4], "most": 2, "vertical": False}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(document(recorded, tmp_path, "nxtomo", "hdf5", **options)))
    command = [sys.executable, "-m", "stream.commands.main", "process", "--quiet", str(tmp_path / "one.yaml")]
    ledger = tmp_path / "hdf5.h5"
    kills = 0
    for kill in (True, True, False):
        before = frames_in(ledger)
        child = subprocess.Popen([*command, str(recorded)], stderr=subprocess.PIPE, env=dict(os.environ))
        until = time.monotonic() + 30
        while kill and frames_in(ledger) <= before + 20 and time.monotonic() < until and child.poll() is None:
            time.sleep(0.01)  # another process writes: its file is all that tells
        if kill:
            child.kill()
        assert child.stderr is not None
        told = child.stderr.read().decode()
        child.stderr.close()
        kills += child.wait() == -9
        assert child.returncode in ((-9, 0) if kill else (0,)), told
    assert kills > 0
    whole = tmp_path / "whole"
    assert Run(validate(document(recorded, whole, "hdf5", **options)), reopen=False).execute().exit_code == 0
    same(tmp_path / "hdf5.h5", whole / "hdf5.h5")
    assert check(tmp_path / "nxtomo.h5").sound


def frames_in(path: Path) -> int:
    """Frames of a file that is being written, or whose writer was killed."""
    try:
        with h5py.File(path, "r", swmr=True) as file:
            return int(np.count_nonzero(file["entry/ledger/status"][()]))
    except (OSError, KeyError):
        return 0


class Folder:
    """Radiographs that arrive in a folder as TIFF, and the gatherer behind it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.driven = Driven(folder, existing=True, settle_s=0.5, give_up_s=30.0, scan_idle_s=None)
        self.turn = {"angles": {"step": 3}, "darks": ["0-1"], "flats": ["2-4"]}
        self.options = {"centre": CENTRE, "turn": self.turn, "picture_s": 0, "vertical": False, **options}
        self.told: list[str] = []
        self.gathered: list[Gathered] = []
        self.frames: list[Frame] = []

    def put(self, *numbers: int, below: str = "") -> None:
        for number in numbers:
            path = self.folder / below / f"img_{number:05d}.tif"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tiff(number))

    def feed(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, ScanStart):
                self.gathered.append(begun(self.told, event, **self.options))
            elif isinstance(event, Frame):
                self.frames.append(event)
                self.gathered[-1].take(event)
            elif isinstance(event, ScanEnd):
                self.gathered[-1].finish(len(self.frames))

    def begin(self) -> None:
        self.feed(self.driven.begin())

    def step(self, seconds: float = 0.0) -> None:
        self.feed(self.driven.step(seconds))

    def settle(self) -> None:
        self.feed(self.driven.settle())

    @property
    def made(self) -> Any:
        return self.gathered[-1].fields("tomography")


@cache
def tiff(number: int) -> bytes:
    """The file of one frame."""
    packed = io.BytesIO()
    Image.fromarray(images()[0][number]).save(packed, format="TIFF")
    return packed.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(tomogram, "BUSY", 0)
    return Folder(tmp_path / "watched")


def test_images_that_were_there_before_are_in_the_slice(folder: Folder) -> None:
    """Complaint: pre-existing images are not shown."""
    folder.put(*range(30))
    folder.begin()
    folder.settle()
    assert folder.made["projections"] == 25


def test_the_slice_is_not_images_behind(folder: Folder) -> None:
    """Complaint: the viewer shows the image before the last one, or the one before that."""
    folder.put(*range(10))
    folder.begin()
    folder.settle()
    for number in range(10, 20):
        folder.put(number)
        folder.step()
        folder.step(0.6)
        folder.step(0.6)
        assert folder.made["projections"] == number - 4
        now = ANGLES[: number - 4]
        assert error(folder.made["slice_1"], wanted(3, now)) < 1e-3


def test_a_file_that_is_still_written_is_no_projection_and_then_is_a_whole_one(folder: Folder) -> None:
    """Complaint: partial files are shown, or raise errors."""
    folder.put(*range(10))
    folder.begin()
    folder.settle()
    whole = tiff(10)
    (folder.folder / "img_00010.tif").write_bytes(whole[:300])
    folder.step()
    assert folder.made["projections"] == 5
    (folder.folder / "img_00010.tif").write_bytes(whole)
    folder.settle()
    assert folder.made["projections"] == 6 and not folder.told
    assert error(folder.made["slice_1"], wanted(3, ANGLES[:6])) < 1e-3


def test_a_faulty_file_is_left_out_and_its_neighbours_stand_for_it(folder: Folder) -> None:
    """Complaint: one faulty image stops the viewer."""
    folder.put(*range(66))
    (folder.folder / "img_00025.tif").write_bytes(tiff(25)[:400])
    folder.begin()
    folder.settle()
    folder.step(40.0)
    assert [each.index for each in folder.frames if each.status is FrameStatus.CORRUPT] == [25]
    assert folder.made["projections"] == 60
    assert error(folder.made["slice_1"], wanted(3, np.delete(ANGLES, 20))) < 1e-3


def test_a_new_folder_is_a_new_sample_with_its_own_slices(folder: Folder) -> None:
    """Complaint: a new sub-folder is not noticed."""
    folder.begin()
    folder.put(*range(20), below="one")
    folder.settle()
    folder.put(*range(40), below="two")
    folder.settle()
    assert len(folder.gathered) == 2 and folder.made["projections"] == 35
    assert folder.gathered[0].fields("tomography")["projections"] == 15


def test_images_that_are_deleted_once_they_were_seen_stay_in_the_slice(folder: Folder) -> None:
    """Complaints: an error when the folder is deleted; an intensity that changes with deletions."""
    folder.put(*range(30))
    folder.begin()
    folder.settle()
    before = folder.made["slice_1"].copy()
    for number in range(20):
        (folder.folder / f"img_{number:05d}.tif").unlink()
    folder.put(30)
    folder.settle()
    assert folder.made["projections"] == 26 and not np.array_equal(folder.made["slice_1"], before, equal_nan=True)
    assert error(folder.made["slice_1"], wanted(3, ANGLES[:26])) < 1e-3


def test_an_image_that_is_touched_or_written_again_counts_once(folder: Folder) -> None:
    """Complaint: a file that is modified appends a further point."""
    folder.put(*range(20))
    folder.begin()
    folder.settle()
    before = folder.made["slice_1"].copy()
    os.utime(folder.folder / "img_00012.tif")
    (folder.folder / "img_00013.tif").write_bytes(tiff(13))
    folder.settle()
    assert [each.index for each in folder.frames if each.payloads] == list(range(20))
    assert folder.made["projections"] == 15 and np.array_equal(folder.made["slice_1"], before, equal_nan=True)


def test_images_that_come_in_any_order_of_time_have_their_angles_by_their_number(folder: Folder) -> None:
    """Complaint: sorted by the time of modification."""
    folder.begin()
    order = [*range(5), *np.random.default_rng(4).permutation(np.arange(5, 66)).tolist()]
    for number in order:
        folder.put(number)
    folder.settle()
    assert error(folder.made["slice_1"], wanted()) < 1e-3


def test_pictures_are_made_no_oftener_than_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaint: too many signals; the window is minutes behind."""
    monkeypatch.setattr(tomogram, "BUSY", 0)
    found = begun(centre=CENTRE, picture_s=3600)
    made = [update for each in scan()[:40] for update in found.take(each)]
    assert len(made) == 1


def test_pictures_leave_four_fifths_of_the_time_to_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaint: at 8000 images the viewer was 100 images behind."""
    now = [100.0]
    monkeypatch.setattr(tomogram.time, "monotonic", lambda: now[0])
    real = tomogram.Tomogram.pieces

    def slow(self: Any, **options: Any) -> Any:
        now[0] += 2.0
        return real(self, **options)

    monkeypatch.setattr(tomogram.Tomogram, "pieces", slow)
    found = begun(centre=CENTRE, picture_s=0, vertical=False)
    pictures = 0
    for each in scan():
        now[0] += 1.0
        pictures += len(found.take(each))
    assert pictures == 9  # two seconds of every ten


def test_a_bad_run_can_be_stopped_early_and_has_its_slices(recorded: Path, tmp_path: Path) -> None:
    """Asked for: stop when the sample is misaligned or the quality is poor."""
    run = Run(validate(document(recorded, tmp_path, "hdf5") | {"run": {"workers": 1, "inbox_mb": 0.001}}), reopen=False)
    run.execute(lambda counters: run.stop() if counters.finished > 20 else None)
    with h5py.File(tmp_path / "hdf5.h5") as file:
        made = file["entry/tomography"]
        count = int(made["projections"][()])
        assert 0 < count < 61 or made["covered_frames"][()].all()
        assert error(made["slice_1"][()], wanted(3, ANGLES[:count])) < 1e-3


def test_an_nxtomo_file_that_grows_is_followed_and_reconstructed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another inbeam, which watches the folder: keys and angles come with the frames."""
    monkeypatch.setattr(tomogram, "BUSY", 0)
    watched = Folder(tmp_path / "watched", turn={})
    watched.begin()
    sink = nxtomo.create(nxtomo.Config(path=str(watched.folder / "a.nx"), flush_frames=1))
    sink.start(start(expected=66), ())
    frames = scan(ANGLES)
    for each in frames[:30]:
        sink.write(each)
    watched.step()
    watched.settle()
    assert watched.made["projections"] == 25
    assert error(watched.made["slice_1"], wanted(3, ANGLES[:25])) < 1e-3
    for each in frames[30:]:
        sink.write(each)
    sink.finish(ScanEnd("01-first", announced=66, expected=66))
    watched.settle()
    assert watched.made["projections"] == 61 and error(watched.made["slice_1"], wanted()) < 1e-3


def test_a_growing_file_is_a_data_set_that_other_programs_open(recorded: Path, tmp_path: Path) -> None:
    """Asked for: load the running scan as a data set, with the time of every image."""
    sink = nxtomo.create(nxtomo.Config(path=str(tmp_path / "a.nx"), flush_frames=1))
    sink.start(start(expected=66), ())
    for each in scan(ANGLES)[:20]:
        sink.write(each)
    with h5py.File(tmp_path / "a.nx", "r", swmr=True) as file:
        keys = file["entry/instrument/detector/image_key"][()]
        angles = file["entry/sample/rotation_angle"][()][keys == 0]
        stack = file["entry/instrument/detector/data"][()]
        times = file["entry/ledger/received_time"][()]
    assert len(times) == 20 and (np.diff(times) > 0).all()
    flat, dark = (stack[keys == key].mean(axis=0) for key in (1, 2))
    of = -np.log((stack[keys == 0] - dark) / (flat - dark))
    assert error(gridding.fbp(of[:, 3], angles, centre=CENTRE, weights=weights_of(angles)), wanted(3, angles)) < 1e-3
    sink.close()
