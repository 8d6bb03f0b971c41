"""What the headers of images say beside the pixels arrives with each frame, with its unit, and in the file."""

import math
from pathlib import Path

import fabio
import h5py
import numpy as np
import pytest
from watched import Driven

from sinks import archive
from stream.events import Event, Frame, FrameStatus, ScanEnd, ScanStart
from stream.formats.images.readings import MOST, readings_of
from stream.sources import files

PIXELS = np.arange(120, dtype="u2").reshape(10, 12)


def events(*paths: Path | str, **options: object) -> list[Event]:
    return list(files.create(files.Config(files=tuple(map(str, paths)), **options)).events())


def one(path: Path) -> tuple[ScanStart, Frame]:
    start, frame, _ = events(path)
    assert isinstance(start, ScanStart) and isinstance(frame, Frame)
    return start, frame


def test_a_pilatus_cbf_gives_its_angles_with_their_units(shared: Path) -> None:
    start, frame = one(shared / "single_crystal/thaumatin_grid/thau_3_2_0019.cbf.bz2")
    wanted = {"Omega": 89.9997, "Start_angle": 89.9997, "Angle_increment": 0.0, "Phi": 0.0, "Kappa": 0.0, "Chi": 0.0}
    wanted |= {"Flux": 1.396021, "Filter_transmission": 0.2547, "Exposure_time": 0.019, "Detector_distance": 0.351}
    assert {name: frame.readings[name] for name in wanted} == wanted
    assert start.readings is not None
    units = {
        name: start.readings[name] for name in ("Omega", "Exposure_time", "Detector_distance", "Flux", "Wavelength")
    }
    assert units == {"Omega": "deg", "Exposure_time": "s", "Detector_distance": "m", "Flux": "", "Wavelength": "A"}
    assert set(start.readings) == set(frame.readings)
    assert not {"Tau", "Count_cutoff", "X-Binary-Size", "N_excluded_pixels"} & set(frame.readings)
    assert frame.exposure_s == 0.019
    assert math.isnan(frame.absolute_time)  # its time stamp does not say in which zone
    assert frame.detector_time == pytest.approx(1568208029.385)


def test_an_areadetector_tiff_gives_its_attributes_and_its_absolute_time(shared: Path) -> None:
    start, frame = one(shared / "powder/dioptas_map_pilatus1m/Fe3O4C_M1_map_7_P1_E1_001.tif.gz")
    wanted = {
        "Omega": -90.0,
        "Ion chamber2": 56.534676,
        "MCC Z": 2.0,
        "ID Energy(eV)": 37076.196289,
        "Vertical": -0.558,
    }
    assert {name: frame.readings[name] for name in wanted} == wanted
    assert start.readings is not None
    assert (start.readings["ID Energy(eV)"], start.readings["Temperature DAC(K)"]) == ("eV", "K")
    assert "CameraModel" not in frame.readings and "Omega scan" not in frame.readings
    assert frame.exposure_s == 29.999
    assert frame.absolute_time == pytest.approx(1479040162.4815)  # 13 November 2016, 12:29:22 UTC: 06:29 in Chicago
    _, other = one(shared / "powder/dioptas_map_pilatus1m/Fe3O4C_M1_map_1_P1_E1_001.tif.gz")
    assert other.readings["Horizontal"] != frame.readings["Horizontal"]


def test_a_pilatus_tiff_gives_the_readings_of_its_description(shared: Path) -> None:
    start, frame = one(shared / "powder/dioptas_ceo2_pilatus1m/CeO2_Pilatus1M.tif")
    assert (frame.readings["Angle_increment"], start.readings and start.readings["Angle_increment"]) == (0.1, "deg")
    assert frame.exposure_s == 3.0


def test_a_saxs_edf_gives_the_numbers_of_its_header_and_not_those_of_its_layout(shared: Path) -> None:
    _, frame = one(shared / "saxs/pySAXS_2018-01-31-OT_0_13459.edf.gz")
    wanted = {"pilai1": 26450596.0, "om": 2.20911e-08, "detx": 11.0, "fil": 23.0001, "mon": 0.0, "Temperature": 0.0}
    assert {name: frame.readings[name] for name in wanted} == wanted
    assert not {"Dim_1", "Size", "PSize_1", "Center_1", "Image", "HeaderID", "Dummy", "run", "VersionNumber"} & set(
        frame.readings
    )
    assert frame.exposure_s == 120.0


def edf(folder: Path, number: int, **header: str) -> Path:
    path = folder / f"scan_{number:04d}.edf"
    fabio.edfimage.EdfImage(data=PIXELS, header=header).write(str(path))
    return path


def test_motors_and_counters_of_an_edf_are_readings_by_their_mnemonics(tmp_path: Path) -> None:
    for number in range(3):
        edf(
            tmp_path,
            number,
            motor_mne="diffrx sx y-rot",
            motor_pos=f"{0.5 * number} -1.25 3e-3",
            counter_mne="ct mon ion1",
            counter_pos=f"1 {1000 + number} 5.5",
            acq_expo_time="0.2",
            time_of_day=f"{1_500_000_000 + number}.5",
            time_of_frame="0.5",
        )
    start, *frames, _ = events(tmp_path)
    assert isinstance(start, ScanStart)
    for frame in frames:
        assert isinstance(frame, Frame)
        wanted = {"diffrx": 0.5 * frame.index, "sx": -1.25, "y-rot": 0.003}
        wanted |= {"ct": 1.0, "mon": 1000.0 + frame.index, "ion1": 5.5}
        assert {name: frame.readings[name] for name in wanted} == wanted
        assert not {"motor_mne", "motor_pos", "time_of_day", "counter_pos"} & set(frame.readings)
        assert (frame.exposure_s, frame.absolute_time) == (0.2, 1_500_000_000.5 + frame.index)


def test_names_and_positions_that_do_not_fit_each_other_are_no_readings() -> None:
    assert readings_of({"motor_mne": "a b c", "motor_pos": "1 2"}).values == {}
    found = readings_of(
        {"motor_mne": "a b c", "motor_pos": "1 open 3", "key": "0x1F", "date": "2019-09-11", "n": "4.5_mm"}
    )
    assert (found.values, found.units) == ({"a": 1.0, "c": 3.0, "n": 4.5}, {"a": "", "c": "", "n": "mm"})


def test_the_description_of_a_tiff_gives_its_numbers_and_that_of_imagej_none() -> None:
    found = readings_of({"imageDescription": "temperature=293.5 K\npressure = 1.2 bar\nx=4\nsample=glass"})
    assert found.values == {"temperature": 293.5, "pressure": 1.2, "x": 4.0}
    assert found.units == {"temperature": "K", "pressure": "bar", "x": ""}
    assert readings_of({"imageDescription": "ImageJ=1.53t\nimages=5\nslices=5\nmin=0.0"}).values == {}


def test_a_time_is_absolute_only_where_the_header_knows_its_zone() -> None:
    assert math.isnan(readings_of({"Date": "2019-09-11T13:20:29"}).absolute)
    assert readings_of({"Date": "2019-09-11T13:20:29+02:00"}).absolute == 1568200829.0
    assert math.isnan(readings_of({"time_of_frame": "0.5"}).absolute)
    assert math.isnan(readings_of({"NDTimeStamp": 12.5}).absolute)


def test_no_header_makes_more_readings_than_a_file_can_have_columns() -> None:
    assert len(readings_of({f"k{number}": "1" for number in range(5000)}).values) == MOST


def test_the_readings_of_a_watched_folder_are_those_of_its_images(tmp_path: Path) -> None:
    watched = Driven(tmp_path, scan_idle_s=None)
    watched.begin()
    for number in range(2):
        edf(tmp_path, number, motor_mne="phi", motor_pos=str(10.0 * number), count_time="0.5")
    start, *frames = watched.settle()
    assert isinstance(start, ScanStart) and start.readings == {"phi": "", "count_time": ""}
    assert [frame.readings["phi"] for frame in frames if isinstance(frame, Frame)] == [0.0, 10.0]
    assert [frame.exposure_s for frame in frames if isinstance(frame, Frame)] == [0.5, 0.5]


def test_every_reading_is_a_column_of_the_file_with_its_unit(shared: Path, tmp_path: Path) -> None:
    start, frame = one(shared / "powder/dioptas_map_pilatus1m/Fe3O4C_M1_map_7_P1_E1_001.tif.gz")
    sink = archive.create(archive.Config(path=str(tmp_path / "a.h5")))
    sink.start(start, ())
    sink.write(frame)
    sink.finish(ScanEnd(start.uid, announced=1, expected=1, counts={FrameStatus.RECEIVED: 1}))
    sink.close()
    with h5py.File(tmp_path / "a.h5") as file:
        columns = {
            str(one.attrs["long_name"]): one for one in file["entry/readings"].values() if "long_name" in one.attrs
        }
        assert {name: float(column[0]) for name, column in columns.items()} == dict(frame.readings)
        assert columns["ID Energy(eV)"].attrs["units"] == "eV" and "units" not in columns["Omega"].attrs
