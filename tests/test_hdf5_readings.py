"""What belongs to each frame of an HDF5 scan beside its pixels: readings with their units, and absolute times."""

import gzip
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bliss import CHUNKED, IMAGES, Live

from sinks import archive
from stream.events import Event, Frame, Note, ScanEnd, ScanStart
from stream.formats.hdf5.growing import Growing
from stream.formats.hdf5.late import WAIT_S
from stream.formats.hdf5.live import look
from stream.sources import files


def events(path: Path, **options: Any) -> list[Event]:
    return list(files.create(files.Config(files=(str(path),), **options)).events())


def start_of(found: list[Event]) -> ScanStart:
    return next(event for event in found if isinstance(event, ScanStart))


def frames_of(found: list[Event]) -> list[Frame]:
    return [event for event in found if isinstance(event, Frame)]


def column(found: list[Event], name: str) -> list[float]:
    return [frame.readings.get(name, math.nan) for frame in frames_of(found)]


def test_a_recorded_bliss_scan_has_its_counters_and_absolute_times(shared: Path) -> None:
    path = shared / "filewatch/esrf_id11_demoh5/demoh5_dataset/demoh5_dataset.h5"
    found = events(path)[:4]
    with h5py.File(path) as file:
        epoch = list(file["1.1/measurement/epoch"])
        elapsed = list(file["1.1/measurement/elapsed_time"])
    assert start_of(found).readings == {"elapsed_time": "s", "epoch": "s"}
    assert (column(found, "elapsed_time"), column(found, "epoch")) == (elapsed, epoch)
    assert [frame.absolute_time for frame in frames_of(found)] == epoch
    assert datetime.fromtimestamp(epoch[0], UTC).isoformat().startswith("2021-01-29T10:00:4")  # 11:00 in Grenoble
    assert [frame.exposure_s for frame in frames_of(found)] == [0.1, 0.1]


def test_motors_that_stand_still_are_readings_when_they_are_named(shared: Path) -> None:
    path = shared / "filewatch/esrf_id11_demoh5/demoh5_dataset/demoh5_dataset.h5"
    found = events(path, readings=("difft[yz]", "epoch"))[:4]
    assert list(start_of(found).readings or ()) == ["diffty", "difftz", "epoch"]
    assert column(found, "diffty") == [13.250000000000002] * 2


def test_a_recorded_diamond_scan_has_its_axes_and_the_counter_in_another_file(shared: Path) -> None:
    path = shared / "powder/i15_1_eiger2_cdte500k/i15-1-100245.nxs"
    found = events(path)
    units = dict(start_of(found).readings or {})
    assert units == {"blower-temperature": "C", "tth": "deg", "i0": ""}
    with h5py.File(path) as file:
        for name, place in (("tth", "tth/data"), ("i0", "i0/data"), ("blower-temperature", "blower-temperature/" * 2)):
            np.testing.assert_array_equal(column(found, name), file[f"entry/instrument/{place.strip('/')}"][()].ravel())


def test_recorded_dark_field_scans_have_both_of_their_motors(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "mosa.h5"
    path.write_bytes(gzip.decompress((shared / "dfxm/darling_mosa_scan.h5.gz").read_bytes()))
    found = events(path)
    starts = [event for event in found if isinstance(event, ScanStart)]
    assert [start.name for start in starts] == ["mosa_1.1", "mosa_2.1"]
    assert starts[0].readings == {"chi": "", "diffrz": ""}
    with h5py.File(path) as file:
        np.testing.assert_array_equal(column(found, "chi")[2666:], file["2.1/instrument/chi/value"])
        np.testing.assert_array_equal(column(found, "diffrz")[:2666], file["1.1/instrument/diffrz/data"])


@pytest.mark.slow
def test_positioners_beside_the_frames_of_a_file_without_entries_are_readings(shared: Path) -> None:
    path = shared / "dfxm/darfix_NiTi_1PD_002_g411_420MPa_mosalayers_2x.h5"
    found = events(path)
    assert list(start_of(found).readings or ()) == ["chi", "diffry", "difftz"]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(column(found, "difftz")[::997], file["positioners/difftz"][::997])


def test_the_angles_of_a_recorded_tomogram_are_readings(shared: Path) -> None:
    found = events(shared / "tomo/tomopy_tooth.h5")
    assert start_of(found).readings == {"image_key": "", "rotation_angle": "degrees"}
    with h5py.File(shared / "tomo/tomopy_tooth.h5") as file:
        np.testing.assert_array_equal(column(found, "rotation_angle")[20:], file["exchange/theta"])


def test_the_axes_of_a_map_belong_to_its_rows_and_columns(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update(NX_class="NXdata", signal="data", axes=["y", "x", ".", "."])
        data["data"] = IMAGES.reshape(2, 3, 12, 16)
        data["y"], data["x"] = [10.0, 20.0], [1.0, 2.0, 3.0]
        data["y"].attrs["units"] = "mm"
        data["temperature"] = np.arange(6.0).reshape(2, 3)
    found = events(tmp_path / "x.h5")
    assert start_of(found).readings == {"temperature": "", "x": "", "y": "mm"}
    assert column(found, "y") == [10, 10, 10, 20, 20, 20] and column(found, "x") == [1, 2, 3, 1, 2, 3]
    assert column(found, "temperature") == [0, 1, 2, 3, 4, 5]


def test_goniometer_sample_and_monitor_of_nexus_are_readings(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES)
        file["entry/sample/goniometer/omega"] = np.arange(6) * 0.1
        file["entry/sample/goniometer/omega"].attrs["units"] = "deg"
        file["entry/sample/goniometer/omega_range_average"] = 0.1
        file["entry/sample/temperature"] = np.full(6, 293.0)
        file["entry/control/data"] = np.arange(6) + 100.0
        file["entry/control"].attrs["NX_class"] = "NXmonitor"
        file["entry/instrument/NDAttributes/ring"] = np.full(6, 200.0)
        file["entry/instrument/xspress/data"] = np.ones(4)  # not one per frame
    found = events(tmp_path / "x.h5")
    assert start_of(found).readings == {
        "temperature": "",
        "omega": "deg",
        "control": "",
        "ring": "",
        "monitor": "",
    }
    assert column(found, "omega")[3] == pytest.approx(0.3)
    assert [frame.monitor for frame in frames_of(found)] == [100, 101, 102, 103, 104, 105]
    by_name = events(tmp_path / "x.h5", monitor="ring")
    assert [frame.monitor for frame in frames_of(by_name)] == [200.0] * 6


@pytest.mark.parametrize(
    ("name", "attributes", "values", "first"),
    [
        ("timestamp", {}, [1.7e9, 1.7e9 + 1], 1.7e9),
        ("timestamp", {"units": "ns"}, [17 * 10**17, 17 * 10**17 + 10**9], 1.7e9),
        ("NDArrayTimeStamp", {}, [1.0e9, 1.0e9 + 1], 1.0e9 + 631152000),
        ("frame_start_time", {"units": "ms", "start": "2024-06-25T23:28:56+02:00"}, [500, 1500], 1719350936.5),
        ("frame_start_time", {"units": "s", "start": "2024-06-25T23:28:56"}, [0.5, 1.5], math.nan),  # which zone?
        ("frame_start_time", {"units": "s"}, [0.5, 1.5], math.nan),
    ],
)
def test_absolute_times_are_known_where_the_epoch_or_the_zone_is(
    tmp_path: Path, name: str, attributes: dict[str, str], values: list[float], first: float
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/instrument/detector/data", data=IMAGES[:2])
        place = "NDAttributes" if name.startswith("ND") else "detector"
        file[f"entry/instrument/{place}/{name}"] = values
        file[f"entry/instrument/{place}/{name}"].attrs.update(attributes)
    times = [frame.absolute_time for frame in frames_of(events(tmp_path / "x.h5"))]
    assert times == pytest.approx([first, first + 1], nan_ok=True)


def test_a_column_that_cannot_be_read_is_told_and_the_others_are_there(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES)
        good = file.create_dataset("entry/sample/good", data=np.arange(6.0))
        bad = file.create_dataset("entry/sample/bad", data=np.arange(6.0), chunks=(6,), compression="gzip")
        place, size = bad.id.get_chunk_info(0).byte_offset, bad.id.get_chunk_info(0).size
        assert good.shape == bad.shape
    raw = bytearray((tmp_path / "x.h5").read_bytes())
    raw[place : place + size] = b"\xff" * size
    (tmp_path / "x.h5").write_bytes(raw)
    found = events(tmp_path / "x.h5")
    assert column(found, "good") == [0, 1, 2, 3, 4, 5] and all(map(math.isnan, column(found, "bad")))
    assert ["the reading bad" in event.text for event in found if isinstance(event, Note)] == [True]


def test_readings_and_times_survive_the_way_through_an_archive(tmp_path: Path, shared: Path) -> None:
    path = shared / "powder/i15_1_eiger2_cdte500k/i15-1-100614.nxs"
    start, *frames, end = [event for event in events(path) if not isinstance(event, Note)]
    sink = archive.create(archive.Config(path=str(tmp_path / "a.h5")))
    sink.start(start, ())
    for frame in frames:
        sink.write(frame)
    assert isinstance(end, ScanEnd)
    sink.finish(ScanEnd(end.scan, announced=10, expected=10))
    sink.close()
    again = events(tmp_path / "a.h5")
    assert start_of(again).readings == start.readings
    for before, after in zip(frames, frames_of(again), strict=True):
        assert after.readings == before.readings
        assert after.absolute_time == pytest.approx(before.absolute_time, nan_ok=True)


def test_frames_of_a_file_that_grows_wait_for_their_readings(tmp_path: Path) -> None:
    live = Live(tmp_path / "x.h5")
    live.frames(2)
    growing = live.growing()
    assert growing.start.readings == {"epoch": "s", "rot": "deg"}
    assert list(growing.advance(0.0)) == []
    live.counters(1)
    (frame,) = growing.advance(1.0)
    assert frame.index == 0 and frame.readings == {"rot": 0.0, "epoch": 1.7e9} and frame.absolute_time == 1.7e9
    live.counters(4)  # ahead of its frames
    live.frames(3)
    assert [(frame.index, frame.readings["rot"]) for frame in growing.advance(2.0)] == [(1, 0.5), (2, 1.0)]
    assert [type(event) for event in growing.end()] == [ScanEnd]


def test_readings_that_come_too_late_are_told_and_hold_up_no_further_frame(tmp_path: Path) -> None:
    live = Live(tmp_path / "x.h5")
    live.frames(1)
    growing = live.growing()
    assert list(growing.advance(0.0)) == list(growing.advance(WAIT_S - 0.1)) == []
    assert [frame.readings for frame in growing.advance(WAIT_S)] == [{}]
    live.frames(3)
    assert [frame.readings for frame in growing.advance(WAIT_S + 1)] == [{}, {}]
    live.counters(4)
    live.frames(4)
    assert [frame.readings.get("rot") for frame in growing.advance(WAIT_S + 2)] == [1.5]
    *notes, end = growing.end()
    assert isinstance(end, ScanEnd)
    told = sorted(note.text for note in notes if isinstance(note, Note))
    assert ["3 of them are without it, first frame 0" in text for text in told] == [True, True]


def test_readings_that_never_come_are_nothing_to_tell_of(tmp_path: Path) -> None:
    live = Live(tmp_path / "x.h5")
    live.frames(2)
    growing = live.growing()
    assert [frame.readings for now in (0.0, 9.0) for frame in growing.advance(now)] == [{}, {}]
    assert [type(event) for event in growing.end()] == [ScanEnd]


def test_a_recorded_scan_copied_into_a_folder_keeps_its_readings(shared: Path, tmp_path: Path) -> None:
    recorded = shared / "powder/i15_1_eiger2_cdte500k"
    for path in recorded.glob("i15-1-100245*"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "i15-1-100245.nxs"
    growing = Growing(str(path), look(str(path)).scans[0])
    live = list(growing.advance(0.0, finished=True))
    for frame, again in zip(frames_of(events(path)), live, strict=True):
        assert again.readings == frame.readings and set(frame.readings) == {"tth", "i0", "blower-temperature"}
    assert [type(event) for event in growing.end()] == [ScanEnd]


def test_frames_of_lima_have_the_counters_that_bliss_writes_elsewhere(shared: Path, tmp_path: Path) -> None:
    recorded = shared / "filewatch/esrf_id11_demoh5/demoh5_dataset"
    lima = tmp_path / "scan0001/marana_0000.h5"
    lima.parent.mkdir()
    shutil.copy(recorded / "scan0001/marana_0000.h5", lima)
    with h5py.File(recorded / "demoh5_dataset.h5") as source, h5py.File(tmp_path / "rack.h5", "w") as file:
        source.copy("1.1", file)
        del file["1.1/measurement/marana"], file["1.1/instrument/marana/data"]  # these come when the scan is over
        epoch = list(file["1.1/measurement/epoch"])
    growing = Growing(str(lima), look(str(lima)).scans[0])
    assert growing.start.name == "rack_1.1" and growing.start.uid == f"file:{lima}"
    frames = list(growing.advance(0.0))
    assert [frame.readings["epoch"] for frame in frames] == [frame.absolute_time for frame in frames] == epoch
    assert [type(event) for event in growing.end()] == [ScanEnd]


def test_a_dataset_that_grows_otherwise_than_the_frames_is_told_to_be_no_reading_of_theirs(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, count in (("slow", 2), ("fast", 12), ("fixed", 1)):
            file.create_dataset(f"entry/sample/{name}", data=np.arange(float(count)), maxshape=(None,))
        file.create_dataset("entry/data/data", data=IMAGES, maxshape=(None, 12, 16), **CHUNKED)
    growing = Growing(str(tmp_path / "x.h5"), look(str(tmp_path / "x.h5")).scans[0])
    assert len(list(growing.advance(0.0, finished=True))) == 6
    told = [event.text for event in growing.end() if isinstance(event, Note)]
    assert ["fast has 12 values for 6 frames" in text or "slow has 2 values for 6 frames" in text for text in told] == [
        True,
        True,
    ]
