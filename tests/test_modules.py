"""Detectors of several modules, a file for each (LAMBDA): one scan, one frame, gaps flagged. Files as the Petra III
ones of 2019 have them: int16, gzip, `sequence_number` from 1, `translation/distance` in pixels."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sinks import archive
from sinks.check import check
from stream.codec.payload import decode
from stream.errors import BadMessage
from stream.events import Encoding, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart
from stream.formats.hdf5.scans import scans
from stream.sources import files
from stream.sources.watch import Config as WatchConfig
from stream.sources.watch import create as watch

SHAPE = (6, 20)
IMAGES = np.random.default_rng(2).integers(0, 99, (3, 10, *SHAPE)).astype("<i2")
PLACES = ((0, 0), (-2, 8), (-2, 15))
"""x, y of the first pixel of each module: columns, rows."""


def write(folder: Path, module: int, part: int | None = None, frames: range = range(10), **changes: Any) -> Path:
    """The file of one module, with its part of the frames."""
    path = folder / (f"scan_m{module}.nxs" if part is None else f"scan_m{module}_part{part:05d}.nxs")
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry/instrument/detector")
        file["entry"].attrs["NX_class"], file["entry/instrument"].attrs["NX_class"] = "NXentry", "NXinstrument"
        detector.attrs["NX_class"] = "NXdetector"
        data = IMAGES[module - 1, frames.start : frames.stop]
        detector.create_dataset(
            "data",
            data=data.astype(changes.get("dtype", "<i2")),
            maxshape=(None, *SHAPE),
            chunks=(1, *SHAPE),
            compression=2,
        )
        detector["sequence_number"] = np.asarray(changes.get("numbers", np.arange(frames.start, frames.stop) + 1), "i4")
        detector["description"] = ["Lambda"]
        detector["translation/distance"] = np.asarray([*changes.get("place", PLACES[module - 1]), 0], "f4")
        detector["translation/distance"].attrs["units"] = "pixel"
        mask = np.zeros((1, *SHAPE), "u4")
        mask[0, 0, module] = 16
        detector["pixel_mask"], detector["saturation_value"] = mask, [4095]
        detector["flatfield"] = np.full((1, *SHAPE), np.nan, "f4")
        detector["collection/frame_numbers"] = [changes.get("told", 10)]
        detector["count_time"] = [100.0]
        detector["count_time"].attrs["units"] = "millisecond"
    return path


def whole(index: int) -> np.ndarray:
    """The frame that the modules make."""
    image = np.full((21, 22), 32767, "i2")
    for module, (x, y) in enumerate(PLACES):
        image[y : y + 6, x + 2 : x + 22] = IMAGES[module, index]
    return image


def events(*paths: Path | str) -> list[Event]:
    return list(files.create(files.Config(files=tuple(str(path) for path in paths))).events())


def frames_of(found: list[Event]) -> list[Frame]:
    return [event for event in found if isinstance(event, Frame)]


def only(frame: Frame) -> np.ndarray:
    (payload,) = frame.payloads.values()
    return decode(payload)


def test_the_modules_of_a_detector_are_one_frame_where_they_lie(tmp_path: Path) -> None:
    for module in (1, 2, 3):
        write(tmp_path, module)
    start, *frames, end = events(tmp_path)
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd)
    assert (start.name, start.shape, start.channels, start.expected) == ("scan", (21, 22), ("default",), 10)
    assert (start.detector.saturation_value, start.detector.count_time_s) == (4095, pytest.approx(0.1))
    np.testing.assert_array_equal([only(frame) for frame in frames], [whole(index) for index in range(10)])
    mask = start.detector.pixel_mask["default"]
    assert mask[6:8].all() and mask[8, :2].tolist() == [0, 0] and mask[0, :2].tolist() == [1, 1]
    assert mask[0, 3] == mask[8, 2] == mask[15, 3] == 16 and not start.detector.flatfield


def test_the_modules_are_decoded_in_the_workers(tmp_path: Path) -> None:
    for module in (1, 2, 3):
        write(tmp_path, module)
    (payload,) = frames_of(events(tmp_path))[0].payloads.values()
    assert payload.encoding is Encoding.TILES
    with h5py.File(tmp_path / "scan_m2.nxs") as file:
        stored = file["entry/instrument/detector/data"].id.read_direct_chunk((0, 0, 0))[1]
    assert stored in bytes(payload.data)


def test_parts_follow_each_other_by_the_numbers_of_their_frames(tmp_path: Path) -> None:
    for module in (1, 2, 3):
        for part in (0, 1, 2):
            write(tmp_path, module, part, range(4 * part, min(10, 4 * part + 4)))
    start, *frames, end = events(tmp_path / "*.nxs")
    assert (start.name, [frame.index for frame in frames], end.announced) == ("scan", list(range(10)), 10)
    np.testing.assert_array_equal([only(frame) for frame in frames], [whole(index) for index in range(10)])


def test_frames_that_a_module_has_lost_are_corrupt_and_shift_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1), write(tmp_path, 3)
    numbers = [number for number in range(1, 12) if number not in (4, 11)]  # it has lost one
    write(tmp_path, 2, frames=range(9), numbers=numbers)
    frames = frames_of(events(tmp_path))
    states = {frame.index: frame.status for frame in frames}
    assert [index for index, status in states.items() if status is FrameStatus.CORRUPT] == [3]
    assert "frame 3 was written without m2" in frames[3].problem
    np.testing.assert_array_equal(only(frames[4])[8:14, :20], IMAGES[1, 3])


def test_a_scan_that_was_stopped_says_how_many_frames_are_missing(tmp_path: Path) -> None:
    for module in (1, 2, 3):
        write(tmp_path, module, frames=range(4))
    *_, end = events(tmp_path)
    assert isinstance(end, ScanEnd) and end.announced == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"place": (0, 3)}, "m2 lies upon another"),
        ({"dtype": "<i4"}, "has int32"),
        ({"numbers": [1, 2, 3, 2, 5, 6, 7, 8, 9, 10]}, "sequence_number goes back to 2"),
    ],
)
def test_modules_that_do_not_fit_together_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write(tmp_path, 1), write(tmp_path, 3)
    write(tmp_path, 2, **changes)
    with pytest.raises(BadMessage, match=words):
        scans(str(tmp_path / "scan_m1.nxs"))


def test_one_module_given_alone_is_told_to_be_one(tmp_path: Path) -> None:
    for module in (1, 2, 3):
        write(tmp_path, module)
    found = events(tmp_path / "scan_m2.nxs")
    assert only(frames_of(found)[0]).shape == SHAPE
    assert ["read alone, as one module or part" in event.text for event in found if isinstance(event, Note)] == [True]


def test_an_archive_of_modules_reads_back_and_passes_the_check(tmp_path: Path) -> None:
    for module in (1, 2, 3):
        write(tmp_path, module)
    start, *frames, end = events(tmp_path)
    sink = archive.create(archive.Config(path=str(tmp_path / "a.h5")))
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd)
    sink.start(start, ())
    for frame in frames:
        sink.write(frame)
    sink.finish(ScanEnd(end.scan, announced=10, expected=10))
    sink.close()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["entry/data/data"], [whole(index) for index in range(10)])
    assert [frame.index for frame in frames_of(events(tmp_path / "a.h5"))] == list(range(10))
    assert check(tmp_path / "a.h5").chunks == 10


def test_modules_that_come_into_a_watched_folder_are_one_scan(tmp_path: Path) -> None:
    source = watch(WatchConfig(type="watch", folder=str(tmp_path), events="poll", scan_idle_s=60.0))
    now = 1000.0
    found = list(source.begin(source.folder.look(), now))
    for part in (0, 1):
        for module in (2, 1, 3):
            write(tmp_path, module, part, range(5 * part, 5 * part + 5))
            now += 0.6
            found += source.step(source.folder.look(), now)
        for _ in range(5):
            now += 1.0
            found += source.step(source.folder.look(), now)
    assert [type(event) for event in found] == [ScanStart, *[Frame] * 10, ScanEnd]
    np.testing.assert_array_equal([only(frame) for frame in frames_of(found)], [whole(index) for index in range(10)])
