"""A receiver whose file somebody held when it was started again has two: the master has the frames of both."""

from pathlib import Path

import h5py
import kill_harness
import numpy as np
import pytest
from sink_examples import scan
from viewing import killed, viewer

from sinks.check import check
from sinks.file import locks
from sinks.receivers import master
from stream.commands import dividing
from stream.config import Config, validate
from stream.events import ScanEnd

FRAMES = 12


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Config, dict[int, list[str | None]]]:
    """Receiver 0 has frames 0 and 1, receiver 1 was killed behind frame 6 and has the rest in another file."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    first, second = tmp_path / "scan.r0.h5", tmp_path / "scan.r1.h5"
    written(first, range(2))
    killed("archive", second, 2, 7)
    with viewer(second):
        assert written(second, range(7, FRAMES)) == tmp_path / "scan.r1_2.h5"
    sinks = [{"type": "archive", "path": str(tmp_path / "scan.h5")}]
    config = validate({"stream": {"type": "stream2", "endpoint": "tcp://127.0.0.1:9"}, "sinks": sinks})
    return config, {0: [str(first)], 1: [str(tmp_path / "scan.r1_2.h5")]}


def written(path: Path, indices: range) -> Path:
    sink = kill_harness.make("archive", path)
    sink.start(scan(expected=FRAMES), (kill_harness.examples("archive").PRODUCT,))
    for index in indices:
        sink.write(kill_harness.examples("archive").frame(index))
    sink.finish(ScanEnd("01-first", announced=FRAMES, expected=FRAMES))
    sink.close()
    assert sink.path is not None
    return sink.path


@pytest.mark.slow
def test_the_master_has_the_frames_of_both_files(
    held: tuple[Config, dict[int, list[str | None]]], tmp_path: Path
) -> None:
    config, files = held
    masters = dividing.Masters(config, 2)
    assert masters.make("scan", "01-first", files) == ([tmp_path / "scan.h5"], [0, 1, 1])
    assert not masters.troubles
    verdict = check(tmp_path / "scan.h5")
    assert verdict.sound, verdict.line()
    with h5py.File(tmp_path / "scan.h5") as file:
        assert file["entry/ledger/status"][()].tolist() == [1] * FRAMES
        assert file["entry/ledger/receiver"][()].tolist() == [0] * 2 + [1] * 5 + [2] * 5
        assert [file[f"{master.GROUP}/{part}/file"][()].decode() for part in "012"] == [
            "scan.r0.h5",
            "scan.r1.h5",
            "scan.r1_2.h5",
        ]
        for index in range(FRAMES):
            assert kill_harness.is_right("archive", file, index), index


@pytest.mark.slow
def test_frames_in_a_file_that_is_still_held_are_told(
    held: tuple[Config, dict[int, list[str | None]]], tmp_path: Path
) -> None:
    config, files = held
    masters = dividing.Masters(config, 2)
    with viewer(tmp_path / "scan.r1.h5"):
        masters.make("scan", "01-first", files)
    (told,) = masters.troubles
    assert "scan.r1.h5" in told and "the 5 frames that it has are not in the file of the whole" in told
    with h5py.File(tmp_path / "scan.h5") as file:
        assert np.flatnonzero(file["entry/ledger/status"][()] == 0).tolist() == [2, 3, 4, 5, 6]
    again = dividing.Masters(config, 2)
    assert again.make("scan", "01-first", files)[0] == [tmp_path / "scan.h5"], "made anew when nobody holds it"
    assert check(tmp_path / "scan.h5").sound and not again.troubles
