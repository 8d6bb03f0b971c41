"""Two processes that write at the same time: nothing is truncated before it is ours, both end with whole files."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from sink_examples import PRODUCT, frame, image, make, pattern, scan

from sinks.check import check
from sinks.file import repair
from sinks.file.swmr import NameTaken, SwmrFile
from stream.claim import Claim, Taken
from stream.commands.main import main
from stream.errors import SinkFailed
from stream.events import ScanEnd

HELPERS = Path(__file__).parent / "helpers"
FRAMES = 6
ROUNDS = 5
"""Of each of twelve kinds."""

WRITER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import kill_harness
from sink_examples import scan
from stream.events import ScanEnd
for line in sys.stdin:
    kind, path, uid, first, options = json.loads(line)
    sink = kill_harness.make(kind, path, flush_frames=2, **options)
    examples = kill_harness.examples(kind)
    print("armed", flush=True)
    sys.stdin.readline()
    sink.start(scan(uid), (examples.PRODUCT,))
    for index in range(first, first + 3):
        sink.write(examples.frame(index))
    print("writing", flush=True)
    sys.stdin.readline()
    for index in range(first + 3, first + 6):
        sink.write(examples.frame(index))
    sink.finish(ScanEnd(uid, expected=first + 6))
    sink.close()
    print(sink.path, flush=True)
"""


@pytest.fixture(scope="module")
def writers() -> Iterator[list["subprocess.Popen[str]"]]:
    """Two processes that write a scan whenever they are told to."""
    command = [sys.executable, "-c", WRITER, str(HELPERS)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(2)
        ]
        yield children
        for child in children:
            child.communicate(timeout=60)


def say(child: "subprocess.Popen[str]", line: str) -> None:
    assert child.stdin is not None
    print(line, file=child.stdin, flush=True)


def hear(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.mark.slow
@pytest.mark.parametrize("same_scan", [False, True], ids=["two detectors", "one scan twice"])
@pytest.mark.parametrize("options", [{}, {"if_exists": "overwrite"}], ids=["number", "overwrite"])
@pytest.mark.parametrize("kind", ["archive", "hdf5", "sparse"])
def test_two_runs_with_one_output_name_both_end_with_whole_files(
    kind: str, options: dict[str, str], same_scan: bool, tmp_path: Path, writers: list["subprocess.Popen[str]"]
) -> None:
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        for place, child in enumerate(writers):
            uid = "01-first" if same_scan else f"0{place}"
            say(child, json.dumps([kind, str(folder / "{scan}.h5"), uid, 10 * place, options]))
        for word in ("armed", "writing"):
            assert [hear(child) for child in writers] == [word, word]
            for child in writers:
                say(child, "go")
        paths = [Path(hear(child)) for child in writers]
        assert {path.name for path in paths} == {"scan42.h5", "scan42_2.h5"}
        assert sorted(path.name for path in folder.iterdir()) == ["scan42.h5", "scan42_2.h5"]
        for place, path in enumerate(paths):
            verdict = check(path)
            assert verdict.sound, verdict.problems
            with h5py.File(path, "r") as file:
                held = np.flatnonzero(file["/entry/ledger/status"][:]).tolist()
            assert held == list(range(10 * place, 10 * place + FRAMES))


def test_a_file_that_somebody_writes_is_not_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "scan.h5"
    first = make("hdf5", path)
    first.start(scan("first"), (PRODUCT,))
    first.write(frame(0))
    second = make("hdf5", path, if_exists="overwrite")
    with caplog.at_level("WARNING", "inbeam"):
        second.start(scan("second"), (PRODUCT,))
    assert "scan.h5 is being written by another process and is not replaced" in caplog.text
    for sink, index in ((first, 1), (second, 5)):
        sink.write(frame(index))
        sink.finish(ScanEnd("", expected=index + 1))
    with h5py.File(path, "r") as one, h5py.File(tmp_path / "scan_2.h5", "r") as other:
        np.testing.assert_array_equal(one["/entry/data/I"][:2], [pattern(0), pattern(1)])
        np.testing.assert_array_equal(other["/entry/data/I"][5], pattern(5))


@pytest.mark.parametrize("kind", ["archive", "hdf5"])
def test_a_scan_of_the_same_run_is_not_replaced_by_the_next(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What `overwrite` replaces is the result of an earlier time."""
    for number, last in enumerate(("out_2.h5", "out_3.h5")):
        sink = make(kind, tmp_path / "out.h5", if_exists="overwrite")
        for uid in ("first", "second"):
            sink.start(scan(f"{uid} {number}"), (PRODUCT,))
            sink.write(frame(0))
            sink.finish(ScanEnd("", expected=1))
        for name, uid in (("out.h5", "first"), (last, "second")):
            held = repair.find(tmp_path / name)
            assert held is not None and held.complete and held.uid == f"{uid} {number}"
    assert "out.h5 has another scan of this run and is not replaced" in caplog.text


def test_with_if_exists_fail_the_second_run_is_refused(tmp_path: Path) -> None:
    options = {"if_exists": "fail"}
    first = make("archive", tmp_path / "scan.h5", **options)
    first.start(scan("first"), ())
    with pytest.raises(SinkFailed, match=r"scan\.h5 is being made by another process"):
        make("archive", tmp_path / "scan.h5", **options).start(scan("second"), ())
    first.write(frame(0))
    with pytest.raises(SinkFailed, match="is there already"):
        make("archive", tmp_path / "scan.h5", **options).start(scan("second"), ())
    first.finish(ScanEnd("first", expected=1))
    with h5py.File(tmp_path / "scan.h5", "r") as file:
        np.testing.assert_array_equal(file["/entry/data/data"][0], image(0))


@pytest.mark.slow
def test_with_if_exists_fail_a_scan_that_another_process_writes_is_refused(
    tmp_path: Path, writers: list["subprocess.Popen[str]"]
) -> None:
    path = tmp_path / "scan.h5"
    child = writers[0]
    say(child, json.dumps(["hdf5", str(path), "01-first", 0, {}]))
    say(child, "go")
    assert [hear(child), hear(child)] == ["armed", "writing"]
    with pytest.raises(SinkFailed, match=r"scan\.h5 is opened by someone else \(pid .*\), who writes it"):
        make("hdf5", path, if_exists="fail").start(scan(), (PRODUCT,))
    say(child, "go")
    assert hear(child) == str(path)
    assert check(path).sound


def test_a_name_that_is_being_made_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    claim = Claim.take(path)
    with pytest.raises(Taken):
        Claim.take(path)
    os.write(claim.descriptor, b"whole")
    claim.publish(overwrite=False)
    with pytest.raises(NameTaken, match=r"x\.h5: a file of this name is there already"):
        SwmrFile.create(path)
    claim.release()
    assert path.read_bytes() == b"whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.h5"]


@pytest.mark.parametrize("left", ["file", "link", "dangling link", "other name"])
def test_what_a_killed_process_left_is_removed_and_what_a_link_names_is_not_touched(left: str, tmp_path: Path) -> None:
    path, temporary, elsewhere = tmp_path / "x.h5", tmp_path / ".x.h5.new", tmp_path / "thesis.tex"
    if left != "dangling link":
        elsewhere.write_bytes(b"five years of work")
    if left == "file":
        temporary.write_bytes(b"half a layout")
    elif left == "other name":
        os.link(elsewhere, temporary)
    else:
        temporary.symlink_to(elsewhere)
    sink = make("hdf5", path)
    sink.start(scan(), (PRODUCT,))
    sink.write(frame(0))
    sink.finish(ScanEnd("01-first", expected=1))
    assert check(path).sound
    assert not path.is_symlink()
    assert not os.path.lexists(temporary)
    assert elsewhere.exists() == (left != "dangling link")
    if elsewhere.exists():
        assert elsewhere.read_bytes() == b"five years of work"


@pytest.mark.slow
def test_a_folder_in_the_place_of_the_temporary_name_gives_the_scan_another_number(tmp_path: Path) -> None:
    (tmp_path / ".scan.h5.new").mkdir()
    sink = make("hdf5", tmp_path / "scan.h5")
    sink.start(scan(), (PRODUCT,))
    sink.finish(ScanEnd("01-first", expected=0))
    assert sink.path == tmp_path / "scan_2.h5"


@pytest.mark.slow
def test_a_file_system_with_one_kind_of_locks_only_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over NFS HDF5 meets our own lock; here another descriptor of the same file holds one of its kind."""
    take, met = Claim.take, []

    def in_the_way(path: Path, purpose: str = "new") -> Any:
        claim = take(path, purpose)
        met.append(os.open(claim.temporary, os.O_RDWR))
        fcntl.flock(met[0], fcntl.LOCK_SH)
        return claim

    monkeypatch.setattr(Claim, "take", in_the_way)
    sink = make("hdf5", tmp_path / "scan.h5")
    sink.start(scan(), (PRODUCT,))
    os.close(met[0])
    sink.write(frame(0))
    sink.finish(ScanEnd("01-first", expected=1))
    assert check(tmp_path / "scan.h5").sound


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["another run has the name", "it is processed again"])
def test_results_link_to_the_frames_of_their_own_run(again: bool, tmp_path: Path) -> None:
    """Which file that is, is known when the archive has been opened, though it is the later one in the YAML."""
    recorded = tmp_path / "scan.h5"
    with h5py.File(recorded, "w") as file:
        file["entry/data/data"] = np.arange(3 * 600, dtype="u2").reshape(3, 20, 30)
    frames = str(tmp_path / "out" / "frames.h5")
    sinks = [
        {"type": "hdf5", "path": str(tmp_path / "out" / "results.h5"), "link": frames},
        {"type": "archive", "path": frames},
    ]
    config = tmp_path / "pipeline.yaml"
    config.write_text(yaml.safe_dump({"stream": {"type": "files", "files": ["x"]}, "sinks": sinks}))
    command = ["process", "--quiet", str(config), str(recorded)]
    other = make("archive", frames)
    if again:
        assert main(command) == 0
        command.insert(1, "--force")
    else:
        other.start(scan("another detector"), ())
    assert main(command) == 0
    other.close()
    (results,) = [path for path in (tmp_path / "out").glob("results*") if path.stem.endswith("_2") == again]
    with h5py.File(results) as file:
        assert file["entry/frames"].get("data", getlink=True).filename == "frames_2.h5"
        np.testing.assert_array_equal(file["entry/frames/data"][2], np.arange(1200, 1800).reshape(20, 30))
    assert check(results).sound
