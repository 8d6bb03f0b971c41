"""`topotomo` in its file: what viewers open, and the same after kills."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import committed, ended, inbeam
from grain_scans import FRAME, OMEGAS, TILTS, VOXELS, error, grains, options
from turned_grains import AL_THETA_DEG, scan_frames

from sinks.check import check
from stream.commands.main import main
from stream.config import validate
from stream.pipeline.runner import Run

CONFIG = Path(__file__).parents[1] / "configs/topotomo.yaml"


def record(path: Path) -> None:
    """The phantom's scan as BLISS writes it."""
    made = list(scan_frames(grains(), OMEGAS, AL_THETA_DEG, 1.1, FRAME, TILTS))
    with h5py.File(path, "w") as file:
        images = np.array([image for image, _ in made])
        file.create_dataset("1.1/instrument/camera/image", data=images, chunks=(1, *FRAME))
        motors = file.create_group("1.1/instrument/positioners")
        for name in ("mu", "gamma", "omega"):
            motors[name] = np.array([readings[name] for _, readings in made]) + 1e-4


def document(folder: Path, *sinks: Any, **changes: Any) -> dict[str, Any]:
    made = {"type": "topotomo", "positions": "steps", "update_s": 0.05, **options(**changes)}
    return {
        "stream": {"type": "files", "files": []},
        "processors": [yaml.safe_load(yaml.safe_dump(listed(made)))],
        "sinks": [{"type": "hdf5", "path": str(folder / "result.h5"), "flush_ms": 0}, *sinks],
        "run": {"workers": 1},
    }


def listed(node: Any) -> Any:
    """As YAML has it: lists, no tuples."""
    if isinstance(node, dict):
        return {name: listed(value) for name, value in node.items()}
    return [listed(value) for value in node] if isinstance(node, list | tuple) else node


def test_viewers_open_the_volume_and_its_slices_with_their_axes(tmp_path: Path) -> None:
    from silx.io import nxdata

    record(tmp_path / "scan.h5")
    config = document(tmp_path)
    config["stream"]["files"] = [str(tmp_path / "scan.h5")]
    assert Run(validate(config), reopen=False).execute().exit_code == 0
    assert check(tmp_path / "result.h5").sound
    with h5py.File(tmp_path / "result.h5") as file:
        for name, axes in (("volume", "xyz"), ("slice_x", "yz"), ("slice_y", "xz"), ("slice_z", "xy")):
            group = file[f"entry/topotomo_{name}"]
            shown = nxdata.NXdata(group)
            assert shown.is_valid and not shown.issues, (name, shown.issues)
            assert shown.axes_names == list(axes) and group.attrs["signal"] == "density"
            assert shown.signal.shape == (VOXELS,) * len(axes)
            assert all(group[axis].attrs["units"] == "um" for axis in axes)
        group = file["entry/topotomo_volume"]
        assert group["x"][()].tolist() == (np.arange(VOXELS) - 7.5).tolist()
        assert group["mu"].attrs["units"] == "deg" and group["covered_frames"][()].all()
        volume = {name: group[name][()] for name in ("mu", "gamma")}
    assert main(["export", "--vtk", "-o", str(tmp_path), str(tmp_path / "result.h5")]) == 0
    assert len(list(tmp_path.glob("*_topotomo_volume.vti"))) == 1
    assert error(volume, grains().truth, "mu", 0) < 0.011 and error(volume, grains().truth, "gamma", 1) < 0.011


@pytest.mark.slow
def test_killed_and_resumed_the_volume_is_that_of_a_run_that_was_never_killed(tmp_path: Path) -> None:
    record(tmp_path / "scan.h5")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        archive = {"type": "archive", "path": str(tmp_path / name / "frames.h5")}
        config = document(tmp_path / name, archive, iterations=200)
        (tmp_path / name / "pipeline.yaml").write_text(yaml.safe_dump(config))
    assert process(tmp_path, "whole") == 0
    frames = tmp_path / "killed/frames.h5"
    kills = [
        process(tmp_path, "killed", frames.exists),
        process(tmp_path, "killed", lambda: committed(frames) > 0),
        process(tmp_path, "killed", lambda: committed(frames) == len(OMEGAS) * TILTS[0] * TILTS[1]),
    ]
    assert -9 in kills and process(tmp_path, "killed") == 0
    assert check(tmp_path / "killed/result.h5").sound
    with h5py.File(tmp_path / "whole/result.h5") as wanted, h5py.File(tmp_path / "killed/result.h5") as found:
        for group in ("topotomo_volume", "topotomo_slice_x", "topotomo_slice_y", "topotomo_slice_z", "topotomo"):
            for name, values in wanted[f"entry/{group}"].items():
                if isinstance(values, h5py.Dataset) and values.dtype.kind == "f":
                    given = found[f"entry/{group}/{name}"][()]
                    np.testing.assert_allclose(given, values[()], rtol=1e-5, err_msg=f"{group}/{name}")


def process(folder: Path, name: str, until: Callable[[], bool] = lambda: False) -> int:
    command = inbeam("process", "--quiet", str(folder / name / "pipeline.yaml"), str(folder / "scan.h5"))
    return ended(command, until)
