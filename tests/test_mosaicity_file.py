"""`mosaicity` in its file: what viewers open, the same live and from a recording, the same after kills."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import committed, completed, detector, ended, inbeam, wait_for
from karabo_bridge import Client
from runs import background
from tilted import CHI, RZ, SHAPE, a_scan, assert_as_numpy

from sinks.check import check
from stream.commands.demo import free_port
from stream.commands.main import main
from stream.config import validate
from stream.pipeline.runner import Run

CONFIG = Path(__file__).parents[1] / "configs/mosaicity.yaml"
OMEGA = {"motor": "om", "first": 0, "step": 30, "points": 2, "unit": "deg"}
GROUPS = ("mosaicity", "mosaicity_images", "mosaicity_orientation")


def record(path: Path, turns: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """The scan of `a_scan` at each omega, as BLISS writes it. Signals (omega, frames, ...) and positions."""
    made = [a_scan(seed) for seed in range(turns)]
    signal, where = np.array([each[1] for each in made]), np.array([each[2] for each in made])
    with h5py.File(path, "w") as file:
        images = signal.reshape(-1, *SHAPE).astype("u2")
        file.create_dataset("1.1/instrument/camera/image", data=images, chunks=(1, *SHAPE))
        motors = file.create_group("1.1/instrument/positioners")
        motors["chi"], motors["diffrz"] = where[:, 0].ravel(), where[:, 1].ravel()
        motors["om"] = np.repeat(30.0 * np.arange(turns) + 0.01, 35)
    return signal, where


def document(stream: dict[str, Any], folder: Path, *sinks: Any, **options: Any) -> dict[str, Any]:
    made = {"type": "mosaicity", "motors": [CHI, RZ], "omega": OMEGA, "update_s": 0.05}
    return {
        "stream": stream,
        "processors": [{**made, **options}],
        "sinks": [{"type": "hdf5", "path": str(folder / "result.h5"), "flush_ms": 0}, *sinks],
        "run": {"workers": 2},
    }


def assert_same_files(one: Path, other: Path, rtol: float = 0) -> None:
    with h5py.File(one) as wanted, h5py.File(other) as found:
        for group in GROUPS:
            for name, values in wanted[f"entry/{group}"].items():
                if isinstance(values, h5py.Dataset):
                    given = found[f"entry/{group}/{name}"][()]
                    np.testing.assert_allclose(given, values[()], rtol=rtol, err_msg=f"{group}/{name}")


def test_viewers_open_all_three_groups_with_their_axes(tmp_path: Path) -> None:
    from silx.io import nxdata

    signal, where = record(tmp_path / "scan.h5")
    config = document({"type": "files", "files": [str(tmp_path / "scan.h5")]}, tmp_path)
    assert Run(validate(config), reopen=False).execute().exit_code == 0
    assert check(tmp_path / "result.h5").sound
    with h5py.File(tmp_path / "result.h5") as file:
        shown = [nxdata.NXdata(file[f"entry/{group}"]) for group in GROUPS]
        assert all(each.is_valid and not each.issues for each in shown)
        assert [each.axes_names for each in shown[:2]] == [["om", "row", "column"]] * 2
        assert shown[2].interpretation == "rgb-image" and shown[2].signal.shape == (2, *SHAPE, 3)
        group = file["entry/mosaicity"]
        assert group["om"][()].tolist() == [0, 30] and group["om"].attrs["units"] == "deg"
        for omega in range(2):
            images = {name: group[name][omega] for name in group if group[name].shape[1:] == SHAPE}
            assert_as_numpy(images, signal[omega], where[omega])
        assert group["covered_frames"][()].all() and group["frames"][()].tolist() == [35, 35]


@pytest.mark.slow
def test_live_it_is_what_it_is_from_the_recording_and_the_monitor_shows_it_whole(tmp_path: Path) -> None:
    record(tmp_path / "scan.h5")
    for name in ("live", "batch"):
        (tmp_path / name).mkdir()
    stream, seen = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    monitor = {"type": "monitor", "endpoint": seen, "rate_hz": 50, "image": "none"}
    running = Run(validate(document({"type": "stream2", "endpoint": stream}, tmp_path / "live", monitor)), reopen=True)
    with background(running), detector("replay", str(tmp_path / "scan.h5"), "--bind", stream, "--rate", "200"):
        wait_for(lambda: completed(tmp_path / "live/result.h5"), "the end of the scan")
        with Client(seen, sock="SUB", timeout=20) as late:
            data, _ = late.next()
            while data["inbeam/counters"]["status"] == "running":
                data, _ = late.next()
        running.stop()
    config = document({"type": "files", "files": [str(tmp_path / "scan.h5")]}, tmp_path / "batch")
    assert Run(validate(config), reopen=False).execute().exit_code == 0
    assert_same_files(tmp_path / "batch/result.h5", tmp_path / "live/result.h5", rtol=1e-9)
    with h5py.File(tmp_path / "live/result.h5") as file:
        colours = file["entry/mosaicity_orientation/orientation"][()]
        np.testing.assert_array_equal(data["inbeam/mosaicity_orientation"]["orientation"], colours)
        intensity = file["entry/mosaicity_images/intensity"][()]
        np.testing.assert_array_equal(data["inbeam/mosaicity_images"]["intensity"], intensity)


@pytest.mark.slow
def test_killed_at_random_and_resumed_it_is_that_of_a_run_that_was_never_killed(tmp_path: Path) -> None:
    """The images are summed again from the first frame on: to the rounding that a batch of other frames makes."""
    turns = 40
    record(tmp_path / "scan.h5", turns)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        archive = {"type": "archive", "path": str(tmp_path / name / "frames.h5"), "flush_ms": 0}
        omega = {**OMEGA, "points": turns}
        config = document({"type": "files", "files": []}, tmp_path / name, archive, omega=omega)
        config["run"] = {"workers": 1, "inbox_mb": 1.0}
        (tmp_path / name / "pipeline.yaml").write_text(yaml.safe_dump(config))
    assert process(tmp_path, "whole") == 0
    dice, frames = np.random.default_rng(1), tmp_path / "killed/frames.h5"
    for _ in range(3):
        reached = committed(frames) + int(dice.integers(1, 300))
        process(tmp_path, "killed", lambda reached=reached: committed(frames) >= reached)
    assert committed(frames) < 35 * turns, "no kill came before the end"
    assert process(tmp_path, "killed") == 0
    assert_same_files(tmp_path / "whole/result.h5", tmp_path / "killed/result.h5", rtol=1e-9)
    assert check(tmp_path / "killed/result.h5").sound


def process(folder: Path, name: str, kill_when: Callable[[], bool] = lambda: False) -> int:
    command = inbeam("process", "--quiet", str(folder / name / "pipeline.yaml"), str(folder / "scan.h5"))
    return ended(command, kill_when)


@pytest.mark.slow
def test_the_configuration_for_mosaicity_runs_on_a_recorded_scan(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """configs/mosaicity.yaml as it is, on two layers of aluminium."""
    with gzip.open(shared / "dfxm/darling_mosa_scan.h5.gz") as packed, (tmp_path / "mosaicity.h5").open("wb") as file:
        shutil.copyfileobj(packed, file)
    monkeypatch.chdir(tmp_path)
    port = ["--set", f"sinks.1.endpoint=tcp://127.0.0.1:{free_port()}"]
    assert main(["process", "--quiet", *port, str(CONFIG), "mosaicity.h5"]) == 0
    with h5py.File("mosaicity.h5") as frames:
        for layer in (1, 2):
            images = frames[f"{layer}.1/instrument/pco_ff/image"][()].astype(float)
            weakest = np.argsort(images.sum((1, 2)), kind="stable")[:20]
            total = (images - images[weakest].mean(0)).sum(0)
            with h5py.File(f"data/mosaicity_{layer}.1_mosaicity.h5") as file:
                found = file["entry/mosaicity"]
                np.testing.assert_allclose(found["sum"], total, rtol=1e-9)
                assert found["frame_index"][()].ravel().tolist() == list(range(2666))
                assert found["com_chi"].attrs["units"] == "deg" and found["cov_chi_chi"].attrs["units"] == "deg^2"
                assert -1 < np.nanmean(found["com_chi"]) < 3.9
