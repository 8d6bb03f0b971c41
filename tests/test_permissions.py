"""Files and folders that inbeam may not read are named, and everything else goes on."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import fabio
import h5py
import numpy as np
import pytest
from watched import Driven, indices, kinds

from stream.config import load
from stream.errors import ConfigError, InbeamError
from stream.events import EndStatus, Event, Frame, FrameStatus, Note, ScanStart
from stream.formats.hdf5.opening import open_hdf5
from stream.sources import files, watch

PIXELS = np.arange(120, dtype="u2").reshape(10, 12)
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of a user who is not root, and who the test is run as: root may read everything."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    datetime.strptime("2026", "%Y")  # loads a module, which that user may not read
    made = Path(tempfile.mkdtemp(prefix="inbeam_permissions_"))
    os.chown(made, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield made
    finally:
        os.seteuid(0)
        shutil.rmtree(made)


def write(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        fabio.tifimage.TifImage(data=PIXELS).write(str(folder / name))


def texts(found: list[Event]) -> list[str]:
    return [event.text for event in found if isinstance(event, Note)]


def test_an_image_that_may_not_be_read_is_a_named_hole_and_the_rest_is_taken(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None, give_up_s=10.0)
    watched.begin()
    write(folder, "img_0.tif", "img_1.tif", "img_2.tif")
    (folder / "img_1.tif").chmod(0)
    assert indices(watched.settle()) == [0, 2]
    (hole,) = watched.step(11.0)
    assert isinstance(hole, Frame) and (hole.index, hole.status) == (1, FrameStatus.CORRUPT)
    assert hole.problem == f"{folder}/img_1.tif may not be read: give the user of inbeam the right to read it"


def test_an_image_is_taken_once_it_may_be_read(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None, give_up_s=100.0)
    watched.begin()
    write(folder, "img_0.tif", "img_1.tif")
    (folder / "img_1.tif").chmod(0)
    assert indices(watched.settle()) == [0]
    (folder / "img_1.tif").chmod(0o644)
    assert indices(watched.step(1.1) + watched.step(1.1)) == [1]


@pytest.mark.parametrize("name", ["img_0.tif", "x.h5"])
def test_the_only_file_of_a_folder_that_may_not_be_read_is_named_when_it_is_given_up_or_the_watch_is_stopped(
    folder: Path, name: str
) -> None:
    for stopped in (False, True):
        if name.endswith(".h5"):
            with h5py.File(folder / name, "w") as file:
                file["entry/data/data"] = np.ones((3, 10, 12), "u2")
        else:
            write(folder, name)
        (folder / name).chmod(0)
        watched = Driven(folder, give_up_s=10.0)
        found = watched.begin() + watched.settle()
        if stopped:
            watched.source._clock = partial(float, watched.now)
            watched.source.close()
            found += list(watched.source.events())
        else:
            found += watched.step(11.0)
        (note,) = found
        assert isinstance(note, Note) and f"{folder}/{name}" in note.text and not note.harmless
        assert ("not taken before the watch was stopped" in note.text) == stopped
        assert "may not be read" in note.text or "Permission denied" in note.text
        (folder / name).unlink()


def test_a_folder_that_may_not_be_listed_is_named_once_and_followed_as_soon_as_it_may(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None)
    write(folder / "closed", "img_0.tif")
    (folder / "closed").chmod(0)
    write(folder / "open", "img_0.tif")
    found = watched.begin() + watched.settle() + watched.settle()
    assert texts(found) == [f"{folder}/closed may not be read: give the user of inbeam the right to list it"]
    assert indices(found) == [0]
    (folder / "closed").chmod(0o755)
    found = watched.settle()
    assert kinds(found) == ["ScanEnd", "ScanStart", "Frame"]


def test_files_in_a_folder_that_may_only_be_listed_are_named(folder: Path) -> None:
    write(folder / "listed", "img_0.tif")
    (folder / "listed").chmod(0o444)
    watched = Driven(folder, give_up_s=10.0)
    found = watched.begin() + watched.settle() + watched.step(11.0) + watched.step(11.0)
    (folder / "listed").chmod(0o755)
    (text,) = texts(found)
    assert f"{folder}/listed/img_0.tif may not be read" in text


def test_a_folder_that_may_not_be_read_is_no_source(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0)
    with pytest.raises(ConfigError, match="closed may not be read"):
        watch.create(watch.Config(folder=str(folder / "closed")))
    with pytest.raises(ConfigError, match="closed may not be read"):
        files.create(files.Config(files=(str(folder / "closed"),)))


def test_recorded_images_that_may_not_be_read_are_named_holes(folder: Path) -> None:
    write(folder / "data", "img_0.tif", "img_1.tif")
    (folder / "data/img_1.tif").chmod(0)
    found = list(files.create(files.Config(files=(str(folder / "data"),))).events())
    (problem,) = [event.problem for event in found if isinstance(event, Frame) and event.problem]
    assert f"{folder}/data/img_1.tif may not be read" in problem


def test_a_folder_of_a_sample_with_one_for_each_measurement_gives_a_scan_named_after_both(folder: Path) -> None:
    watched = Driven(folder, series="folder", scan_idle_s=60.0)
    watched.begin()
    found: list[Event] = []
    for place in ("silver/run_1", "silver/run_2", "lab6/run_1"):
        (folder / place).parent.mkdir(exist_ok=True)
        write(folder / place, "img_0.tif", "img_1.tif", "img_2.tif")
        found += watched.settle()
    found += list(watched.source._end(EndStatus.STOPPED))
    starts = [event for event in found if isinstance(event, ScanStart)]
    assert [start.name for start in starts] == ["silver_run_1", "silver_run_2", "lab6_run_1"]
    assert [start.uid for start in starts] == [
        f"file:{folder}/{place}" for place in ("silver/run_1", "silver/run_2", "lab6/run_1")
    ]
    assert texts(found) == []
    for start in starts:
        assert sorted(e.index for e in found if isinstance(e, Frame) and e.scan == start.uid) == [0, 1, 2]


def test_an_hdf5_file_and_a_yaml_that_may_not_be_read_are_told_with_what_to_do(folder: Path) -> None:
    for name, read in (("scan.h5", lambda path: open_hdf5(str(path))), ("my.yaml", load)):
        path = folder / name
        path.write_text("x")
        path.chmod(0)
        with pytest.raises(InbeamError, match=f"{name} may not be read: change its permissions"):
            read(path)
