"""Strip detectors: datasets (frames, 1280) are frames of one row, where the file says that their rows are frames."""

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from stream.codec.payload import decode
from stream.errors import BadMessage
from stream.events import Event, Frame, ScanStart
from stream.formats.hdf5.growing import Growing
from stream.formats.hdf5.live import look
from stream.formats.hdf5.scans import scans

ROWS = np.random.default_rng(6).integers(0, 5000, (7, 1280)).astype("<u4")
LAYOUTS: dict[str, dict[str, Any]] = {
    "row by row": {"chunks": (1, 1280)},
    "row by row, bslz4": {"chunks": (1, 1280), **hdf5plugin.Bitshuffle()},
    "some rows at a time": {"chunks": (4, 1280), "compression": "gzip", "maxshape": (None, 1280)},
    "parts of rows": {"chunks": (1, 640)},
}


def write(path: Path, place: str = "entry/instrument/mythen/data", **layout: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(place, data=ROWS, **layout)
        detector = file[place].parent
        detector.attrs["NX_class"], detector.parent.attrs["NX_class"] = "NXdetector", "NXinstrument"
        detector["pixel_mask"] = np.arange(1280, dtype="u4") % 2
        file["entry"].attrs["NX_class"] = "NXentry"
        file["entry/measurement/th"] = np.arange(7.0)
    return path


def events(name: str) -> list[Event]:
    (scan,) = scans(name)
    return list(scan.events())


def rows(found: list[Any]) -> list[np.ndarray]:
    return [decode(event.payloads["default"]) for event in found if isinstance(event, Frame)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_a_strip_detector_are_frames(tmp_path: Path, layout: str) -> None:
    start, *frames, _ = events(str(write(tmp_path / "x.h5", **LAYOUTS[layout])))
    assert isinstance(start, ScanStart) and (start.shape, start.expected) == ((1, 1280), 7)
    assert start.detector.pixel_mask["default"].shape == (1, 1280)
    np.testing.assert_array_equal(rows(frames), ROWS[:, None])
    assert [frame.readings["th"] for frame in frames if isinstance(frame, Frame)] == list(range(7))


def test_an_axis_of_length_one_makes_no_difference(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("entry/instrument/mythen/data", data=ROWS[:, None], chunks=(1, 1, 1280))
    start, *frames, _ = events(str(tmp_path / "x.h5"))
    assert isinstance(start, ScanStart) and start.shape == (1, 1280)
    np.testing.assert_array_equal(rows(frames), ROWS[:, None])


def test_a_virtual_dataset_of_rows_is_resolved_to_its_sources(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("d", data=ROWS, chunks=(1, 1280))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = h5py.VirtualLayout((5, 1280), "<u4", maxshape=(None, 1280))
        layout[0:5] = h5py.VirtualSource("raw.h5", "d", (7, 1280))[2:7]
        file.create_virtual_dataset("entry/instrument/mythen/data", layout)
        file["entry/instrument/mythen/data"].attrs["interpretation"] = "spectrum"
    (scan,) = scans(str(tmp_path / "x.h5"))
    assert scan.located.channels["default"][0].path.endswith("raw.h5")
    np.testing.assert_array_equal(rows(list(scan.events())), ROWS[2:, None])


def test_two_dimensions_without_such_a_word_are_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")  # contiguous: 7 rows of an image, for all that is known
    with pytest.raises(BadMessage, match="holds no frames"):
        scans(str(path))
    start, *frames, _ = events(f"{path}::/entry/instrument/mythen/data")
    assert isinstance(start, ScanStart) and start.shape == (7, 1280)
    np.testing.assert_array_equal(rows(frames), ROWS[None])


def test_images_go_before_strips_and_patterns_are_no_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", **LAYOUTS["row by row"])
    with h5py.File(path, "r+") as file:
        file["entry/instrument/eiger/data"] = np.ones((7, 20, 30), "u2")
    start = events(str(path))[0]
    assert isinstance(start, ScanStart) and start.shape == (20, 30)
    with h5py.File(write(tmp_path / "mca.h5", **LAYOUTS["row by row"]), "r+") as file:
        file["entry/instrument/mythen/type"] = "mca"
    with pytest.raises(BadMessage, match="holds no frames"):
        scans(str(tmp_path / "mca.h5"))
    with h5py.File(tmp_path / "results.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update(NX_class="NXdata", signal="I")
        data.create_dataset("I", data=np.ones((7, 1000)), chunks=(1, 1000)).attrs["interpretation"] = "spectrum"
    with pytest.raises(BadMessage, match="holds no frames"):
        scans(str(tmp_path / "results.h5"))


def test_rows_are_taken_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        layout = {"maxshape": (None, 1280), "chunks": (1, 1280)}
        file.create_dataset("entry/instrument/mythen/data", data=ROWS[:2], **layout)
    growing = Growing(str(path), look(str(path)).scans[0])
    found = list(growing.advance(0.0))
    with h5py.File(path, "r+") as file:
        file["entry/instrument/mythen/data"].resize(4, axis=0)
        file["entry/instrument/mythen/data"][2:] = ROWS[2:4]
    found += growing.advance(1.0)
    np.testing.assert_array_equal(rows(found), ROWS[:4, None])
