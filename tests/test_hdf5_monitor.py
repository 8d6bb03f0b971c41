"""The monitor of recorded HDF5 scans: each scan its own, its length that of the frames, rates times the exposure."""

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from stream.events import Event, Frame, Note, ScanStart
from stream.formats.monitor import is_rate, total
from stream.sources import files

IMAGES = np.random.default_rng(5).integers(0, 90, (4, 12, 16)).astype("u2")


def bliss(path: Path, scans: int, **counters: object) -> Path:
    """Scans 1.1, 2.1 ... of four frames each; in scan N every counter is its values plus 100 N."""
    with h5py.File(path, "w") as file:
        for number in range(1, scans + 1):
            entry = file.create_group(f"{number}.1")
            entry.attrs["NX_class"] = "NXentry"
            entry.create_dataset("instrument/cam/data", data=IMAGES, chunks=(1, 12, 16))
            entry["instrument"].attrs["NX_class"], entry["instrument/cam"].attrs["NX_class"] = (
                "NXinstrument",
                "NXdetector",
            )
            entry["instrument/cam/count_time"] = 0.5
            for name, values in counters.items():
                entry[f"measurement/{name}"] = np.asarray(values, float) + 100 * number
    return path


def events(path: Path, **options: object) -> list[Event]:
    return list(files.create(files.Config(files=(str(path),), **options)).events())


def monitors(found: list[Event]) -> list[float]:
    return [event.monitor for event in found if isinstance(event, Frame)]


def texts(found: list[Event]) -> list[str]:
    return [event.text for event in found if isinstance(event, Note)]


def test_a_relative_path_is_the_monitor_of_each_scan(tmp_path: Path) -> None:
    found = events(bliss(tmp_path / "x.h5", 3, i0=[1, 2, 3, 4]), monitor="measurement/i0")
    assert monitors(found) == [*range(101, 105), *range(201, 205), *range(301, 305)] and texts(found) == []


def test_the_monitor_of_one_scan_is_never_used_for_another(tmp_path: Path) -> None:
    found = events(bliss(tmp_path / "x.h5", 2, i0=[1, 2, 3, 4]), monitor="/1.1/measurement/i0")
    assert monitors(found)[:4] == [101, 102, 103, 104] and all(map(math.isnan, monitors(found)[4:]))
    (text,) = texts(found)
    assert "belongs to /1.1, not to the scan /2.1" in text and "`monitor: measurement/i0`" in text


def test_a_path_outside_the_scans_serves_them_all(tmp_path: Path) -> None:
    path = bliss(tmp_path / "x.h5", 2)
    with h5py.File(path, "r+") as file:
        file["beam/i0"] = [1.0, 2.0, 3.0, 4.0]
    for monitor in ("/beam/i0", "beam/i0"):
        assert monitors(events(path, monitor=monitor)) == [1, 2, 3, 4] * 2


def test_one_number_in_the_file_holds_for_every_frame(tmp_path: Path) -> None:
    found = events(bliss(tmp_path / "x.h5", 2, i0=7.0), monitor="measurement/i0")
    assert monitors(found) == [107.0] * 4 + [207.0] * 4 and texts(found) == []


@pytest.mark.parametrize("count", [3, 5, 8])
def test_a_monitor_of_the_wrong_length_is_told_and_given_to_no_frame(tmp_path: Path, count: int) -> None:
    found = events(bliss(tmp_path / "x.h5", 1, i0=range(count)), monitor="measurement/i0")
    assert all(map(math.isnan, monitors(found))) and len(monitors(found)) == 4
    assert [f"has {count} readings for 4 frames" in text for text in texts(found)] == [True]


def test_a_scan_that_was_stopped_has_readings_for_the_frames_that_it_has(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", (100, 12, 16), "u2", chunks=(1, 12, 16))[:4] = IMAGES
        file["entry/i0"] = [1.0, 2.0, 3.0, 4.0]
    found = events(tmp_path / "x.h5", monitor="i0")
    assert monitors(found) == [1, 2, 3, 4] and texts(found) == []


@pytest.mark.parametrize(("unit", "factor"), [("counts/s", 0.5), ("Hz", 0.5), ("counts", 1.0), ("mA", 1.0)])
def test_a_rate_is_multiplied_by_the_exposure(tmp_path: Path, unit: str, factor: float) -> None:
    path = bliss(tmp_path / "x.h5", 1, i0=[1, 2, 3, 4])
    with h5py.File(path, "r+") as file:
        file["1.1/measurement/i0"].attrs["units"] = unit
    found = events(path, monitor="measurement/i0")
    assert monitors(found) == [factor * value for value in range(101, 105)]
    (start,) = [event for event in found if isinstance(event, ScanStart)]
    assert start.readings is not None and start.readings["monitor"] == ("counts" if factor < 1 else unit)


def test_a_rate_without_an_exposure_is_told_and_not_used(tmp_path: Path) -> None:
    path = bliss(tmp_path / "x.h5", 1, i0=[1, 2, 3, 4])
    with h5py.File(path, "r+") as file:
        file["1.1/measurement/i0"].attrs["units"] = "cps"
        del file["1.1/instrument/cam/count_time"]
    found = events(path, monitor="measurement/i0")
    assert all(map(math.isnan, monitors(found)))
    assert ["has no exposure time" in text for text in texts(found)] == [True]


def test_units_tell_rates_from_amounts() -> None:
    rates = {"counts/s": "counts", "cps": "counts", "kcps": "kcounts", "ph s^-1": "ph", "photons per second": "photons"}
    assert {unit: total(unit) for unit in rates} == rates and all(map(is_rate, rates))
    assert not any(map(is_rate, ("", "s", "counts", "A", "mA", "us")))


def test_a_diamond_counter_in_a_file_of_its_own_is_the_monitor(shared: Path) -> None:
    path = shared / "powder/i15_1_eiger2_cdte500k/i15-1-100245.nxs"
    found = events(path, monitor="/entry/instrument/i0/data")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(monitors(found), file["entry/instrument/i0/data"][()].ravel())
