"""Recordings that are one scan together: nothing is shifted, whatever is missing."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from recordings import events, frames_of, only, texts_of, tiffs

from stream.events import EndStatus, Frame, ScanEnd, ScanStart
from stream.sources import files


def line(folder: Path, number: int, frames: int = 3, shape: tuple[int, int] = (4, 5)) -> Path:
    """A file of frames whose first pixel is 10 number + frame."""
    path = folder / f"line_{number}.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data/data", (frames, *shape), "u2", chunks=(1, *shape))
        for frame in range(frames):
            data[frame] = 10 * number + frame
    return path


def first_pixels(found: list[Frame]) -> dict[int, int]:
    return {frame.index: int(only(frame.payloads)[0, 0]) for frame in found}


def test_files_of_a_line_each_are_one_scan(tmp_path: Path) -> None:
    paths = [line(tmp_path, number) for number in range(3)]
    start, *frames, end = events(*paths, join=True)
    assert isinstance(start, ScanStart) and isinstance(end, ScanEnd)
    assert {event.scan for event in frames} == {end.scan} == {start.uid}
    assert first_pixels(frames_of(frames)) == {3 * row + column: 10 * row + column for row, column in np.ndindex(3, 3)}
    assert end.announced == 9 and end.status is EndStatus.COMPLETE


def test_a_line_that_is_cut_short_shifts_nothing(tmp_path: Path) -> None:
    paths = [line(tmp_path, number, 2 if number == 1 else 3) for number in range(3)]
    found = events(*paths, join=True)
    assert first_pixels(frames_of(found)) == {0: 0, 1: 1, 2: 2, 3: 10, 4: 11, 6: 20, 7: 21, 8: 22}
    assert isinstance(found[-1], ScanEnd) and found[-1].announced == 9


def test_a_last_line_that_is_cut_short_has_no_holes_behind_it(tmp_path: Path) -> None:
    found = events(line(tmp_path, 0), line(tmp_path, 1, 1), join=True)
    assert isinstance(found[-1], ScanEnd) and found[-1].announced == 4


def test_frames_beyond_the_room_of_a_recording_are_left_out_and_told(tmp_path: Path) -> None:
    paths = [line(tmp_path, number, 2 if number == 0 else 3) for number in range(3)]
    found = events(*paths, join=True)
    assert first_pixels(frames_of(found)) == {0: 0, 1: 1, 2: 10, 3: 11, 4: 20, 5: 21}
    texts = texts_of(found)
    assert len(texts) == 2 and all(
        "has 3 frames, but the first of the joined scans 2: 1 are left out" in text for text in texts
    )


def test_a_recording_of_another_shape_is_left_out_and_told_and_keeps_its_place(tmp_path: Path) -> None:
    paths = [line(tmp_path, number, shape=(6, 7) if number == 1 else (4, 5)) for number in range(3)]
    found = events(*paths, join=True)
    assert sorted(frame.index for frame in frames_of(found)) == [0, 1, 2, 6, 7, 8]
    (text,) = texts_of(found)
    assert "line_1.h5" in text and "(6, 7)" in text and "left out" in text


def test_series_of_images_are_joined_with_holes_where_files_are_missing(tmp_path: Path) -> None:
    tiffs(tmp_path, [1, 2, 3], "row1_{}.tif")
    tiffs(tmp_path, [1, 3], "row2_{}.tif")
    found = events(tmp_path, join=True, number="name")
    assert [frame.index for frame in frames_of(found)] == [0, 1, 2, 3, 5]


def test_one_recording_joined_is_the_recording_itself(tmp_path: Path) -> None:
    path = line(tmp_path, 0)
    (plain, *_), (start, *rest) = events(path), events(path, join=True)
    assert isinstance(plain, ScanStart) and isinstance(start, ScanStart)
    assert (start.uid, start.expected) == (plain.uid, 3) and len(frames_of(rest)) == 3


def test_another_file_among_the_joined_ones_makes_another_recording_of_it(tmp_path: Path) -> None:
    paths = [line(tmp_path, number) for number in range(3)]
    (first, *_), (second, *_) = events(*paths[:2], join=True), events(paths[0], paths[2], join=True)
    assert isinstance(first, ScanStart) and isinstance(second, ScanStart)
    assert first.uid == second.uid and first.fingerprint != second.fingerprint


@pytest.mark.parametrize("taken", [2, 4])
def test_a_joined_scan_that_is_stopped_says_so(tmp_path: Path, taken: int) -> None:
    """Within a recording, and just behind one."""
    source = files.create(files.Config(files=tuple(str(line(tmp_path, n)) for n in range(3)), join=True))
    found = []
    for event in source.events():
        found.append(event)
        if len(found) == taken:
            source.close()
    assert isinstance(found[-1], ScanEnd) and found[-1].status is EndStatus.STOPPED
