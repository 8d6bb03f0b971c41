"""The incident-beam reading of images: from their headers, as a number for all, as a rate times the exposure."""

import math
from pathlib import Path

import fabio
import h5py
import numpy as np
import pytest
from pydantic import ValidationError
from watched import running, until

from stream.events import Event, Frame, Note, ScanStart
from stream.sources import files, watch

PIXELS = np.arange(120, dtype="u2").reshape(10, 12)


def events(*paths: Path | str, **options: object) -> list[Event]:
    return list(files.create(files.Config(files=tuple(map(str, paths)), **options)).events())


def monitors(found: list[Event]) -> list[float]:
    return [event.monitor for event in found if isinstance(event, Frame)]


def texts(found: list[Event]) -> list[str]:
    return [event.text for event in found if isinstance(event, Note)]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Three EDF files as SPEC and BLISS write them; exposures of 0.5, 1 and 1.5 s."""
    for number in range(3):
        header = {
            "counter_mne": "ct mon ioni",
            "counter_pos": f"1 {1000 + number} {20 + number}",
            "I0": str(7 + number),
        }
        header["count_time"] = str(0.5 * (number + 1))
        fabio.edfimage.EdfImage(data=PIXELS, header=header).write(str(tmp_path / f"s_{number}.edf"))
    return tmp_path


def test_a_counter_or_a_key_of_the_headers_is_the_monitor(scan: Path) -> None:
    assert monitors(events(scan, monitor="mon")) == [1000.0, 1001.0, 1002.0]
    assert monitors(events(scan, monitor="ioni")) == [20.0, 21.0, 22.0]
    assert monitors(events(scan, monitor="I0")) == [7.0, 8.0, 9.0]
    start = events(scan, monitor="mon")[0]
    assert isinstance(start, ScanStart) and start.readings is not None and "monitor" in start.readings


def test_a_monitor_of_real_headers_keeps_its_unit(shared: Path) -> None:
    start, frame, _ = events(
        shared / "powder/dioptas_map_pilatus1m/Fe3O4C_M1_map_7_P1_E1_001.tif.gz", monitor="Ion chamber2"
    )
    assert isinstance(frame, Frame) and frame.monitor == 56.534676
    start, frame, _ = events(shared / "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2", monitor="Exposure_time")
    assert isinstance(start, ScanStart) and start.readings and start.readings["monitor"] == "s"
    assert isinstance(frame, Frame) and frame.monitor == 0.019


def test_one_number_is_the_monitor_of_all(scan: Path) -> None:
    assert monitors(events(scan, monitor=250.0)) == [250.0] * 3
    assert monitors(events(scan, monitor="250")) == [250.0] * 3
    with h5py.File(scan / "x.h5", "w") as file:
        file["entry/data/data"] = np.ones((4, 10, 12), "u2")
    assert monitors(events(scan / "x.h5", monitor=250)) == [250.0] * 4


def test_a_rate_is_multiplied_by_the_exposure_of_each_frame(scan: Path) -> None:
    assert monitors(events(scan, monitor="mon", monitor_per_second=True)) == [500.0, 1001.0, 1503.0]
    assert monitors(events(scan, monitor=100.0, monitor_per_second=True)) == [50.0, 100.0, 150.0]
    with h5py.File(scan / "i0.h5", "w") as file:
        file["readings"] = [3.0, 5.0, 7.0]
    found = events(scan / "*.edf", monitor="i0.h5::/readings", monitor_per_second=True)
    assert monitors(found) == [1.5, 5.0, 10.5]


def test_a_rate_without_an_exposure_is_no_monitor_and_told_once(tmp_path: Path) -> None:
    for number in range(3):
        fabio.edfimage.EdfImage(data=PIXELS, header={"mon": "5"}).write(str(tmp_path / f"s_{number}.edf"))
    found = events(tmp_path, monitor="mon", monitor_per_second=True)
    assert all(map(math.isnan, monitors(found))) and len(monitors(found)) == 3
    assert texts(found) == ["frame 0 has no exposure time, by which its monitor is to be multiplied"]


def test_a_header_without_the_monitor_is_told_once_with_the_names_that_are_like_it(scan: Path) -> None:
    found = events(scan, monitor="monn")
    assert all(map(math.isnan, monitors(found)))
    (text,) = texts(found)
    assert "has no reading 'monn' for its monitor: do you mean mon" in text
    (text,) = texts(events(scan, monitor="zzz"))
    assert "correct `monitor`" in text


def test_the_monitor_of_a_watched_folder_comes_from_its_headers_too(scan: Path) -> None:
    with running(scan, monitor="mon", monitor_per_second=True, settle_s=0.05, poll_s=0.05) as (_, found):
        assert monitors(until(found, Frame, 3)) == [500.0, 1001.0, 1503.0]


def test_a_rate_of_nothing_and_a_path_in_a_watched_folder_are_refused() -> None:
    with pytest.raises(ValidationError, match="monitor_per_second without a monitor"):
        files.Config(files=("x",), monitor_per_second=True)
    with pytest.raises(ValidationError, match="monitor_per_second without a monitor"):
        watch.Config(folder="x", monitor_per_second=True)
    with pytest.raises(ValidationError, match="is a path: give the name of a reading"):
        watch.Config(folder="x", monitor="i0.h5::/readings")
