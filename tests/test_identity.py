"""A rerun leaves alone what would become the same, and never what would not."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import kill_harness
import numpy as np
import plug_ins
import pytest
import yaml
from integration_frames import PONI
from sink_examples import scan

from sinks.check import check
from stream.commands.main import main
from stream.events import ScanEnd
from stream.fingerprint import PART_BYTES, differ, of_beginning, of_files

SHAPE = (20, 30)

SCALED = """
from typing import Literal
import numpy as np
from stream import Field, Options, Product, SAME_RESULT
from pydantic import Field as Option

class Config(Options):
    type: Literal["scaled"] = "scaled"
    factor: float = 1.0
    threads: int = Option(1, json_schema_extra=SAME_RESULT)

class Scaled:
    def __init__(self, config):
        self.factor = config.factor

    def start(self, scan, work):
        return [Product("scaled", (Field("sum", (), np.dtype("f8")),), signal="sum")]

    def process(self, work):
        work.results["scaled"] = {"sum": np.float64(self.factor * work.image().sum())}

    def finish(self, end):
        pass

def create(config, context=None):
    return Scaled(config)
"""


def stack(seed: int, frames: int = 4) -> Any:
    return np.random.default_rng(seed).poisson(9, (frames, *SHAPE)).astype(np.uint16)


def hdf5_scan(folder: Path, seed: int) -> str:
    path = folder / "scan.h5"
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=stack(seed), chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
    return str(path)


def linked_scan(folder: Path, seed: int) -> str:
    data = hdf5_scan(folder, seed)
    os.replace(data, folder / "scan_data_000001.h5")
    if not (folder / "scan_master.h5").exists():
        with h5py.File(folder / "scan_master.h5", "w") as file:
            file["entry/data/data_000001"] = h5py.ExternalLink("scan_data_000001.h5", "/entry/data/data")
    return str(folder / "scan_master.h5")


def image_scan(folder: Path, seed: int) -> str:
    for number, image in enumerate(stack(seed)):
        fabio.edfimage.EdfImage(data=image).write(str(folder / f"scan_{number:04d}.edf"))
    return f"{folder}/scan_*.edf"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recorded scan, a geometry, and a processor of somebody else."""
    plug_ins.install(tmp_path / "plug-in", monkeypatch, "processors", "scaled", SCALED)
    folder = tmp_path / "in"
    folder.mkdir()
    hdf5_scan(folder, 1)
    (folder / "x.poni").write_text(PONI.replace("[131, 149]", "[20, 30]"))
    return folder


def process(
    given: Path,
    *arguments: str,
    files: str = "",
    processors: tuple[dict[str, Any], ...] = ({"type": "scaled"},),
    stream: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    **options: Any,
) -> int:
    """`inbeam process` into out/results.h5 and out/frames.h5."""
    out = given.parent / "out"
    kinds = {"hdf5": "results.h5", "archive": "frames.h5"}
    sinks = [{"type": kind, "path": str(out / name)} for kind, name in kinds.items()]
    document = {
        "stream": {"type": "files", "files": ["unused"], **(stream or {})},
        "processors": list(processors),
        "sinks": [{**sink, **options} for sink in sinks],
        "run": run or {},
    }
    config = given / "pipeline.yaml"
    config.write_text(yaml.safe_dump(document))
    return main(["process", "--quiet", *arguments, str(config), *((files or str(given / "scan.h5")).split(","))])


def made(given: Path, sort: str = "results") -> list[str]:
    return sorted(path.name for path in (given.parent / "out").glob(f"{sort}*.h5"))


def sums(given: Path, name: str = "results.h5") -> list[float]:
    with h5py.File(given.parent / "out" / name) as file:
        return [float(value) for value in file["entry/scaled/sum"]]


def expected(seed: int, factor: float = 1.0) -> list[float]:
    return [float(factor * image.sum()) for image in stack(seed)]


def test_a_rerun_leaves_the_files_alone_and_says_so(given: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert process(given) == 0
    before = {path: path.read_bytes() for path in (given.parent / "out").iterdir()}
    caplog.clear()
    with caplog.at_level(logging.INFO, "inbeam"):
        assert process(given) == 0
    for path in before:
        assert f"already there, left alone: {path}" in caplog.text
    assert {path: path.read_bytes() for path in (given.parent / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("if_exists", "names"), [("number", ["results.h5", "results_2.h5"]), ("overwrite", ["results.h5"])]
)
def test_a_rerun_with_force_does_it_again(if_exists: str, names: list[str], given: Path) -> None:
    assert process(given, if_exists=if_exists) == 0
    inode = (given.parent / "out" / names[-1]).stat().st_ino if len(names) == 1 else 0
    assert process(given, "--force", if_exists=if_exists) == 0
    assert made(given) == names
    assert (given.parent / "out" / names[-1]).stat().st_ino != inode
    assert sums(given, names[-1]) == expected(1)


@pytest.mark.slow
@pytest.mark.parametrize("record", [hdf5_scan, linked_scan, image_scan])
@pytest.mark.parametrize("if_exists", ["number", "overwrite"])
def test_what_was_recorded_anew_under_the_same_name_is_processed(
    record: Callable[[Path, int], str], if_exists: str, given: Path
) -> None:
    for number, seed in enumerate((1, 2, 3), 1):
        assert process(given, files=record(given, seed), if_exists=if_exists) == 0
        name = "results.h5" if if_exists == "overwrite" or number == 1 else f"results_{number}.h5"
        assert sums(given, name) == expected(seed)
        with h5py.File(given.parent / "out" / name.replace("results", "frames")) as file:
            np.testing.assert_array_equal(file["entry/data/data"], stack(seed))
    assert len(made(given)) == len(made(given, "frames")) == (1 if if_exists == "overwrite" else 3)


def test_one_frame_written_over_in_the_middle_is_noticed(given: Path) -> None:
    with h5py.File(given / "scan.h5", "w") as file:
        file["entry/data/data"] = stack(1, 200)
    assert process(given) == 0
    with h5py.File(given / "scan.h5", "r+") as file:
        file["entry/data/data"][77] = 1
    assert process(given) == 0
    assert sums(given, "results_2.h5")[77] == 600


def test_frames_added_since_make_a_new_file(given: Path) -> None:
    assert process(given, files=image_scan(given, 1)) == 0
    fabio.edfimage.EdfImage(data=stack(1)[0]).write(str(given / "scan_0004.edf"))
    assert process(given, files=f"{given}/scan_*.edf") == 0
    assert len(sums(given, "results_2.h5")) == 5


def test_a_copy_with_its_time_is_the_same_recording(given: Path) -> None:
    assert process(given) == 0
    shutil.copy2(given / "scan.h5", given / "copy.h5")
    os.replace(given / "copy.h5", given / "scan.h5")
    assert process(given) == 0
    assert made(given) == ["results.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "hdf5", "sparse"])
def test_a_stopped_scan_is_not_gone_on_with_from_another_recording(kind: str, tmp_path: Path) -> None:
    examples = kill_harness.examples(kind)
    for fingerprint, indices in (("whole a", range(4)), ("whole b", range(8)), ("whole a", range(4, 8))):
        sink = kill_harness.make(kind, tmp_path / "x.h5")
        sink.start(scan(expected=8, fingerprint=fingerprint), (examples.PRODUCT,))
        for index in indices:
            sink.write(examples.frame(index))
        if indices[-1] == 7:
            sink.finish(ScanEnd("01-first", announced=8, expected=8))
        sink.close()
        assert sink.path == tmp_path / ("x_2.h5" if fingerprint == "whole b" else "x.h5")
    for name in ("x.h5", "x_2.h5"):
        assert check(tmp_path / name).sound
        with h5py.File(tmp_path / name) as file:
            assert file["entry/ledger/status"][:].tolist() == [1] * 8


def later_version(folder: Path) -> None:
    metadata = folder / "scaled_package-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))


def other_code(folder: Path) -> None:
    (folder / "scaled.py").write_text(SCALED + "\n# the same version, with another line\n")


@pytest.mark.parametrize("change", [later_version, other_code])
def test_another_version_of_somebody_elses_processor_makes_another_file(
    change: Callable[[Path], None], given: Path
) -> None:
    assert process(given) == 0
    change(given.parent / "plug-in")
    assert process(given) == 0
    assert made(given) == ["results.h5", "results_2.h5"]
    assert made(given, "frames") == ["frames.h5"]


def test_another_option_of_somebody_elses_processor_makes_another_file(given: Path) -> None:
    """Though the product that it declares is the same."""
    for factor in (1.0, 2.0, 1.0):
        assert process(given, processors=({"type": "scaled", "factor": factor},)) == 0
    assert made(given) == ["results.h5", "results_2.h5"]
    assert [sums(given, name) for name in made(given)] == [expected(1), expected(1, 2.0)]


@pytest.mark.slow
def test_options_that_change_no_value_make_no_file(given: Path) -> None:
    integrate = {"type": "integrate", "poni": str(given / "x.poni"), "npt": 10, "unit": "r_mm"}
    assert process(given, processors=({"type": "scaled"}, integrate)) == 0
    before = {path: path.read_bytes() for path in (given.parent / "out").iterdir()}
    shutil.copy(given / "x.poni", given / "moved.poni")
    moved = {**integrate, "poni": str(given / "moved.poni"), "device": "cpu"}
    run = {"workers": 1, "reorder_frames": 3, "sink_mb": 10}
    two = ({"type": "scaled", "threads": 4}, moved)
    assert process(given, processors=two, run=run, flush_ms=20, flush_frames=3, required=False) == 0
    assert {path: path.read_bytes() for path in (given.parent / "out").iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"processors": ({"type": "correct"}, {"type": "scaled"})}, {}),
        ({"stream": {"monitor": "other.h5::/i0"}}, {"stream": {"monitor": "other.h5::/i1"}}),
        ({"stream": {"monitor": 2.0}}, {"stream": {"monitor": 3.0}}),
        ({"stream": {"number": "name", "first_number": 2}}, {"stream": {"number": "name", "first_number": 1}}),
    ],
    ids=["an earlier processor", "the monitor", "its value", "an option of the source"],
)
def test_whatever_may_change_a_value_makes_another_file(
    first: dict[str, Any], second: dict[str, Any], given: Path
) -> None:
    with h5py.File(given / "other.h5", "w") as file:
        file["i0"], file["i1"] = np.ones(4), np.full(4, 2.0)
    for options in (first, second, first):
        assert process(given, **options) == 0
    assert made(given) == ["results.h5", "results_2.h5"]


def test_a_mask_that_was_changed_in_its_place_makes_another_file(given: Path) -> None:
    mask = given / "mask.npy"
    chain = ({"type": "correct", "mask": str(mask)}, {"type": "scaled"})
    for value in (0, 1, 0):
        np.save(mask, np.pad(np.full((1, 1), value), ((0, 19), (0, 29))))
        assert process(given, processors=chain) == 0
    assert made(given) == ["results.h5", "results_2.h5"]


def test_a_processor_behind_does_not_make_another_file(given: Path) -> None:
    """What comes later in the chain changes nothing of what came before."""
    options = {"products": ["scaled"]}
    out = given.parent / "out"
    config = given / "pipeline.yaml"
    integrate = {"type": "integrate", "poni": str(given / "x.poni"), "npt": 10, "unit": "r_mm"}
    for processors in ([{"type": "scaled"}], [{"type": "scaled"}, integrate]):
        sink = {"type": "hdf5", "path": str(out / "results.h5"), **options}
        document = {"stream": {"type": "files", "files": ["x"]}, "processors": processors, "sinks": [sink]}
        config.write_text(yaml.safe_dump(document))
        assert main(["process", "--quiet", str(config), str(given / "scan.h5")]) == 0
    assert made(given) == ["results.h5"]


def watching(given: Path) -> tuple[Path, Path]:
    """The folder that is watched, and the YAML that does it for one scan, with its results in ../out."""
    incoming, config = given.parent / "incoming", given / "pipeline.yaml"
    incoming.mkdir()
    document = {
        "stream": {"type": "watch", "folder": str(incoming), "scan_files": 4, "settle_s": 0.01, "poll_s": 0.01},
        "processors": [{"type": "scaled"}],
        "sinks": [{"type": "hdf5", "path": str(given.parent / "out/results.h5")}],
        "run": {"scans": 1},
    }
    config.write_text(yaml.safe_dump(document))
    return incoming, config


@pytest.mark.parametrize("record", [hdf5_scan, image_scan])
def test_a_watched_recording_is_known_by_its_first_frame(
    record: Callable[[Path, int], str], given: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have grown since; one that was recorded anew has another first frame."""
    incoming, config = watching(given)
    for seed, name in ((1, "results.h5"), (1, "results.h5"), (2, "results_2.h5")):
        record(incoming, seed)
        assert main(["run", "--quiet", str(config)]) == 0
        assert made(given)[-1] == name
        assert sums(given, name) == expected(seed)


def test_fingerprints_of_different_kinds_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    whole = of_files([str(path)])
    assert whole == of_files([str(path)])
    assert differ(whole, of_files([str(path)], {"dataset": "x"}))
    assert differ(whole, of_files([str(path), str(path)]))
    assert differ(of_beginning(0, b"one"), of_beginning(0, b"two"))
    for other in ("", of_beginning(0, b"one"), of_beginning(1, b"two")):
        assert not differ(whole, other)
        assert not differ(of_beginning(0, b"two"), other) or other == of_beginning(0, b"one")


@pytest.mark.slow
def test_a_fingerprint_is_cheap_however_large_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / f"{number}.h5") for number in range(3000)]
    for path in paths:
        Path(path).touch()
    os.truncate(paths[0], 10**12)
    asked: list[str] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: (asked.append(str(path)), stat(path, **options))[1])
    first = of_files(paths)
    assert len(asked) <= 1000
    assert PART_BYTES * 3 * 8 < 1_000_000
    monkeypatch.undo()
    with open(paths[0], "r+b") as file:
        file.write(b"another header")
    os.utime(paths[0], ns=(0, 0))
    assert differ(first, of_files(paths))


@pytest.mark.parametrize("complete", [True, False])
def test_a_watched_frame_that_was_written_again_between_two_runs_is_told(
    complete: bool, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first frame is as it was, so that the recording is thought to be the same."""
    incoming, config = watching(given)
    image_scan(incoming, 1)
    assert main(["run", "--quiet", str(config)]) == 0
    if not complete:
        with h5py.File(given.parent / "out/results.h5", "r+") as file:
            file["entry/ledger/finished"][0] = 0
    assert main(["run", "--quiet", str(config)]) == 0
    fabio.edfimage.EdfImage(data=stack(2)[2]).write(str(incoming / "scan_0002.edf"))
    capsys.readouterr()
    assert main(["run", "--quiet", str(config)]) == 1
    assert "frame 2 of scan" in (told := capsys.readouterr().out) and "it was recorded anew, and is not taken" in told
