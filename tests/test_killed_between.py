"""A process that was killed when one of its files had frames that the other one had not yet: a map has what its own
file has, each frame once, alone and in the file of several receivers; `check` finds both sound."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import total

from sinks.check import check
from sinks.receivers import master
from sinks.receivers.ledgers import NOBODY
from stream import Frame, ScanEnd, Stored, Work
from stream.commands import dividing
from stream.config import Config, RunOptions, validate
from stream.events import FrameStatus
from stream.pipeline.assembly import Assembly
from stream.pipeline.control import RunControl
from stream.pipeline.gathering import Gathering
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.report import Report
from stream.pipeline.revisions import OptionSet
from stream.testing import examples

COUNT = 12
INTEGRATE = {"type": "integrate", "npt": 20, "unit": "q_nm^-1", "device": "cpu"}
MOTORS = [
    {"motor": "mu", "first": 0, "step": 1, "points": 4},
    {"motor": "phi", "first": 0, "step": 1, "points": 3},
]
MOSAICITY = {"type": "mosaicity", "motors": MOTORS, "place_by": "number"}
MAP = {"type": "map", "fast": {"points": 4}, "slow": {"points": 3}}
BEGIN = examples.scan(expected=COUNT, header=((b"start",),))


class Cut:
    """A sink of a process that is killed before it takes the frames from `first` on."""

    def __init__(self, sink: Any, first: int) -> None:
        self._sink, self._first = sink, first
        self.lane = sink.lane
        self.start, self.tick, self.close, self.finish = sink.start, sink.tick, sink.close, sink.finish

    def write(self, item: Any) -> None:
        if not isinstance(item, Frame) or item.index < self._first:
            self._sink.write(item)


@dataclass(frozen=True)
class Process:
    """One that writes an archive and results. number: which of several receivers, None for the only one."""

    folder: Path
    number: int | None = None
    gatherer: dict[str, Any] = field(default_factory=lambda: MAP)

    @property
    def config(self) -> Config:
        return validate(
            {
                "stream": {"type": "stream2", "endpoint": "tcp://127.0.0.1:9"},
                "processors": [INTEGRATE, self.gatherer],
                "sinks": [
                    {"type": "archive", "path": str(self._named("frames.h5"))},
                    {"type": "hdf5", "path": str(self._named("results.h5"))},
                ],
            }
        )

    @property
    def files(self) -> list[Path]:
        return [self._named("frames.h5"), self._named("results.h5")]

    def _named(self, name: str) -> Path:
        path = str(self.folder / name)
        return Path(path if self.number is None else master.part_name(path, self.number))

    def take(self, frames: Sequence[Frame], *, cut: Sequence[int] = (COUNT, COUNT), ends: bool) -> Report:
        """Go on with what is there. cut: the frame before which each sink is killed."""
        config = self.config
        assembly = Assembly(
            config, RunControl(OptionSet.of(config)), lambda text: made.report.trouble(text), self.folder
        )
        sinks = {
            name: (Cut(sink, first), True)
            for (name, (sink, _)), first in zip(assembly.sinks().items(), cut, strict=True)
        }
        made = Pipeline(
            assembly.chains(1),
            sinks,
            RunOptions(reorder_frames=0, reorder_ms=0),
            control=RunControl(OptionSet.of(config)),
            gatherings=lambda pipeline: assembly.gatherings(pipeline.emit),
            spare=assembly.chain,
        )
        resumed = any(path.exists() for path in self.files)
        made.put(replace(BEGIN, resumed=resumed, part=self.number))
        for frame in frames:
            made.put(frame)
        if ends:
            made.put(ScanEnd(BEGIN.uid, announced=COUNT))
        made.close()
        return made.report


def frames(*numbers: int) -> list[Frame]:
    return [examples.frame(number) for number in numbers]


def mapped(path: Path) -> list[int]:
    """The frames of the points; each has the pattern of its frame, and is covered if it is there."""
    with h5py.File(path) as file:
        index = file["entry/map/frame_index"][()].ravel()
        cube = file["entry/map/I"][()].reshape(COUNT, -1)
        has = index >= 0
        assert index[has].tolist() == np.flatnonzero(has).tolist()
        np.testing.assert_array_equal(cube[has], file["entry/data/I"][()][has])
        assert np.isnan(cube[~has]).all()
        assert np.flatnonzero(file["entry/map/covered_frames"][()]).tolist() == np.flatnonzero(has).tolist()
    return np.flatnonzero(has).tolist()


def with_data(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return np.flatnonzero(np.isin(file["entry/ledger/status"][()], (1, 2, 3))).tolist()


CASES = {
    "results ahead": ((4, 6), [*range(4), *range(8, 12)], [*range(6), *range(8, 12)]),
    "archive ahead": ((6, 4), [*range(6), *range(8, 12)], [*range(4), *range(8, 12)]),
    "archive empty": ((0, 6), [*range(8, 12)], [*range(6), *range(8, 12)]),
}


@pytest.mark.parametrize(("cut", "archived", "found"), CASES.values(), ids=CASES)
def test_a_map_has_what_its_file_has_after_a_kill_between_two_files(
    cut: tuple[int, int], archived: list[int], found: list[int], tmp_path: Path
) -> None:
    process = Process(tmp_path)
    process.take(frames(*range(6)), cut=cut, ends=False)
    report = process.take(frames(*range(8, 12)), ends=True)
    assert report.exit_code == 1 and report.scans[0].counts[FrameStatus.MISSING] == COUNT - len({*archived} & {*found})
    archive, results = process.files
    assert with_data(archive) == archived and with_data(results) == found
    assert mapped(results) == found
    for path in process.files:
        assert check(path).sound, check(path).line()


def test_a_frame_that_is_in_the_map_and_comes_again_after_a_kill_is_there_once(tmp_path: Path) -> None:
    """The archive gets it, which had it not."""
    process = Process(tmp_path)
    process.take(frames(*range(6)), cut=(4, 6), ends=False)
    report = process.take(frames(*range(4, 12)), ends=True)
    assert report.exit_code == 0, report.summary()
    for path in process.files:
        assert with_data(path) == [*range(COUNT)]
        assert check(path).sound, check(path).line()
    assert mapped(process.files[1]) == [*range(COUNT)]
    with h5py.File(process.files[1]) as file:
        assert (file["entry/map/frames"][()] == 1).all()


def test_what_was_read_back_with_something_in_it_is_not_given_to_a_gatherer_again() -> None:
    """One that keeps no account of its own would have it twice in its sums."""
    given: list[Any] = []
    gathering = Gathering("total", total.Total(total.Config()), emit=given.extend, trouble=print)
    gathering.prepare(Work(), OptionSet())
    gathering.start(BEGIN, ())
    stored = Stored(np.ones(2, np.uint8))
    gathering.restart(stored, lambda numbers: [examples.frame(0), replace(examples.frame(1), payloads={})])
    for number in range(3):
        gathering.write(examples.frame(number))
    gathering.finish(ScanEnd(BEGIN.uid, expected=3))
    wanted = sum(examples.image(number).astype(np.int64) for number in range(3))
    np.testing.assert_array_equal(given[-1].pieces["sum"].values, wanted)


@pytest.mark.slow
def test_the_master_of_receivers_that_were_killed_between_their_files_is_sound_and_says_what_it_lacks(
    tmp_path: Path,
) -> None:
    """Frame 2 lies in the results of one receiver alone, frame 7 in the archive of the other alone."""
    first, second = Process(tmp_path, 0), Process(tmp_path, 1)
    first.take(frames(0, 2), cut=(2, COUNT), ends=False)
    first.take(frames(4, 6, 8, 10), ends=True)
    second.take(frames(1, 3, 5, 7), cut=(COUNT, 7), ends=False)
    second.take(frames(9, 11), ends=True)
    masters = dividing.Masters(Process(tmp_path).config, 2)
    files = {part.number: [str(path) for path in part.files] for part in (first, second)}
    (archive, results), _ = masters.make("scan", BEGIN.uid, {number: files[number] for number in (0, 1)})
    assert not masters.troubles, masters.troubles
    for path in (archive, results):
        assert check(path).sound, check(path).line()
    assert with_data(archive) == [0, 1, *range(3, 12)] and with_data(results) == [*range(7), *range(8, 12)]
    assert mapped(results) == [*range(7), *range(8, 12)]
    for path, gone in ((archive, 2), (results, 7)):
        with h5py.File(path) as file:
            assert file["entry/ledger/receiver"][gone] == NOBODY
    told = dividing.told_of([archive, results], "scan").troubles
    lost = "1 frames without data (1 missing): see ledger/status in"
    assert told == (f"scan scan: {lost} {archive}", f"scan scan: {lost} {results}")
    assert len(dividing.told_of([archive, archive], "scan").troubles) == 1, "of the same frames, once"


@pytest.mark.slow
def test_a_master_that_lacks_more_than_the_other_is_told_of(tmp_path: Path) -> None:
    """Only what the archive lacked was, with exit code 0 where the results alone had lost a frame."""
    process = Process(tmp_path, 0)
    process.take(frames(*range(6)), cut=(COUNT, 5), ends=False)
    process.take(frames(*range(6, 12)), ends=True)
    masters = dividing.Masters(Process(tmp_path).config, 1)
    made, _ = masters.make("scan", BEGIN.uid, {0: [str(path) for path in process.files]})
    (told,) = dividing.told_of(made, "scan").troubles
    assert f"1 frames without data (1 missing): see ledger/status in {made[1]}" in told


def covered(path: Path) -> list[int]:
    with h5py.File(path) as file:
        found: list[int] = file["entry/mosaicity/covered_frames"][()].tolist()
    return found


@pytest.mark.slow
def test_sums_of_pixels_say_which_frames_they_cannot_have_because_a_kill_took_them(tmp_path: Path) -> None:
    """Alone, and in the file of several receivers, where another one has one of them."""
    first, second = Process(tmp_path, 0, MOSAICITY), Process(tmp_path, 1, MOSAICITY)
    first.take(frames(*range(6)), cut=(4, COUNT), ends=False)
    report = first.take(frames(6, 7), ends=True)
    assert "mosaicity does not cover 2 frames that have data: 4 to 5" in report.summary() and report.exit_code == 1
    part = first.files[1]
    assert covered(part)[:8] == [1, 1, 1, 1, 2, 2, 1, 1] and not any(covered(part)[8:])
    second.take(frames(4, 8, 9, 10, 11), ends=True)
    masters = dividing.Masters(replace(first, number=None).config, 2)
    files = {each.number: [str(path) for path in each.files] for each in (first, second)}
    (_, whole), _ = masters.make("scan", BEGIN.uid, {number: files[number] for number in (0, 1)})
    assert covered(whole) == [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
    assert [text for text in masters.troubles if "mosaicity does not cover 1 frames that have data" in text]
    with h5py.File(whole) as file:
        wanted = sum(examples.image(number).astype(float) for number in range(COUNT) if number != 5)
        masked = np.eye(*examples.SHAPE) != 0
        np.testing.assert_array_equal(file["entry/mosaicity/sum"][()].squeeze(), np.where(masked, np.nan, wanted))
    for path, lost in ((part, 2), (whole, 1)):
        verdict = check(path)
        assert verdict.sound and f"mosaicity lacks {lost} frames: a kill took their pixels" in verdict.line()


def test_check_reads_no_more_of_what_is_covered_than_the_ledger_has_frames(tmp_path: Path) -> None:
    """A file may say that it is as long as it likes."""
    process = Process(tmp_path)
    process.take(frames(*range(COUNT)), ends=True)
    path = process.files[1]
    with h5py.File(path, "r+") as file:
        file["entry/map/covered_frames"].resize(1 << 44, axis=0)
    assert check(path).sound, check(path).line()
