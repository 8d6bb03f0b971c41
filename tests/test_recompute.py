"""The past of a series after its regions were moved: computed again from the archive, and kept apart."""

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import yaml
from roi_files import IMAGES, SHAPE, START

import inbeam
from sinks import archive
from stream.commands.main import main
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


def test_a_running_scan_is_recomputed_as_far_as_it_is_on_disk(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The archive is still being written, by a sink that has not finished."""
    with h5py.File(results, "r+") as file:
        uid = file["entry/ledger"].attrs["scan_uid"]
        file["entry/ledger/finished"][0] = 0
    scan = examples.scan(uid, 50, shape=SHAPE, detector=examples.scan().detector.__class__())
    sink = archive.create(archive.Config(path="growing.h5", flush_frames=1))
    sink.start(scan, [])
    for index in range(6):
        payloads = {examples.CHANNEL: examples.payload(IMAGES[index])}
        sink.write(examples.frame(index, scan=uid, payloads=payloads))
    sink.tick(Counters())
    assert main(["recompute", "--quiet", str(results), "--frames", "growing.h5"]) == 0
    assert "the scan is not over: from frame 5 on" in capsys.readouterr().out
    sink.close()
    found = inbeam.columns("results_recomputed.h5")
    assert found["a_sum"].tolist() == (IMAGES * MASKED)[:6, :10, 10:20].sum((1, 2)).tolist()
