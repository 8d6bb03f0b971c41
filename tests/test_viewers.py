"""A viewer that holds a file open, as the README says how, must never cost a frame when its writer starts again."""

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import kill_harness
import numpy as np
import pytest
from commands import committed, inbeam, simulated_file, small_pipeline, wait_for
from sink_examples import scan
from viewing import killed, viewer

from sinks.check import check
from sinks.file import locks
from sinks.file.holders import holders
from sinks.file.ledger_reader import read
from sinks.file.repair import find
from stream.commands.main import main
from stream.errors import SinkFailed
from stream.events import ScanEnd

FRAMES = 12


def right(kind: str, path: Path) -> list[int]:
    """The frames that a file says to have, and has."""
    with h5py.File(path, "r") as file:
        held = np.flatnonzero(read(file).states).tolist()
        assert all(kill_harness.is_right(kind, file, index) for index in held)
        return held


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("if_exists", ["number", "overwrite"])
@pytest.mark.parametrize("kind", ["archive", "hdf5", "sparse"])
def test_with_a_viewer_that_stays_the_scan_goes_on_in_a_numbered_file(
    kind: str, if_exists: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scan.h5"
    killed(kind, path, 0, 5, if_exists)
    with viewer(path) as process, caplog.at_level("WARNING", "inbeam"):
        sink = kill_harness.make(kind, path, if_exists=if_exists)
        stored = sink.start(scan(expected=FRAMES), (kill_harness.examples(kind).PRODUCT,))
        assert f"scan.h5 is opened by someone else (pid {process.pid}, " in caplog.text
        assert stored.states.tolist() == [1] * 5
        for index in range(5, FRAMES):
            sink.write(kill_harness.examples(kind).frame(index))
        sink.finish(ScanEnd("01-first", announced=FRAMES, expected=FRAMES))
        sink.close()
        verdict = check(tmp_path / "scan_2.h5")
        assert verdict.sound, verdict.problems
        assert "(7 received, 5 in scan.h5, which it continues)" in verdict.line()
        assert "its scan goes on in scan_2.h5" in check(path).line()
    with h5py.File(tmp_path / "scan_2.h5") as file:
        assert file["entry/ledger/elsewhere"].attrs["file"] == "scan.h5"
        assert file["entry/ledger/elsewhere"][:5].tolist() == [1] * 5
        assert b"continues scan.h5, which has 5 frames from 0 to 4" in file["entry/ledger/notes"][0]
    assert main(["recover", str(path)]) == 0
    assert right(kind, path) == list(range(5))
    assert right(kind, tmp_path / "scan_2.h5") == list(range(5, FRAMES))
    assert check(path).sound and "goes on in scan_2.h5" in check(path).line()
    again = kill_harness.make(kind, path, if_exists=if_exists)
    stored = again.start(scan(expected=FRAMES), (kill_harness.examples(kind).PRODUCT,))
    assert stored.complete and stored.states[:FRAMES].tolist() == [1] * FRAMES
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "hdf5", "sparse"])
def test_a_viewer_that_looks_and_goes_is_waited_for(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.h5"
    killed(kind, path, 0, 5)
    monkeypatch.setattr(locks, "PATIENCE_S", 30.0)
    with viewer(path) as process:
        pauses, sleep = [], time.sleep

        def pause(seconds: float) -> None:
            if seconds != locks.PAUSE_S:  # another's
                sleep(seconds)
                return
            pauses.append(seconds)
            if len(pauses) == 3:
                process.communicate(timeout=30)

        monkeypatch.setattr(time, "sleep", pause)
        sink = kill_harness.make(kind, path)
        stored = sink.start(scan(expected=FRAMES), (kill_harness.examples(kind).PRODUCT,))
        monkeypatch.undo()
        assert len(pauses) == 3
    assert sink.path == path
    assert stored.states.tolist() == [1] * 5
    sink.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "hdf5", "sparse"])
def test_the_last_of_several_parts_is_gone_on_with(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    second, third = tmp_path / "scan_2.h5", tmp_path / "scan_3.h5"
    assert killed(kind, path, 0, 3) == path
    with viewer(path):
        assert killed(kind, path, 3, 5) == second
        assert killed(kind, path, 5, 7) == second, "nobody holds this one"
        with viewer(second):
            assert killed(kind, path, 7, 9) == third
    sink = kill_harness.make(kind, path)
    stored = sink.start(scan(expected=FRAMES), (kill_harness.examples(kind).PRODUCT,))
    assert stored.states.tolist() == [1] * 9
    for index in range(9, FRAMES):
        sink.write(kill_harness.examples(kind).frame(index))
    sink.finish(ScanEnd("01-first", announced=FRAMES, expected=FRAMES))
    sink.close()
    assert find(second) is not None
    for part in (path, second):
        main(["recover", str(part)])
    assert [right(kind, part) for part in (path, second, third)] == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11]]
    for part in (path, second, third):
        assert check(part).sound, check(part).problems
    second.rename(tmp_path / "moved.h5")
    assert "scan_2.h5, which this file continues, is not there: it has 7 frames of the scan" in check(third).line()


@pytest.mark.slow
def test_a_first_part_that_has_lost_frames_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    killed("hdf5", path, 0, 3)
    with viewer(path):
        killed("hdf5", path, 3, 5)
    for part in (path, tmp_path / "scan_2.h5"):
        main(["recover", str(part)])
    with h5py.File(path, "r+", libver="v110") as file:
        file["entry/ledger/status"][1] = 0
    assert "frame 1 is not in scan.h5, which had it when this file began" in check(tmp_path / "scan_2.h5").problems


@pytest.mark.slow
def test_a_run_that_is_killed_under_a_viewers_eyes_ends_with_every_frame(tmp_path: Path) -> None:
    recorded = simulated_file(tmp_path, 1500)
    config = small_pipeline(tmp_path, recorded, workers=1)
    results, frames = tmp_path / "out/recorded.h5", tmp_path / "out/recorded_frames.h5"
    process = subprocess.Popen(inbeam("process", "--quiet", str(config), str(recorded)))
    wait_for(lambda: committed(results) > 50 and committed(frames) > 50, "frames on disk, in both files")
    process.send_signal(signal.SIGSTOP)
    with viewer(results) as one, viewer(frames):
        process.kill()
        process.wait()
        told = subprocess.run(
            inbeam("process", "--quiet", str(config), str(recorded)), capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stderr
        assert f"pid {one.pid}, " in told.stderr
    for name in ("recorded", "recorded_frames"):
        main(["recover", str(tmp_path / "out" / f"{name}.h5")])
        with h5py.File(tmp_path / f"out/{name}.h5") as first, h5py.File(tmp_path / f"out/{name}_2.h5") as second:
            have = [read(file).states == 1 for file in (first, second)]
        assert len(have[1]) == 1500
        before = np.pad(have[0], (0, 1500 - len(have[0])))
        assert (before ^ have[1]).all(), "each frame is in one of them, none in both"
        verdict = check(tmp_path / f"out/{name}_2.h5")
        assert verdict.sound, verdict.problems


@pytest.mark.slow
def test_what_cannot_be_repaired_names_who_holds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scan.h5"
    killed("hdf5", path, 0, 5)
    with viewer(path) as process:
        assert main(["recover", str(path)]) == 1
        assert f"is opened by someone else (pid {process.pid}, " in capsys.readouterr().err
        with pytest.raises(SinkFailed, match=rf"opened by someone else \(pid {process.pid}, .*\): close it there"):
            kill_harness.make("hdf5", path, if_exists="fail").start(
                scan(expected=FRAMES), (kill_harness.examples("hdf5").PRODUCT,)
            )


def test_who_holds_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.touch()
    assert holders(path) == "" == holders(tmp_path / "nothing")
    with path.open() as mine:
        fcntl.flock(mine, fcntl.LOCK_SH)
        assert holders(path) == "", "it is ourselves"
    program = "import sys; file = open(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        assert holders(path).startswith(f"pid {other.pid}, {sys.executable[:50]}")
        other.communicate()
