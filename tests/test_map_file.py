"""A map in its file: laid out for viewers, equal to pyFAI frame by frame, the same after any number of kills."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import committed, ended, inbeam
from integration_frames import PONI, SHAPE, by_pyfai, record
from patterns import Patterns
from pipelines import Kept

from processors import map as mapping
from sinks.check import check
from stream import ScanEnd
from stream.commands.main import main
from stream.config import RunOptions, validate
from stream.pipeline.chain import Chain, Step
from stream.pipeline.control import RunControl
from stream.pipeline.gathering import Gathering
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.revisions import OptionSet
from stream.pipeline.runner import Run
from stream.testing import examples

FAST, SLOW = 5, 4
GAPS = (3, 11)
ROIS = {"first": {"range": [8.0, 14.0]}, "second": {"range": [15.0, 22.0], "edge_bins": 3}}


def document(poni: Path, recorded: Path, folder: Path, *kinds: str, **options: Any) -> dict[str, Any]:
    chain = {"type": "integrate", "poni": str(poni), "npt": 120, "unit": "q_nm^-1", "error_model": "poisson"}
    grid = {
        "fast": {"points": FAST, "motor": "samy", "first": -1, "step": 0.5, "unit": "mm"},
        "slow": {"points": SLOW, "motor": "samz", "first": 10, "last": 13, "unit": "um"},
    }
    made = {"type": "map", "zigzag": True, "rois": ROIS, "ratios": {"phase": {"of": "first", "by": "second"}}}
    return {
        "stream": {"type": "files", "files": [str(recorded)]},
        "processors": [
            {**chain, **options.pop("integrate", {})},
            {**made, **grid, **options},
        ],
        "sinks": [{"type": kind, "path": str(folder / f"{kind}.h5"), "flush_ms": 0} for kind in kinds],
        "run": {"workers": 2},
    }


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    path = tmp_path / "detector.poni"
    path.write_text(PONI)
    return path


def points(frames: int = FAST * SLOW, columns: int = FAST) -> list[tuple[int, int]]:
    rows = -(-frames // columns)
    return [
        (row, column)
        for row in range(rows)
        for column in (range(columns) if row % 2 == 0 else reversed(range(columns)))
    ][:frames]


@pytest.mark.slow
def test_the_cube_is_that_of_pyfai_frame_by_frame_and_laid_out_for_viewers(poni: Path, tmp_path: Path) -> None:
    from silx.io import nxdata

    images = record(tmp_path / "scan.h5", FAST * SLOW, GAPS)
    config = document(poni, tmp_path / "scan.h5", tmp_path, "hdf5")
    Run(validate(config), reopen=False).execute()
    path = tmp_path / "hdf5.h5"
    assert check(path).sound
    with h5py.File(path, "r") as file:
        group, pictures = file["/entry/map/data"], file["/entry/map_images/data"]
        cube = group["I"]
        assert cube.shape == (SLOW, FAST, 120) and cube.chunks == (1, FAST, 50)
        assert cube.attrs["interpretation"] == "spectrum"
        assert list(group.attrs["axes"]) == ["samz", "samy", "radial_axis"] and group.attrs["signal"] == "I"
        assert group["samz"][()].tolist() == [10, 11, 12, 13] and group["samz"].attrs["units"] == "um"
        assert group["samy"][()].tolist() == [-1, -0.5, 0, 0.5, 1] and group["samy"].attrs["units"] == "mm"
        shown = nxdata.NXdata(group)
        assert shown.is_valid and shown.axes_names == ["samz", "samy", "q"] and shown.errors is not None
        image = nxdata.NXdata(pictures)
        assert image.is_valid and image.signal_ndim == 2 and image.signal_name == "sum of all bins"
        assert pictures["total"].attrs["interpretation"] == "image"
        pointers = group["frame_index"][()]
        for number, point in enumerate(points()):
            if number in GAPS:
                assert pointers[point] == -1 and np.isnan(cube[point]).all() and np.isnan(pictures["total"][point])
                continue
            assert pointers[point] == number
            reference = by_pyfai(poni, images[number], {"npt": 120, "error_model": "poisson"})
            filled = np.asarray(reference.sum_normalization) != 0
            np.testing.assert_allclose(cube[point][filled], reference.intensity[filled], rtol=1e-5)
            np.testing.assert_allclose(group["I_errors"][point][filled], reference.sigma[filled], rtol=1e-5)
            total = np.nansum(cube[point].astype(float))
            assert pictures["total"][point] == pytest.approx(total, rel=1e-12)
        assert np.flatnonzero(group["covered_frames"][()] == 0).tolist() == list(GAPS)
        assert [name.decode() for name in pictures["roi_names"]] == ["first", "second", "", ""]
        np.testing.assert_array_equal(pictures["phase"], pictures["first_sum"][()] / pictures["second_sum"][()])


@pytest.mark.slow
def test_slices_can_be_made_of_a_map_that_lies_beside_its_patterns(poni: Path, tmp_path: Path) -> None:
    record(tmp_path / "scan.h5", FAST * SLOW)
    options = {"slow": {"points": SLOW, "motor": "rot", "first": 0, "step": 45, "unit": "deg"}}
    config = document(poni, tmp_path / "scan.h5", tmp_path, "hdf5", **options)
    assert Run(validate(config), reopen=False).execute().exit_code == 0
    assert main(["reconstruct", str(tmp_path / "hdf5.h5"), "--centre", "2"]) == 0
    assert (tmp_path / "hdf5_volume.h5").exists()


@pytest.mark.slow
def test_a_cake_keeps_its_azimuth_before_the_radius(poni: Path, tmp_path: Path) -> None:
    images = record(tmp_path / "scan.h5", FAST * SLOW)
    config = document(poni, tmp_path / "scan.h5", tmp_path, "hdf5", integrate={"npt_azimuthal": 6})
    assert Run(validate(config), reopen=False).execute().exit_code == 0
    with h5py.File(tmp_path / "hdf5.h5", "r") as file:
        cube = file["/entry/map/I"]
        assert cube.shape == (SLOW, FAST, 6, 120) and cube.chunks == (1, FAST, 6, 50)
        assert list(file["/entry/map/data"].attrs["axes"]) == ["samz", "samy", "azimuthal_axis", "radial_axis"]
        for number, point in enumerate(points()):
            reference = by_pyfai(poni, images[number], {"npt": 120, "npt_azimuthal": 6})
            filled = np.asarray(reference.sum_normalization) != 0
            np.testing.assert_allclose(cube[point][filled], reference.intensity[filled], rtol=1e-5)
        pattern = np.nanmean(cube[0, 0].astype(float), axis=0)
        assert file["/entry/map_images/total"][0, 0] == pytest.approx(np.nansum(pattern), rel=1e-9)


@pytest.mark.slow
def test_surplus_frames_make_another_line_in_the_file_too(poni: Path, tmp_path: Path) -> None:
    record(tmp_path / "scan.h5", 22)
    config = document(poni, tmp_path / "scan.h5", tmp_path, "hdf5")
    assert Run(validate(config), reopen=False).execute().exit_code == 0
    with h5py.File(tmp_path / "hdf5.h5", "r") as file:
        group = file["/entry/map"]
        assert group["I"].shape[:2] == group["frame_index"].shape == group["frames"].shape == (5, 5)
        assert group["frame_index"][4].tolist() == [20, 21, -1, -1, -1] and group["frames"][4].tolist() == [
            1,
            1,
            0,
            0,
            0,
        ]
        assert group["samz"][()].tolist() == [10, 11, 12, 13, 14]
        assert file["/entry/map_images/total"].shape == (5, 5)
        assert check(tmp_path / "hdf5.h5").sound


def through(events: Any, control: RunControl, gatherer: Any, config: mapping.Config) -> dict[str, np.ndarray]:
    """The images as a file would have them behind these events; a callable among them is called."""
    sink = Kept()
    pipeline = Pipeline(
        [Chain([Step("patterns", Patterns())])],
        {"sink": (sink, True)},
        RunOptions(reorder_ms=60_000),
        control=control,
        gatherings=lambda made: [
            Gathering("map", gatherer, emit=made.emit, trouble=made.report.trouble, place=0, options=config)
        ],
    )
    for event in events:
        if callable(event):
            event()
        else:
            pipeline.put(event)
    pipeline.close()
    images: dict[str, np.ndarray] = {}
    for update in sink.updates:
        for name, piece in update.pieces.items():
            if update.product == "map_images" and piece.values.ndim == 2 and name != "roi_ranges":
                image = images.setdefault(name, np.full((3, 4), np.nan))
                image[piece.start[0] : piece.start[0] + len(piece.values)] = piece.values
            elif update.product == "map_images":
                images[name] = piece.values
    return images


def test_regions_changed_in_mid_scan_hold_for_every_point_past_and_to_come() -> None:
    old = mapping.Config(fast={"points": 4}, slow={"points": 3}, rois={"a": {"range": (5, 10)}})
    rois = {"a": {"range": (20, 30)}, "new": {"range": (1, 8)}}
    new = old.model_copy(update={"rois": mapping.Config(rois=rois).rois})
    start = examples.scan(examples.UID)
    frames, end = [examples.frame(number) for number in range(12)], ScanEnd(examples.UID)
    control = RunControl(OptionSet(processors=(old,)))

    def change() -> None:
        control.change("processors.map.rois", rois, "alice")

    changed = through(
        [start, *frames[:3], *frames[4:7], change, *frames[7:], frames[3], end], control, mapping.create(old), old
    )
    from_start = through([start, *frames, end], RunControl(OptionSet(processors=(new,))), mapping.create(new), new)
    assert changed["roi_names"].tolist() == [b"a", b"new", b""]
    for quantity in ("sum", "net", "position", "width"):
        np.testing.assert_array_equal(changed[f"a_{quantity}"], from_start[f"a_{quantity}"])
        np.testing.assert_array_equal(changed[f"spare_1_{quantity}"], from_start[f"new_{quantity}"])
        assert np.isfinite(changed[f"a_{quantity}"]).all()
    np.testing.assert_array_equal(changed["total"], from_start["total"])


@pytest.mark.slow
def test_a_map_killed_at_random_and_resumed_is_that_of_a_run_that_was_never_killed(poni: Path, tmp_path: Path) -> None:
    frames, columns = 1000, 25
    record(tmp_path / "scan.h5", 40)
    with h5py.File(tmp_path / "scan.h5", "r") as file:
        few = file["entry/data/data"][()]
    with h5py.File(tmp_path / "long.h5", "w") as file:
        images = few[np.arange(frames) % 40]
        file.create_dataset("entry/data/data", data=images, chunks=(1, *SHAPE))
    grid = {"fast": columns, "slow": {}, "line_s": 0.2, "frames_per_point": 2}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        config = document(poni, tmp_path / "long.h5", folder, "archive", "hdf5", **grid)
        config["run"] = {"workers": 1, "inbox_mb": 1.0}
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(config))
    assert _process(whole) == 0
    dice, archive = np.random.default_rng(1), killed / "archive.h5"
    for _ in range(3):
        reached = committed(archive) + int(dice.integers(1, 200))
        _process(killed, lambda reached=reached: committed(archive) >= reached)
    assert committed(archive) < frames, "no kill came before the end"
    assert _process(killed) == 0
    with h5py.File(whole / "hdf5.h5", "r") as wanted, h5py.File(killed / "hdf5.h5", "r") as found:
        for group in ("map/data", "map_images/data"):
            assert wanted[f"/entry/{group}"].keys() == found[f"/entry/{group}"].keys()
            for name, values in wanted[f"/entry/{group}"].items():
                np.testing.assert_array_equal(
                    found[f"/entry/{group}/{name}"][()], values[()], err_msg=f"{group}/{name}"
                )
        assert wanted["/entry/map/covered_frames"][()].all() and (wanted["/entry/map/frames"][()] == 2).all()
    assert check(killed / "hdf5.h5").sound


def _process(folder: Path, kill_when: Callable[[], bool] = lambda: False) -> int:
    command = inbeam("process", "--quiet", str(folder / "pipeline.yaml"), str(folder.parent / "long.h5"))
    return ended(command, kill_when)
