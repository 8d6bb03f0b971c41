"""A frame that several receivers have is taken once, counted, and told loudly where its copies are not the same."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import committed, wait_for
from dectris_messages import array, pixels
from receivers import Detector, end, image, of_detectors, running, start, written_parts

from sinks.check import check
from sinks.receivers import master
from stream.commands import dividing
from stream.events import FrameStatus
from stream.testing import examples

OWNERS = np.arange(40) % 3


def test_of_a_frame_that_two_receivers_have_one_is_taken_and_the_other_counted(tmp_path: Path) -> None:
    copies = [(1, examples.frame(3)), (2, examples.frame(3)), (0, examples.frame(8))]
    path = master.make(written_parts(tmp_path, OWNERS, copies), tmp_path / "scan.h5")
    verdict = check(path)
    assert verdict.sound and "2 duplicate" in verdict.line(), verdict.line()
    with h5py.File(path) as file:
        states, copied = file["entry/ledger/status"][()], file["entry/ledger/copies"][()]
        assert np.flatnonzero(states == FrameStatus.DUPLICATE).tolist() == [3, 8]
        assert copied[[2, 3, 8]].tolist() == [1, 3, 2] and int(file["entry/ledger/repeats"][0]) == 3
        assert int(file["entry/ledger/counts"][()].sum()) == 40
    assert not dividing.told(path, "scan").troubles


def test_copies_with_other_pixels_are_told_in_the_file_by_check_and_by_the_exit_code(tmp_path: Path) -> None:
    other = replace(examples.frame(8), payloads=examples.frame(9).payloads)
    path = master.make(written_parts(tmp_path, OWNERS, [(0, other), (1, examples.frame(3))]), tmp_path / "scan.h5")
    verdict = check(path)
    assert not verdict.sound and verdict.total == 1
    assert verdict.problems[0] == "frame 8: scan.r0.h5, which counts, and scan.r2.h5 have different pixels of it"
    with h5py.File(path) as file:
        assert file["entry/ledger/differing"][()].tolist() == [8]
        assert "frame 8: scan.r0.h5" in file["entry/ledger/notes"][0].decode()
        np.testing.assert_array_equal(file["entry/data/data"][8], examples.image(9))
    (told,) = dividing.told(path, "scan").troubles
    assert "1 frames came more than once, with different pixels (the first: frame 8)" in told


def test_a_copy_that_was_taken_out_of_a_part_afterwards_is_noticed(tmp_path: Path) -> None:
    path = master.make(written_parts(tmp_path, OWNERS, [(2, examples.frame(3))]), tmp_path / "scan.h5")
    with h5py.File(tmp_path / "scan.r2.h5", "r+") as file:
        file["entry/ledger/status"][3] = FrameStatus.MISSING
    assert not check(path).sound


@pytest.mark.slow
def test_frames_that_come_again_when_a_receiver_is_back_are_in_the_master_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = Detector(), Detector()
    parts = [tmp_path / f"1_frames.r{number}.h5" for number in range(2)]
    try:
        with running(of_detectors(tmp_path, (one, two), scans=1), 2, one, two) as (receivers, codes):
            one.send(start(40), *(image(index) for index in range(0, 20, 2)))
            two.send(*(image(index) for index in range(1, 20, 2)))
            wait_for(lambda: sum(committed(path) for path in parts) == 20, "all frames on disk")
            killed = receivers.processes[1]
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: receivers.processes[1] != killed, "another process")
            # back again: what it had, what the other one has, and one that is not what the other one has
            two.send(*(image(index) for index in (1, 3, 4, 6)))
            two.send(image(8, data={"threshold_1": array(pixels(99), "bslz4")}))
            one.send(*(image(index) for index in range(20, 40, 2)))
            two.send(*(image(index) for index in range(21, 40, 2)), end())
        told = capsys.readouterr().out
        assert codes == [1] and "1 frames came more than once, with different pixels (the first: frame 8)" in told
    finally:
        one.close()
        two.close()
    whole = tmp_path / "1_frames.h5"
    with h5py.File(whole) as file:
        states = file["entry/ledger/status"][()]
        assert len(states) == 40 and np.isin(states, (1, 2, 3)).all(), "none is lost"
        assert np.flatnonzero(file["entry/ledger/copies"][()] > 1).tolist() == [4, 6, 8]
        assert set(np.flatnonzero(states == FrameStatus.DUPLICATE).tolist()) >= {4, 6, 8}
        assert int(file["entry/ledger/counts"][()].sum()) == 40
        for index in range(40):
            np.testing.assert_array_equal(file["entry/data/data"][index], pixels(index))
    verdict = check(whole)
    assert verdict.total == 1 and "frame 8: 1_frames.r0.h5, which counts" in verdict.problems[0], verdict.problems
