"""The past of a series after its regions were moved: computed again from the archive, and kept apart."""

import contextlib
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import yaml
from commands import committed, wait_for
from following import shell
from held_back import held_back
from roi_files import IMAGES, SHAPE, START

import inbeam
from sinks import archive
from stream.commands.demo import free_port
from stream.commands.main import main
from stream.errors import ConfigError
from stream.pipeline.remote import ask
from stream.roles import Counters
from stream.testing import examples

EDITS = [
    {"frame": 3, "path": "processors.roi.regions.a.x", "value": [10, 20]},
    {"frame": 5, "path": "processors.roi.regions.b", "value": {"kind": "rectangle", "x": [5, 9], "y": [5, 9]}},
]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with an archive and two edits; a mask whose path is relative to where it ran."""
    (tmp_path / "ran").mkdir()
    monkeypatch.chdir(tmp_path / "ran")
    mask = np.zeros(SHAPE, "u1")
    mask[2, 12] = 1
    np.save("mask.npy", mask)
    with h5py.File("frames.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
    document = {
        "stream": {"type": "files", "files": ["frames.h5"]},
        "processors": [{"type": "correct", "mask": "mask.npy"}, {"type": "roi", "regions": START, "most": 3}],
        "sinks": [{"type": "archive", "path": "../raw.h5"}, {"type": "hdf5", "path": "../results.h5"}],
    }
    Path("one.yaml").write_text(yaml.safe_dump(document))
    Path("edits.yaml").write_text(yaml.safe_dump(EDITS))
    assert main(["process", "--quiet", "--changes", "edits.yaml", "one.yaml", "frames.h5"]) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.nice", lambda more: more)
    return tmp_path / "results.h5"


MASKED = np.where(np.arange(600).reshape(SHAPE) == 2 * 30 + 12, 0, 1)


def test_the_past_gets_the_regions_of_now_and_the_run_keeps_its_own(results: Path) -> None:
    before = inbeam.columns(results)
    assert main(["recompute", "--quiet", str(results)]) == 0
    after, again = inbeam.columns(results.with_name("results_recomputed.h5")), inbeam.columns(results)
    assert after["a_sum"].tolist() == (IMAGES * MASKED)[:, :10, 10:20].sum((1, 2)).tolist()
    assert after["b_sum"].tolist() == IMAGES[:, 5:9, 5:9].sum((1, 2)).tolist()
    assert set(after["a_masked"]) == {1} and set(after["revision"]) == {0}
    np.testing.assert_array_equal(before["a_sum"], again["a_sum"])
    np.testing.assert_array_equal(before["a_sum"][3:], after["a_sum"][3:])
    assert (before["a_sum"][:3] != after["a_sum"][:3]).all()


def test_regions_of_an_earlier_revision_or_of_a_file_may_be_asked_for(results: Path) -> None:
    assert main(["recompute", "--quiet", str(results), "--revision", "0", "-o", "zero.h5"]) == 0
    zero = inbeam.columns("zero.h5")
    assert zero["a_sum"].tolist() == IMAGES[:, :10, :10].sum((1, 2)).tolist() and "b_sum" not in zero
    inbeam.dump_roi({"c": {"kind": "rectangle", "x": [0, 3], "y": [0, 3]}}, "set.json")
    assert main(["recompute", "--quiet", str(results), "--regions", "set.json", "-o", "set.h5"]) == 0
    assert inbeam.columns("set.h5")["c_sum"].tolist() == IMAGES[:, :3, :3].sum((1, 2)).tolist()


def test_what_cannot_be_recomputed_is_told(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: Any) -> str:
        assert main(["recompute", "--quiet", *map(str, words)]) in (1, 2)
        return capsys.readouterr().err

    assert "there were 2 changes" in told(results, "--revision", 3)
    assert "is not there" in told(results, "--frames", "nothing.h5")
    sink = archive.create(archive.Config(path="other.h5"))
    sink.start(examples.scan("another", 1), [])
    sink.write(examples.frame(0, scan="another"))
    sink.close()
    assert "is of another scan" in told(results, "--frames", "other.h5")
    assert "no regions of interest" in told("raw.h5")
    assert not Path("results_recomputed.h5").exists()


def growing(results: Path, frames: int) -> Any:
    """The sink that still writes growing.h5, the archive of a scan that is not over."""
    with h5py.File(results, "r+") as file:
        uid = file["entry/ledger"].attrs["scan_uid"]
        file["entry/ledger/finished"][0] = 0
    scan = examples.scan(uid, 50, shape=SHAPE, detector=examples.scan().detector.__class__())
    sink = archive.create(archive.Config(path="growing.h5", flush_frames=1))
    sink.start(scan, [])
    for index in range(frames):
        payloads = {examples.CHANNEL: examples.payload(IMAGES[index])}
        sink.write(examples.frame(index, scan=uid, payloads=payloads))
    sink.tick(Counters())
    return sink


def test_an_archive_that_stays_behind_the_last_change_is_told(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it lacks would be in no series: neither in the run's nor in the one that is computed."""
    monkeypatch.setattr("stream.commands.recompute.LONGEST_WAIT_S", 0.0)
    sink = growing(results, 2)
    assert main(["recompute", "--quiet", "--follow", str(results), "--frames", "growing.h5"]) == 1
    sink.close()
    assert "growing.h5 has 2 of the 5 frames" in capsys.readouterr().err
    assert not Path("results_recomputed.h5").exists()


def test_a_running_scan_is_recomputed_as_far_as_it_is_on_disk(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = growing(results, 6)
    assert main(["recompute", "--quiet", str(results), "--frames", "growing.h5"]) == 0
    assert "from frame 5 on" in capsys.readouterr().out
    sink.close()
    found = inbeam.columns("results_recomputed.h5")
    assert found["a_sum"].tolist() == (IMAGES * MASKED)[:6, :10, 10:20].sum((1, 2)).tolist()


@pytest.mark.slow
def test_beside_a_live_run_the_past_is_computed_again_after_every_move(tmp_path: Path) -> None:
    """A detector, a run, `inbeam recompute --follow` beside it, regions that are moved through the control socket."""
    images = np.random.default_rng(3).poisson(9, (400, *SHAPE)).astype("u2")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, *SHAPE))
    port, address = free_port(), f"ipc://{tmp_path}/control"
    document = {
        "stream": {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{port}"},
        "processors": [{"type": "roi", "regions": START, "most": 3}],
        "sinks": [{"type": "archive", "path": "raw.h5"}, {"type": "hdf5", "path": "live.h5", "link": "raw.h5"}],
        "run": {"scans": 1, "control": address, "workers": 2},
    }
    (tmp_path / "live.yaml").write_text(yaml.safe_dump(document))
    environment = shell(tmp_path / "bin")
    children: list[subprocess.Popen[bytes]] = []

    def begun(*words: Any) -> "subprocess.Popen[bytes]":
        children.append(subprocess.Popen(["inbeam", *map(str, words)], cwd=tmp_path, env=environment))
        return children[-1]

    def moved(value: Any) -> int:
        """The first frame that has it."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(ConfigError):
                reply = ask(address, {"set": "processors.roi.regions.a.x", "value": value, "who": "test"}, patience_s=2)
                if reply["ok"] and reply["scan"] and reply["frame"]:
                    return int(reply["frame"])
            threading.Event().wait(0.05)
        raise AssertionError("nobody took the change")

    try:
        live = begun("run", "--quiet", "live.yaml")
        with held_back(tmp_path / "scan.h5", f"tcp://127.0.0.1:{port}", 150, 300) as go_on:
            first = moved([10, 20])
            follower = begun("recompute", "--quiet", "--follow", "live.h5")
            wait_for((tmp_path / "live_recomputed.h5").exists, "the past to be computed beside the run")
            go_on[150].set()
            wait_for(lambda: committed(tmp_path / "raw.h5") > first, "a frame behind the first move")
            second = moved([20, 30])
            go_on[300].set()
            assert live.wait(60) == 0 and follower.wait(60) == 0
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
    sums = {left: images[:, :10, left : left + 10].sum((1, 2), dtype=float) for left in (0, 10, 20)}
    left = np.zeros(len(images), int)
    with h5py.File(tmp_path / "live.h5") as file:  # an answer that came late may have been asked for twice
        for frame, value in zip(file["entry/changes/frame"][()], file["entry/changes/value"][()], strict=True):
            left[int(frame) :] = int(json.loads(value)[0])
    assert (left[first - 1], left[second - 1], left[second]) in ((0, 10, 20), (10, 10, 20)) and left[first] == 10
    kept = inbeam.columns(tmp_path / "live.h5")["a_sum"]
    np.testing.assert_array_equal(kept, [sums[each][index] for index, each in enumerate(left)])
    made = sorted(tmp_path.glob("live_recomputed*.h5"), key=lambda path: path.stat().st_mtime)
    once, twice = (inbeam.columns(path)["a_sum"] for path in (made[0], made[-1]))
    assert len(made) >= 2 and second <= len(twice)
    np.testing.assert_array_equal(once, sums[10][: len(once)])
    np.testing.assert_array_equal(twice, sums[20][: len(twice)])
    document = {**document, "sinks": [{"type": "hdf5", "path": "again.h5"}], "run": {}}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(document))
    words = ["inbeam", "process", "--quiet", "again.yaml", "raw.h5", "--changes", "live.h5"]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=100)
    with h5py.File(tmp_path / "live.h5") as one, h5py.File(tmp_path / "again.h5") as two:
        for name, dataset in one["entry/roi"].items():
            np.testing.assert_array_equal(dataset[()], two[f"entry/roi/{name}"][()], err_msg=name)
