"""Readings: what belongs to an exposure beside its pixels, as columns of the files."""

import logging
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from sink_examples import PRODUCT, frame, hole, make, scan

from stream import FrameStatus, ScanEnd
from stream.events import ScanStart


def begun(kind: str, path: Path, start: ScanStart, **options: object) -> object:
    sink = make(kind, path, **options)
    sink.start(start, (PRODUCT,))
    return sink


@pytest.fixture(params=["hdf5", "archive"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_reading_of_the_first_frame_is_a_column(kind: str, tmp_path: Path) -> None:
    sink = begun(kind, tmp_path / "a.h5", scan())
    for index in (0, 1, 3):
        sink.write(frame(index, readings={"rot": 0.1 * index, "pico/1": index + 0.5, "monitor": 10.0 * index}))
    sink.write(hole(2, FrameStatus.CORRUPT, "cut off"))
    sink.finish(ScanEnd("01-first", expected=5))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        group = file["/entry/readings"]
        assert [str(name) for name in group.attrs["names"]] == ["rot", "pico/1", "monitor"]
        np.testing.assert_array_equal(group["rot"][()], [0, 0.1, np.nan, 0.1 * 3, np.nan])
        pico = next(item for item in group.values() if item.attrs.get("long_name") == "pico/1")
        np.testing.assert_array_equal(pico[()], [0.5, 1.5, np.nan, 3.5, np.nan])
        np.testing.assert_array_equal(file["/entry/monitor/data"][()], [0, 10, np.nan, 30, np.nan])
        assert group["monitor"] == file["/entry/monitor/data"]


def test_units_and_names_that_the_source_declares_need_no_frame(kind: str, tmp_path: Path) -> None:
    sink = begun(kind, tmp_path / "a.h5", replace(scan(), readings={"rot": "deg", "temperature": "K"}))
    sink.write(frame(0, readings={"temperature": 77.0}))
    sink.finish(ScanEnd("01-first", expected=1))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        group = file["/entry/readings"]
        assert (group["rot"].attrs["units"], group["temperature"].attrs["units"]) == ("deg", "K")
        assert np.isnan(group["rot"][0]) and group["temperature"][0] == 77


def test_the_configuration_decides_which_readings_get_a_column(kind: str, tmp_path: Path) -> None:
    sink = begun(kind, tmp_path / "a.h5", scan(), readings=("rot",))
    sink.write(frame(0, readings={"rot": 1.0, "noise": 2.0}))
    sink.finish(ScanEnd("01-first", expected=1))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert "noise" not in file["/entry/readings"]
        assert file["/entry/readings/rot"][0] == 1


def test_a_reading_that_turns_up_later_is_counted_and_told(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = begun(kind, tmp_path / "a.h5", scan())
    sink.write(frame(0, readings={"rot": 1.0}))
    with caplog.at_level(logging.WARNING, logger="inbeam"):
        for index in (1, 2):
            sink.write(frame(index, readings={"rot": 1.0, "cryo": 80.0}))
    assert caplog.text.count("'cryo' came first with frame 1") == 1
    sink.finish(ScanEnd("01-first", expected=3))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        told = file["/entry/ledger/notes"][0].decode()
    assert "the reading 'cryo' of 2 frames, first of frame 1, has no column: name it in `readings`" in told


def test_the_times_of_the_exposure_are_in_the_ledger(kind: str, tmp_path: Path) -> None:
    sink = begun(kind, tmp_path / "a.h5", scan())
    sink.write(frame(0, absolute_time=1.7e9, exposure_s=0.01, stop_time=3.25))
    sink.finish(ScanEnd("01-first", expected=1))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        ledger = file["/entry/ledger"]
        found = [float(ledger[name][0]) for name in ("absolute_time", "exposure", "stop_time")]
    assert found == [1.7e9, 0.01, 3.25]


def test_a_resumed_file_goes_on_with_its_columns(kind: str, tmp_path: Path) -> None:
    for part in (range(3), range(3, 6)):
        sink = begun(kind, tmp_path / "a.h5", scan(expected=6))
        for index in part:
            sink.write(frame(index, readings={"rot": float(index)}))
        sink.close() if part.start == 0 else sink.finish(ScanEnd("01-first", announced=6, expected=6))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert file["/entry/readings/rot"][()].tolist() == [0, 1, 2, 3, 4, 5]
