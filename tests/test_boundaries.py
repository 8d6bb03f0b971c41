"""Which scan is open: pauses within a series that are longer than the time-out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
from pipelines import Kept, frame, scan

from sinks.check import check
from stream import EndStatus, FrameStatus, ScanEnd, ScanStart, registry
from stream.config import RunOptions
from stream.pipeline.boundaries import LEFT_BEHIND_S, Boundaries
from stream.pipeline.chain import Chain
from stream.pipeline.pipeline import Pipeline


def asleep() -> Boundaries:
    """Scan `one`, which has fallen silent."""
    boundaries = Boundaries(5.0, 0.0)
    boundaries.take(scan())
    boundaries.heard(10.0)
    assert boundaries.fall_asleep(15.0) is None
    found = boundaries.fall_asleep(15.1)
    assert found is not None and found[0] == ScanEnd("one", EndStatus.SILENT) and "no message for 5 s" in found[1]
    assert (boundaries.open, boundaries.ended) == (None, 1)
    assert boundaries.fall_asleep(99.0) is None
    return boundaries


def test_a_frame_wakes_the_scan_that_sleeps_and_its_end_ends_it() -> None:
    boundaries = asleep()
    (start, later), note = boundaries.take(frame(7))
    assert (start.uid, start.resumed, start.received) == ("one", True, scan().received) and later.index == 7
    assert (note, boundaries.open, boundaries.ended) == ("", "one", 0)
    assert boundaries.take(ScanEnd("one")) == ((ScanEnd("one"),), "")
    assert (boundaries.open, boundaries.ended) == (None, 1)


def test_an_end_that_comes_late_completes_the_scan_that_sleeps() -> None:
    boundaries = asleep()
    (start, end), _ = boundaries.take(ScanEnd("one"))
    assert (start.uid, end.scan, boundaries.open, boundaries.ended) == ("one", "one", None, 1)
    assert boundaries.take(frame(8)) == ((), "a frame of scan one, which is not open, was left out")


def test_a_scan_sleeps_until_another_begins() -> None:
    boundaries = asleep()
    assert boundaries.take(scan("two")) == ((scan("two"),), "")
    assert boundaries.take(frame(7))[0] == ()
    assert (boundaries.open, boundaries.ended) == ("two", 1)
    (ended, begun), note = boundaries.take(scan("three"))
    assert (ended, begun) == (ScanEnd("two", EndStatus.ABORTED), scan("three")) and "before its end message" in note


def left_behind(uid: str = "one") -> ScanStart:
    """A scan that an earlier process left behind."""
    return replace(scan(uid), resumed=True)


def test_a_scan_that_was_left_behind_does_not_count_unless_something_of_it_comes() -> None:
    for events, count in (
        ([scan("two")], 0),
        ([ScanEnd("one", EndStatus.STOPPED)], 0),
        ([ScanEnd("one")], 1),
        ([frame(7), scan("two")], 1),
        ([frame(7, "other"), scan("two")], 0),
        ([scan("two"), ScanEnd("two")], 1),
    ):
        boundaries = Boundaries(5.0, 0.0)
        for event in (left_behind(), *events):
            boundaries.take(event)
        assert boundaries.ended == count, events


@pytest.mark.parametrize(("event", "count"), [(frame(7), 0), (ScanEnd("one"), 1), (scan("two"), 0)])
def test_one_that_was_left_behind_and_sleeps_counts_when_it_has_ended(event: Any, count: int) -> None:
    boundaries = Boundaries(5.0, 0.0)
    boundaries.take(left_behind())
    assert boundaries.fall_asleep(6.0) is not None and boundaries.ended == 0
    boundaries.take(event)
    assert boundaries.ended == count


def test_the_end_of_a_scan_may_have_gone_to_the_process_that_was_killed() -> None:
    stopped = ScanEnd("one", EndStatus.STOPPED)
    boundaries = Boundaries(None, 0.0)
    boundaries.take(left_behind())
    (end,), _ = boundaries.take(stopped)
    assert isinstance(end, ScanEnd) and end.status is EndStatus.SILENT and "process before" in end.notes[0]

    boundaries.take(left_behind())
    assert boundaries.fall_asleep(LEFT_BEHIND_S) is None
    found = boundaries.fall_asleep(LEFT_BEHIND_S + 0.1)
    assert found is not None and found[0].status is EndStatus.SILENT and "process before" in found[1]
    boundaries.take(frame(7))  # it was only slow
    assert boundaries.open == "one" and boundaries.take(stopped)[0] == (stopped,)


@pytest.mark.parametrize("with_file", [True, False])
def test_after_a_pause_longer_than_the_time_out_the_scan_goes_on_in_the_same_file(
    tmp_path: Path, with_file: bool
) -> None:
    seen = Kept()
    sinks = {"seen": (seen, True)}
    if with_file:
        options = registry.module("sinks", "archive").Config(path=str(tmp_path / "{scan}_{time}.h5"))
        sinks["archive"] = (registry.create("sinks", options), True)
    ended: list[ScanEnd] = []
    pipeline = Pipeline(
        [Chain([])], sinks, RunOptions(scan_timeout_s=0.05), ended=lambda scan, completed: ended.append(completed.end)
    )
    pipeline.put(scan(expected=9))
    for trigger in range(3):
        for index in range(3 * trigger, 3 * trigger + 3):
            pipeline.put(frame(index))
        with seen.got:
            assert seen.got.wait_for(lambda: len(seen.ends) > trigger, timeout=30)  # noqa: B023
    pipeline.put(ScanEnd("one"))
    report = pipeline.close()

    assert sorted({each.index for each in seen.frames}) == list(range(9))
    assert seen.ends[-1].counts[FrameStatus.RECEIVED] == seen.ends[-1].expected == 9
    assert [(each.status, each.lost) for each in report.scans] == [(EndStatus.COMPLETE, 0)]
    assert report.exit_code == 0, report.summary()
    assert [each.status for each in ended[:2]] == [EndStatus.SILENT] * 2
    assert {each.status for each in ended[2:]} == {EndStatus.COMPLETE}  # with the last announced frame it is whole
    if with_file:
        (path,) = tmp_path.glob("*.h5")
        assert check(path).sound
        with h5py.File(path) as file:
            assert file["entry/data/data"][:, 0, 0].tolist() == list(range(9))
