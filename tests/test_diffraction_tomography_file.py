"""A tomogram in its file, through the whole pipeline: slices, volume, and the same after any number of kills."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from commands import ended, inbeam
from integration_frames import PONI, SHAPE, rings
from phantoms import sinogram
from turning import CENTRE, SIZE, Rows, frames, options, sample, start

from processors import diffraction_tomography as tomography
from processors.tomography.backprojection import fbp, seen
from sinks import hdf5
from sinks.check import check
from sinks.live.whole import Wholes
from stream import Field, Piece, Product, ScanEnd, Update, Work
from stream.commands.main import main
from stream.products import Declared
from stream.roles import Counters
from stream.testing.gathered import Gathered

ANGLES = np.arange(0, 180, 9.0)
CONFIG = Path(__file__).parents[1] / "configs/diffraction_tomography.yaml"


def record(path: Path, angles: np.ndarray = ANGLES) -> np.ndarray:
    """Frames, brighter where there is more in the beam, with a diode and a monitor. Returns how bright each is."""
    bright = sinogram(SIZE, angles, CENTRE)
    pattern = rings().astype(float)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data/data", (bright.size, *SHAPE), "u2", chunks=(1, *SHAPE), compression=1)
        monitor = np.linspace(1.0, 0.9, bright.size)
        for number, value in enumerate(bright.ravel()):
            data[number] = np.rint(10 * value * monitor[number] * pattern)
        file["entry/measurement/monitor"] = monitor
        file["entry/measurement/diode"] = 5e4 * np.exp(-bright.ravel() / 100) * monitor
        file["entry/measurement/rot"] = np.repeat(angles, SIZE)
    return bright


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("recorded") / "scan.h5"
    return path, record(path)


def shrunk(folder: Path, **changes: Any) -> Path:
    """The configuration as it is in configs/, for a smaller scan."""
    config = yaml.safe_load(CONFIG.read_text())
    for entry in config["processors"]:
        if entry["type"] == "diffraction_tomography":
            entry["slow"] |= {"points": len(ANGLES), "step": 9}
            entry["fast"]["points"] = SIZE
            entry |= changes
        if entry["type"] == "integrate":
            entry["npt"] = 120
    (folder / "detector.poni").write_text(PONI)
    config["sinks"] = [each for each in config["sinks"] if each["type"] != "monitor"]
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
def test_the_configuration_for_a_tomogram_runs(
    recorded: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from silx.io import nxdata

    path, bright = recorded
    monkeypatch.chdir(tmp_path)
    config = shrunk(tmp_path)
    assert main(["process", "--quiet", str(config), str(path)]) == 0
    (result,) = (tmp_path / "data").iterdir()
    assert check(result).sound
    inside = seen(SIZE, SIZE, CENTRE)
    with h5py.File(result) as file:
        slices, cube = file["entry/tomogram_slices"], file["entry/tomogram"]
        assert float(slices["centre"][()]) == pytest.approx(CENTRE, abs=0.02)
        assert slices["summary"][()].startswith(
            b"20 angles cover 180.0 of 180 degrees, largest gap 9; axis at column 18.3"
        )
        total = np.nansum(cube["I"][()].astype(float), axis=2)
        assert np.corrcoef(total.ravel(), bright.ravel())[0, 1] > 0.9999
        np.testing.assert_allclose(slices["total_sinogram"], total - total[:, :1], rtol=1e-6, atol=1e-3)
        shown = nxdata.NXdata(slices)
        assert shown.is_valid and shown.signal_ndim == 2 and shown.axes_names == ["y", "x"]
        assert slices["x"].attrs["units"] == "mm" and np.diff(slices["x"][()]) == pytest.approx(2 / 39)
        centre = float(slices["centre"][()])
        exact = fbp(slices["martensite_sum_sinogram"][()], ANGLES, centre=centre)
        found = slices["martensite_sum"][()]
        np.testing.assert_allclose(found[inside], exact[inside], rtol=1e-5, atol=1e-6 * exact.max())
        volume = file["entry/tomogram_volume"]
        assert volume["I"].shape == (SIZE, SIZE, 120) and volume["I"].chunks == (1, SIZE, 50)
        assert volume["I"].attrs["interpretation"] == "spectrum" and nxdata.NXdata(volume).is_valid
        radial = volume["radial_axis"][()]
        bins = (radial >= 15) & (radial <= 22)
        np.testing.assert_allclose(
            np.nansum(volume["I"][()].astype(float)[..., bins], axis=2)[inside], found[inside], atol=1e-5 * exact.max()
        )
        for name in ("tomogram", "tomogram_slices", "tomogram_volume"):
            assert file[f"entry/{name}/covered_frames"][()].all()


@pytest.mark.slow
def test_a_tomogram_killed_at_random_and_resumed_is_that_of_a_run_that_was_never_killed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scan.h5"
    record(path, np.arange(0, 180, 3.0))
    folders = tmp_path / "whole", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
        config = yaml.safe_load(
            shrunk(folder, slow={"first": 0, "step": 3, "points": 60}, picture_s=0.05, outliers=8).read_text()
        )
        config["run"] = {"workers": 1, "inbox_mb": 1.0}
        config["sinks"] = [{**each, "flush_ms": 0} for each in config["sinks"]]
        config["sinks"] += [{"type": "archive", "path": "data/{scan}.h5", "flush_ms": 0}]
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(config))
    assert _process(folders[0], path) == 0
    codes = [_process(folders[1], path, frames_then) for frames_then in (60, 400, 900)]
    assert codes[0] == -9, codes  # a later one may find the run at its end, where others keep the cores busy
    assert _process(folders[1], path) == 0
    results = [folder / "data/scan_tomogram.h5" for folder in folders]
    with h5py.File(results[0]) as wanted, h5py.File(results[1]) as found:
        for group in ("tomogram", "tomogram_images", "tomogram_slices", "tomogram_volume"):
            assert wanted[f"entry/{group}"].keys() == found[f"entry/{group}"].keys()
            for name, values in wanted[f"entry/{group}"].items():
                if isinstance(values, h5py.Dataset):
                    np.testing.assert_array_equal(
                        found[f"entry/{group}/{name}"][()], values[()], err_msg=f"{group}/{name}"
                    )
            assert found[f"entry/{group}/covered_frames"][()].all()
    assert check(results[1]).sound


def _process(folder: Path, recording: Path, killed_at: int | None = None) -> int:
    """The exit code. killed_at: kill it as soon as the slices in the file cover so many frames."""
    results = folder / "data/scan_tomogram.h5"
    command = inbeam("process", "--quiet", "pipeline.yaml", str(recording))
    return ended(command, lambda: killed_at is not None and _covered(results) >= killed_at, cwd=folder)


def _covered(path: Path) -> int:
    """Frames that the slices cover, less than all of them; 0 where there is no file yet, and in a finished one."""
    try:
        with h5py.File(path, "r", swmr=True) as file:
            covered = file["entry/tomogram_slices/covered_frames"][()]
            return 0 if file["entry/ledger/finished"][0] else int(covered.sum())
    except (OSError, KeyError, RuntimeError):
        return 0


def test_the_monitor_shows_the_slices_of_now(tmp_path: Path) -> None:
    config = tomography.Config(**options(centre=CENTRE))
    gatherer, source, work = tomography.create(config), Rows(), Work()
    work.put(Declared(tuple(source.start(start(), work))))
    products = gatherer.start(start(), work)
    shown, made = Wholes(products, 32_000_000), Gathered(tomography.create(config), [Rows()], start())
    for each in frames(sample())[: 25 * SIZE]:
        made.take(each)
        work.take(each)
        source.process(work)
        for update in gatherer.take(work):
            shown.take(update)
    for update in gatherer.finish(ScanEnd("one")):
        shown.take(update)
    made.finish(25 * SIZE)
    whole, newest = shown.of("tomogram_slices")
    assert not newest
    for name in ("total", "alpha_sum", "alpha_sum_sinogram", "summary"):
        wanted = made.fields("tomogram_slices")[name]
        np.testing.assert_array_equal(whole[name][: len(wanted)] if wanted.shape else whole[name], wanted)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_picture_that_is_written_again_and_again_does_not_grow_the_file(tmp_path: Path, compressed: bool) -> None:
    """If it is not compressed: the compressed ones show that there is something to avoid."""
    size, dice = 200, np.random.default_rng(2)
    field = Field("total", (size, size), np.dtype("f4"), per="scan", compressed=compressed)
    sink = hdf5.create(hdf5.Config(path=str(tmp_path / "p.h5"), flush_ms=0))
    sink.start(start(expected=0, readings={}), (Product("slices", (field,), "total"),))
    for noise in np.geomspace(1, 1e4, 60):  # what has more digits needs more room
        picture = np.rint(dice.normal(0, noise, (size, size))).astype(np.float32)
        sink.write(Update("one", "slices", {"total": Piece((0, 0), picture)}))
        sink.tick(Counters())
    sink.finish(ScanEnd("one"))
    sink.close()
    with h5py.File(tmp_path / "p.h5") as file:
        np.testing.assert_array_equal(file["entry/slices/total"], picture)
    grown = (tmp_path / "p.h5").stat().st_size - picture.nbytes
    assert (grown > 10 * picture.nbytes) == compressed and grown > 0
