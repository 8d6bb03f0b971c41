"""configs/map.yaml as a user runs it: over recorded frames, and live from a detector's socket; what opens its file."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import detector
from integration_frames import SHAPE, by_pyfai, rings
from silx.io import nxdata
from silx.io import open as silx_open

from sinks.check import check
from stream.commands.demo import free_port
from stream.commands.main import main

CONFIG = Path(__file__).parents[1] / "configs" / "map.yaml"
FRAMES = 410
PONI = """poni_version: 2
Detector: Detector
Detector_config: {"pixel1": 0.0002, "pixel2": 0.0001, "max_shape": [131, 149]}
Distance: 0.02
Poni1: 0.011
Poni2: 0.006
Rot1: 0
Rot2: 0
Rot3: 0
Wavelength: 1e-10
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration, the geometry that it names, and two lines and a bit of frames; frame 7 was not written."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(CONFIG, tmp_path)
    (tmp_path / "detector.poni").write_text(PONI)
    few = [rings(seed=number) for number in range(8)]
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        data = file.create_dataset("entry/data/data", (FRAMES, *SHAPE), "u2", chunks=(1, *SHAPE))
        for number in range(FRAMES):
            if number != 7:
                data[number] = few[number % 8]
    return tmp_path


def assert_the_map(path: Path) -> None:
    assert check(path).sound
    with h5py.File(path) as file:
        cube, images = file["entry/map/data"], file["entry/map_images/data"]
        assert cube["I"].shape == (200, 200, 1000) and cube["I"].attrs["interpretation"] == "spectrum"
        wanted = np.full((200, 200), -1)
        wanted[0], wanted[1] = np.arange(200), np.arange(399, 199, -1)
        wanted[2, :10], wanted[0, 7] = np.arange(400, 410), -1
        np.testing.assert_array_equal(cube["frame_index"][()], wanted)
        for point, number in (((0, 0), 0), ((1, 199), 200), ((2, 9), 409)):
            reference = by_pyfai(Path("detector.poni"), rings(seed=number % 8), {"npt": 1000})
            filled = np.asarray(reference.sum_normalization) != 0
            np.testing.assert_allclose(cube["I"][point][filled], reference.intensity[filled], rtol=1e-5)
            assert images["austenite_sum"][point] > 0 and np.isfinite(images["retained"][point])
        assert np.isnan(images["total"][2, 10:]).all() and np.isnan(images["total"][0, 7])


@pytest.mark.slow
def test_the_example_runs_over_recorded_frames(folder: Path, capsys: Any) -> None:
    assert main(["process", "--quiet", "map.yaml", "frames.h5"]) == 1  # a frame is missing, and that is told
    assert "1 frames without data (1 missing)" in capsys.readouterr().out
    assert_the_map(folder / "data" / "frames_map.h5")


@pytest.mark.slow
def test_the_example_runs_live(folder: Path) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with detector("replay", "frames.h5", "--bind", endpoint, "--rate", "max"):
        words = ["--quiet", "--scans", "1", "--set", f"stream.endpoint={endpoint}"]
        assert main(["run", "map.yaml", *words]) == 1
    (path,) = (folder / "data").glob("*_map.h5")
    assert_the_map(path)


def as_pyfai_diffmap_view_reads(path: str) -> dict[str, Any]:
    """What `initData` of pyFAI/gui/pilx/MainWindow.py reads before it draws: the window itself needs a screen."""
    from pyFAI.gui.pilx import utils
    from pyFAI.io.integration_config import WorkerConfig

    with h5py.File(path) as file:
        process = file["/entry_0000/pyFAI"]
        result = process["result"]
        signal = utils.get_signal_dataset(result, default="intensity")
        place = utils.get_axes_index(signal)
        worker = WorkerConfig.from_dict(json.loads(utils.get_dataset(process, "configuration/data")[()]), inplace=True)
        return {
            "map": signal[()].sum(axis=place.radial),
            "slow": utils.get_axes_dataset(result, dim=place.slow, default="slow")[()],
            "fast": utils.get_axes_dataset(result, dim=place.fast, default="fast")[()],
            "radial": utils.get_radial_dataset(result, size=worker.nbpt_rad)[()],
            "pointers": utils.get_dataset(result, "map_ptr")[()],
            "offset": process["offset"][()],
            "radii": utils.compute_radial_values(worker),
            "images": list(file["/entry_0000/measurement"]),
        }


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True])
def test_pyfais_viewer_of_maps_finds_what_it_looks_for(folder: Path, alone: bool) -> None:
    words = ["--set", "processors.1.splitting=full", *(["--set", "sinks.0.products=[map]"] if alone else [])]
    main(["process", "--quiet", *words, "--set", "processors.1.radial_range=[4, 33]", "map.yaml", "frames.h5"])
    found = as_pyfai_diffmap_view_reads("data/frames_map.h5")
    assert found["map"].shape == found["pointers"].shape == (200, 200) and found["pointers"][2, 9] == 409
    assert np.isfinite(found["map"][0, :7]).all()
    assert found["slow"][-1] == pytest.approx(1.99) and found["fast"][0] == -1 and len(found["radial"]) == 1000
    assert found["radii"].shape == SHAPE and found["offset"] == 0 and not found["images"]
    assert 4 < found["radial"][0] < found["radial"][-1] < 33 < found["radii"].max()


@pytest.mark.slow
def test_silx_shows_the_cube_as_spectra_and_the_images_as_images(folder: Path) -> None:
    main(["process", "--quiet", "map.yaml", "frames.h5"])
    with silx_open("data/frames_map.h5") as file:
        cube, images = nxdata.get_default(file["entry/map"]), nxdata.get_default(file["entry/map_images"])
        assert cube.is_valid and cube.signal_ndim == 3 and cube.interpretation == "spectrum"
        assert cube.axes_names == ["samz", "samy", "q"] and cube.signal.shape[-1] == len(cube.axes[-1]) == 1000
        assert images.is_valid and images.interpretation == "image" and images.axes_names == ["samz", "samy"]
        np.testing.assert_allclose(images.axes[1][()], np.linspace(-1, 1, 200))
