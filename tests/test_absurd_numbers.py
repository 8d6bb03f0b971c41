"""Numbers in file names and headers that no scan has: a stray file or a setting for "until stopped"."""

from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from dectris_messages import stream2_image, stream2_start, v1_header, v1_image
from pydantic import ValidationError

from stream.events import Event, Frame, Note, ScanEnd, ScanStart
from stream.formats.hdf5.growing import Growing
from stream.formats.hdf5.live import look
from stream.sources import files, watch
from stream.wire import simplon, stream2

IMAGES = np.random.default_rng(3).integers(0, 60, (3, 9, 13)).astype("u2")


def tiff(path: Path) -> None:
    fabio.tifimage.TifImage(data=IMAGES[0]).write(str(path))


def indices(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, Frame)]


def master(path: Path, images: int) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 9, 13), maxshape=(None, 9, 13))
        file["entry"].attrs["NX_class"] = "NXentry"
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["nimages"], specific["ntrigger"] = images, 1


def test_a_stray_number_in_a_watched_folder_is_set_aside_and_the_scan_goes_on(tmp_path: Path) -> None:
    for name in ("img_1", "img_2", "img_20261120123456"):
        tiff(tmp_path / f"{name}.tif")
    source = watch.create(watch.Config(folder=str(tmp_path), events="poll", settle_s=1.0, scan_idle_s=5.0))
    found = list(source.begin(source.folder.look(), 0.0))
    for now in (1.1, 2.2, 3.3):
        found += source.step(source.folder.look(), now)
    tiff(tmp_path / "img_3.tif")
    for now in (4.4, 5.5, 6.6, 20.0):
        found += source.step(source.folder.look(), now)
    assert indices(found) == [0, 1, 2]
    (text,) = [event.text for event in found if isinstance(event, Note)]
    assert "img_20261120123456.tif" in text and "pattern" in text
    assert [event.announced for event in found if isinstance(event, ScanEnd)] == [3]


def test_a_stray_number_among_files_given_by_name_is_left_out(tmp_path: Path) -> None:
    for name in ("img_1", "img_2", "img_20261120123456"):
        tiff(tmp_path / f"{name}.tif")
    found = list(files.create(files.Config(files=(str(tmp_path),), number="name")).events())
    assert indices(found) == [0, 1]
    assert [event.expected for event in found if isinstance(event, ScanStart)] == [2]
    assert ["img_20261120123456.tif" in event.text for event in found if isinstance(event, Note)] == [True]


def test_a_master_that_was_to_run_until_stopped_announces_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a_master.h5"
    master(path, 2_000_000_000)
    found = list(files.create(files.Config(files=(str(path),))).events())
    assert indices(found) == [0, 1, 2]
    assert [event.expected for event in found if isinstance(event, ScanStart)] == [3]
    assert [event.announced for event in found if isinstance(event, ScanEnd)] == [3]
    growing = Growing(str(path), look(str(path)).scans[0])
    assert indices(list(growing.advance(0.0, finished=True))) == [0, 1, 2]
    assert [event.announced for event in growing.end() if isinstance(event, ScanEnd)] == [3]


def test_a_master_that_was_stopped_early_misses_what_it_announced(tmp_path: Path) -> None:
    master(tmp_path / "a_master.h5", 5)
    found = list(files.create(files.Config(files=(str(tmp_path / "a_master.h5"),))).events())
    assert [event.announced for event in found if isinstance(event, ScanEnd)] == [5]


@pytest.mark.parametrize(("pattern", "problem"), [("(", "regular expression"), (r"\d+", "group")])
def test_a_pattern_that_cannot_find_a_number_is_told_before_the_start(
    tmp_path: Path, pattern: str, problem: str
) -> None:
    models: list[tuple[Any, dict[str, Any]]] = [
        (watch.Config, {"folder": str(tmp_path)}),
        (files.Config, {"files": ["a"]}),
    ]
    for model, options in models:
        with pytest.raises(ValidationError, match=problem):
            model(**options, pattern=pattern)


def test_a_pattern_that_finds_something_else_than_a_number_finds_none(tmp_path: Path) -> None:
    tiff(tmp_path / "img_a1.tif")
    source = watch.create(watch.Config(folder=str(tmp_path), events="poll", settle_s=1.0, pattern="_(.*)"))
    found = list(source.begin(source.folder.look(), 0.0))
    for now in (1.1, 2.2):
        found += source.step(source.folder.look(), now)
    assert indices(found) == [0]
    given = list(files.create(files.Config(files=(str(tmp_path),), number="name", pattern="_(.*)")).events())
    assert ["has no number" in event.text for event in given if isinstance(event, Note)] == [True]


@pytest.mark.parametrize("protocol", ["stream2", "simplon"])
def test_an_endless_scan_that_is_gone_on_with_takes_up_at_its_number(protocol: str) -> None:
    decoder, start, image = messages(protocol)
    (begun,) = [event for event in decoder.restore("uid", [start]) if isinstance(event, ScanStart)]
    assert begun.expected is None and begun.resumed
    assert indices(decoder.feed(image(5_000_000), 0.0)) == [5_000_000]
    assert indices(decoder.feed(image(5_000_001), 0.0)) == [5_000_001]
    assert indices(decoder.feed(image(50_000_000), 0.0)) == []  # a single forged number


@pytest.mark.parametrize("protocol", ["stream2", "simplon"])
def test_a_scan_goes_on_behind_a_long_gap_but_not_for_a_single_forged_number(protocol: str) -> None:
    decoder, start, image = messages(protocol)
    decoder.feed(start, 0.0)
    for index in (0, 1):
        assert indices(decoder.feed(image(index), 0.0)) == [index]
    for forged in (90_000_000, 2, 40_000_000, 3, 7_000_000):
        assert indices(decoder.feed(image(forged), 0.0)) == [forged] * (forged < 10)
    found = [indices(decoder.feed(image(600_000 + step), 0.0)) for step in range(5)]
    assert found == [[], [], [600_002], [600_003], [600_004]]


def messages(protocol: str) -> tuple[Any, list[bytes], Any]:
    """A decoder, the start message of a scan until stopped, and its images by number."""
    if protocol == "stream2":
        return stream2.Decoder(), [stream2_start(number_of_images=None)], lambda index: [stream2_image(index)]
    return simplon.Decoder(), v1_header(nimages=2_000_000_000), v1_image
