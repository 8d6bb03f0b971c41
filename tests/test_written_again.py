"""Image files that are written again under their names: what they hold then is a frame, or it is told."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import fabio
import numpy as np
import pytest
from watched import Driven, images, indices, kinds, running, until

from stream.events import EndStatus, Event, Frame, FrameStatus, Note, ScanEnd, ScanStart

PIXELS = np.random.default_rng(9).integers(0, 60, (300, 9, 13)).astype("u2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "watched"
    made.mkdir()
    return made


@cache
def tiff(folder: Path, number: int) -> bytes:
    """The same bytes for the same number: fabio writes the date into a TIFF."""
    scratch = folder.parent / "scratch.tif"
    fabio.tifimage.TifImage(data=PIXELS[number]).write(str(scratch))
    return scratch.read_bytes()


def in_place(path: Path, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()


def renamed_over(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.tmp")
    new.write_bytes(data)
    os.rename(new, path)


def deleted_and_written(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


WAYS = pytest.mark.parametrize("again", [in_place, renamed_over, deleted_and_written])


def pixels(events: list[Event]) -> list[int]:
    """Which of PIXELS the frames hold."""
    return [next(n for n, known in enumerate(PIXELS) if np.array_equal(known, image)) for image in images(events)]


def notes(events: list[Event], *, harmless: bool) -> list[str]:
    return [event.text for event in events if isinstance(event, Note) and event.harmless is harmless]


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events if isinstance(event, ScanStart)]


class Watched(Driven):
    """The same with files that have times of their own: the kernel's clock is coarser than these tests are fast."""

    times = 1_000_000_000

    def write(self, folder: Path, number: int, name: str, again: Callable[[Path, bytes], None] | None = None) -> None:
        path = folder / name
        if again is None:
            path.write_bytes(tiff(folder, number))
        else:
            again(path, tiff(folder, number))
        self.times += 1
        os.utime(path, (self.times, self.times))


@WAYS
def test_a_name_without_a_number_that_is_written_again_and_again_is_one_frame_after_another(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    watched = Watched(folder, scan_idle_s=60.0)
    watched.begin()
    watched.write(folder, 0, "latest.tif")
    events = watched.settle()
    for number in (1, 2, 3):
        watched.write(folder, number, "latest.tif", again)
        events += watched.settle()
    assert names(events) == ["watched"] and indices(events) == [0, 1, 2, 3] and pixels(events) == [0, 1, 2, 3]
    (end,) = watched.step(70.0)
    assert isinstance(end, ScanEnd) and end.announced == 4
    watched.write(folder, 4, "latest.tif", again)
    events = watched.settle()
    assert names(events) == ["watched_2"] and indices(events) == [0] and pixels(events) == [4]


@WAYS
@pytest.mark.parametrize("events", ["native", "poll"])
def test_a_name_that_is_written_again_gives_its_next_frame_natively_and_by_polling(
    folder: Path, again: Callable[[Path, bytes], None], events: str
) -> None:
    with running(folder, events=events, poll_s=0.02, settle_s=0.02 if events == "poll" else 100.0) as (_, found):
        path = folder / "latest.tif"
        path.write_bytes(tiff(folder, 0))
        taken = until(found, Frame)
        for number in (1, 2):
            again(path, tiff(folder, number))
            taken += until(found, Frame)
    assert indices(taken) == [0, 1, 2] and pixels(taken) == [0, 1, 2]


@WAYS
def test_a_numbered_file_written_again_in_an_open_scan_begins_a_further_part_behind_it(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    watched = Watched(folder, scan_idle_s=60.0)
    watched.begin()
    for number in range(4):
        watched.write(folder, number, f"img_{number}.tif")
    assert indices(watched.settle()) == [0, 1, 2, 3]
    watched.write(folder, 102, "img_2.tif", again)
    (note,) = watched.settle()
    assert (
        isinstance(note, Note) and note.harmless and "img_2.tif was written again while its scan is open" in note.text
    )
    watched.write(folder, 4, "img_4.tif")
    assert indices(watched.settle()) == [4]  # the scan goes on, nothing is split
    events = watched.step(70.0)
    assert kinds(events) == ["ScanEnd", "ScanStart", "Frame"] and names(events) == ["img_2"]
    assert pixels(events) == [102] and not notes(events, harmless=False)


@WAYS
def test_a_series_recorded_anew_while_its_scan_is_open_is_a_scan_of_its_own_at_once(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    watched = Watched(folder, scan_idle_s=None)
    watched.begin()
    for number in range(30):
        watched.write(folder, number, f"img_{number:02d}.tif")
    assert indices(watched.settle()) == list(range(30))
    events: list[Event] = []
    for number in range(30):
        watched.write(folder, 100 + number, f"img_{number:02d}.tif", again)
        events += watched.settle()
        if number == 1:
            assert names(events) == ["img_2"] and indices(events) == [0, 1]
    assert [kind for kind in kinds(events) if kind != "Frame"] == ["Note", "ScanEnd", "ScanStart"]
    assert indices(events) == list(range(30)) and pixels(events) == list(range(100, 130))


@WAYS
def test_a_scan_of_one_file_that_is_written_again_is_followed_by_a_further_part_at_once(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    watched = Watched(folder, scan_idle_s=None)
    watched.begin()
    watched.write(folder, 0, "snap_7.tif")
    events = watched.settle()
    for number in (1, 2):
        watched.write(folder, number, "snap_7.tif", again)
        events += watched.settle()
    assert names(events) == ["snap", "snap_2", "snap_3"] and pixels(events) == [0, 1, 2]
    assert not notes(events, harmless=False)


@WAYS
def test_a_series_recorded_anew_after_its_scan_has_ended_is_a_further_part(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    watched = Watched(folder, scan_files=20)
    watched.begin()
    for number in range(20):
        watched.write(folder, number, f"img_{number}.tif")
    assert kinds(watched.settle())[-1] == "ScanEnd"
    for number in range(20):
        watched.write(folder, 100 + number, f"img_{number}.tif", again)
    events = watched.settle()
    assert names(events) == ["img_2"] and kinds(events)[-1] == "ScanEnd"
    assert pixels(events) == list(range(100, 120)) and indices(events) == list(range(20))


@WAYS
def test_a_series_recorded_anew_is_seen_natively_after_its_scan_has_ended(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    with running(folder, events="native", scan_files=2, settle_s=100.0) as (_, found):
        for number in (0, 1):
            (folder / f"img_{number}.tif").write_bytes(tiff(folder, number))
        first = until(found, ScanEnd)
        for number in (0, 1):
            again(folder / f"img_{number}.tif", tiff(folder, 10 + number))
        second = until(found, ScanEnd)
    assert names(first) == ["img"] and pixels(first) == [0, 1]
    assert names(second) == ["img_2"] and pixels(second) == [10, 11] and not notes(second, harmless=False)


@pytest.mark.slow
@WAYS
def test_polling_finds_every_file_of_many_that_is_overwritten(
    folder: Path, again: Callable[[Path, bytes], None]
) -> None:
    watched = Watched(folder, scan_idle_s=10.0)
    watched.begin()
    for number in range(250):
        watched.write(folder, number % 100, f"img_{number}.tif")
    assert len(indices(watched.settle() + watched.step(10.0))) == 250
    for number in (3, 77, 140, 249):
        watched.write(folder, 200 + number % 50, f"img_{number}.tif", again)
    events: list[Event] = []
    for _ in range(20):
        events += watched.step(1.1) + watched.step(9.0)
    assert not notes(events, harmless=False)
    assert sorted(pixels(events)) == sorted(200 + number % 50 for number in (3, 77, 140, 249))


def test_the_same_content_again_is_nothing_new(folder: Path) -> None:
    watched = Watched(folder, scan_idle_s=60.0)
    watched.begin()
    for number in range(3):
        watched.write(folder, number, f"img_{number}.tif")
    assert indices(watched.settle()) == [0, 1, 2]
    for way in (in_place, renamed_over, deleted_and_written):
        for number in range(3):
            watched.write(folder, number, f"img_{number}.tif", way)
        assert watched.settle() == []
    assert kinds(watched.step(70.0)) == ["ScanEnd"]


def test_the_same_pixels_with_another_header_are_another_frame(folder: Path) -> None:
    watched = Driven(folder, scan_idle_s=None)
    watched.begin()
    events: list[Event] = []
    for moment in (100, 200):
        fabio.edfimage.EdfImage(data=PIXELS[0], header={"time_of_day": str(moment)}).write(str(folder / "dark.edf"))
        os.utime(folder / "dark.edf", (moment, moment))
        events += watched.settle()
    frames = [event for event in events if isinstance(event, Frame)]
    assert [(frame.index, frame.detector_time) for frame in frames] == [(0, 100.0), (1, 200.0)]


def test_a_file_written_twice_more_before_it_could_be_taken_is_told(folder: Path) -> None:
    watched = Watched(folder, scan_idle_s=60.0)
    watched.begin()
    for number in range(3):
        watched.write(folder, number, f"img_{number}.tif")
    events = watched.settle()
    for number in (101, 201):
        watched.write(folder, number, "img_1.tif", in_place)
        events += watched.settle()
    (lost,) = notes(events, harmless=False)
    assert "img_1.tif was written again twice before it could be taken" in lost
    assert pixels(watched.step(70.0)) == [201]


def test_what_waits_when_the_watch_is_stopped_or_another_series_begins_is_taken_or_told(folder: Path) -> None:
    def interrupted() -> Iterator[tuple[Watched, list[Event]]]:
        watched = Watched(folder, scan_idle_s=None)
        watched.begin()
        for number in range(3):
            watched.write(folder, number, f"img_{number}.tif")
        watched.settle()
        watched.write(folder, 101, "img_1.tif", in_place)
        yield watched, watched.settle()
        shutil.rmtree(folder)
        folder.mkdir()

    for watched, events in interrupted():
        assert kinds(events) == ["Note"]
        events = list(watched.source._end(EndStatus.STOPPED))
        assert kinds(events) == ["Note", "ScanEnd"] and "img_1.tif, written again" in notes(events, harmless=False)[0]
    for watched, _ in interrupted():
        watched.write(folder, 7, "other_0.tif")
        events = watched.settle()
        assert names(events) == ["img_2", "other"] and pixels(events) == [101, 7]
        assert not notes(events, harmless=False)
        watched.write(folder, 202, "img_2.tif", in_place)
        events = watched.settle() + watched.step(6.0)
        assert names(events) == ["img_3"] and pixels(events) == [202] and not notes(events, harmless=False)


def test_a_file_that_waits_and_is_deleted_before_its_turn_is_told(folder: Path) -> None:
    watched = Watched(folder, scan_idle_s=60.0)
    watched.begin()
    for number in range(3):
        watched.write(folder, number, f"img_{number}.tif")
    watched.settle()
    watched.write(folder, 101, "img_1.tif", in_place)
    watched.settle()
    (folder / "img_1.tif").unlink()
    events = watched.step(70.0)
    assert kinds(events) == ["ScanEnd", "Note"] and "was gone when its turn came" in notes(events, harmless=False)[0]


def stack(folder: Path, name: str, frames: int, times: int) -> None:
    image = fabio.edfimage.EdfImage(data=PIXELS[0])
    for number in range(1, frames):
        image.append_frame(data=PIXELS[number])
    image.write(str(folder / name))
    os.utime(folder / name, (times, times))


@pytest.mark.parametrize("name", ["stack.edf", "stack_0.edf"])
def test_a_file_of_several_frames_that_grows_gives_the_new_ones_alone(folder: Path, name: str) -> None:
    watched = Driven(folder, scan_idle_s=60.0)
    watched.begin()
    events: list[Event] = []
    for frames in (1, 3, 4):
        stack(folder, name, frames, times=1000 + frames)
        events += watched.settle()
    assert kinds(events) == ["ScanStart"] + ["Frame"] * 4
    assert indices(events) == [0, 1, 2, 3] and pixels(events) == [0, 1, 2, 3]


def test_files_that_were_there_before_the_watch_are_frames_only_if_they_are_written_again(folder: Path) -> None:
    watched = Watched(folder, existing=False, scan_idle_s=None)
    for number in range(30):
        watched.write(folder, number, f"img_{number}.tif")
    assert watched.begin() + watched.settle() == []
    watched.write(folder, 105, "img_5.tif", in_place)
    watched.write(folder, 129, "img_29.tif", in_place)
    events = watched.settle()
    assert sorted(pixels(events)) == [105, 129] and len(names(events)) == 1


def test_two_files_with_one_number_are_told_and_not_taken_for_one_sent_twice(folder: Path) -> None:
    watched = Watched(folder, scan_idle_s=None)
    watched.begin()
    watched.write(folder, 1, "img_1.tif")
    watched.write(folder, 2, "img_01.tif")
    events = watched.settle()
    assert len(indices(events)) == 1 and "has the number 1 of a file that was taken" in notes(events, harmless=False)[0]


def test_a_file_with_more_frames_than_the_first_of_its_scan_is_told_and_takes_no_other_files_numbers(
    folder: Path,
) -> None:
    watched = Driven(folder, scan_idle_s=None)
    watched.begin()
    for number, frames in ((0, 2), (1, 3), (2, 2)):
        stack(folder, f"s_{number}.edf", frames, times=1000)
    events = watched.settle()
    assert indices(events) == [0, 1, 2, 3, 4, 5]
    assert all(event.status is FrameStatus.RECEIVED for event in events if isinstance(event, Frame))
    assert (
        "s_1.edf has 3 frames, but the first file of its scan 2: the rest is left out"
        in notes(events, harmless=False)[0]
    )
