"""`inbeam diff-map` and `inbeam diff-tomo` as a user types them, against pyFAI's own programs."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pyFAI.app.diff_tomo
import pyFAI.diffmap
import pytest
import yaml
from integration_frames import PONI, SHAPE, assert_agrees, bad_pixels, rings, uncertain_in_pyfai
from integration_frames import by_pyfai as by_pyfai_itself
from pyFAI.diffmap import DiffMap
from pyFAI.io.diffmap_config import DiffmapConfig

from stream import Frame, registry
from stream.codec.payload import decode
from stream.commands.main import main, parser
from stream.sources import files

FAST, SLOW = 4, 3


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INBEAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def edf(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    fabio.edfimage.EdfImage(data=image).write(str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """14 frames in `frames`, a geometry, darks, flats and a mask."""
    monkeypatch.chdir(tmp_path)
    for number in range(14):
        edf(tmp_path / "frames" / f"im_{number:04d}.edf", rings(seed=number))
    (tmp_path / "d.poni").write_text(PONI)
    dice = np.random.default_rng(5)
    for name in ("dark1", "dark2"):
        edf(tmp_path / f"{name}.edf", dice.integers(0, 3, SHAPE).astype(np.uint16))
    edf(tmp_path / "flat.edf", dice.uniform(0.8, 1.2, SHAPE).astype(np.float32))
    edf(tmp_path / "mask.edf", bad_pixels().astype(np.uint8))
    return tmp_path


def cube(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The map and the frame number of each point."""
    with h5py.File(path, "r") as file:
        return file["entry/map/I"][()], file["entry/map/frame_index"][()]


def by_pyfai(*words: str) -> np.ndarray:
    """The map that pyFAI's own diff_map makes of these words."""
    made = DiffMap()
    _, config = made.parse([*words, "--no-gui", "-o", "pyfai.h5"], with_config=True)
    made.configure_worker(config.ai)
    made.makeHDF5()
    made.process()
    with h5py.File("pyfai.h5", "r") as file:
        found: np.ndarray = file["entry_0000/pyFAI/result/intensity"][()]
    return found


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    filled = np.isfinite(ours)
    assert filled.mean() > 0.5 and (np.nan_to_num(theirs[~filled]) == 0).all()
    np.testing.assert_allclose(ours[filled], theirs[filled], rtol=1e-5, atol=1e-6)


@pytest.mark.shared
def test_the_golden_command_line_gives_the_golden_map(folder: Path, shared: Path) -> None:
    golden = shared / "golden"
    words = ["-p", str(golden / "t.poni"), "-m", str(golden / "mask.edf"), "-t", "4", "-r", "3", "-c", "200", "-O", "2"]
    assert main(["diff-map", "--no-gui", "-o", "map.h5", *words, str(golden / "stack_dense.h5")]) == 0
    ours, numbers = cube("map.h5")
    with h5py.File(golden / "diffmap_off2.h5") as file:
        assert_same(ours, file["entry_0000/pyFAI/result/intensity"][()])
    assert numbers.tolist() == np.arange(2, 14).reshape(3, 4).tolist()


@pytest.mark.shared
@pytest.mark.slow
def test_a_scan_of_i15_1_is_mapped_as_pyfai_integrates_its_frames(folder: Path, shared: Path) -> None:
    """20 frames of an EIGER2 CdTe 500k behind external links."""
    recorded = shared / "powder" / "i15_1_eiger2_cdte500k" / "i15-1-100245.nxs"
    Path("eiger.poni").write_text(
        'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": 7.5e-5, "pixel2": 7.5e-5, "max_shape": '
        "[512, 1028]}\nDistance: 0.3\nPoni1: 0.02\nPoni2: -0.05\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1.6e-11\n"
    )
    assert main(["diff-map", "-p", "eiger.poni", "-t", "5", "-r", "4", "--zigzag", "-o", "map.h5", str(recorded)]) == 0
    ours, numbers = cube("map.h5")
    integrator = pyFAI.load("eiger.poni")
    start, *frames = registry.create("stream", files.Config(files=(str(recorded),))).events()
    images = [decode(next(iter(frame.payloads.values()))) for frame in frames if isinstance(frame, Frame)]
    mask = sum(start.detector.pixel_mask.values(), start=np.zeros(start.shape, np.uint32)) != 0
    assert len(images) == 20 and numbers[1].tolist() == [9, 8, 7, 6, 5]
    for number, image in enumerate(images):
        bad = (mask | (image == np.iinfo(image.dtype).max)).astype(np.int8)
        reference = integrator.integrate1d(image, 1000, unit="2th_deg", method=("full", "csr", "cython"), mask=bad)
        assert_same(ours[tuple(np.argwhere(numbers == number)[0])], reference.intensity)


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "mask.edf", "-c", "150", "frames"],
        ["-m", "mask.edf", "-c", "150", "-O", "2", "--zigzag", "frames/im_*.edf"],
        ["-m", "mask.edf::0", "-P", "im_00", "-e", ".edf", "-c", "60", "--npt-azim", "1", "frames"],
    ],
)
def test_the_map_is_that_of_pyfai_for_the_same_words(folder: Path, words: list[str]) -> None:
    words = ["-p", "d.poni", "-t", "4", "-r", "4", *words]
    assert main(["diff-map", "--no-gui", "-o", "map.h5", *words]) == 0
    ours, numbers = cube("map.h5")
    theirs = by_pyfai(*(word.removesuffix("::0") for word in words))  # pyFAI fails at this spelling
    there = numbers >= 0
    assert there.sum() == (12 if "-O" in words else 14)
    assert_same(ours[there], theirs[there])


def test_a_map_of_cakes_is_that_of_pyfais_integrate2d(folder: Path) -> None:
    words = ["-t", "7", "-c", "60", "--npt-azim", "8", "-m", "mask.edf", "frames"]
    assert main(["diff-map", "-p", "d.poni", "-o", "map.h5", *words]) == 0
    ours, _ = cube("map.h5")
    assert ours.shape == (2, 7, 8, 60)
    options = {"npt": 60, "npt_azimuthal": 8, "unit": "2th_deg", "splitting": "full"}
    uncertain = uncertain_in_pyfai(rings(), bad_pixels(), {**options, "poni": Path("d.poni")})
    reference = by_pyfai_itself(Path("d.poni"), rings(seed=9), options, mask=bad_pixels())
    assert_agrees({"I": ours[1, 2]}, reference, but=uncertain)


def test_darks_and_flats_are_averaged_and_applied_as_pyfai_does(folder: Path) -> None:
    words = ["-d", "dark1.edf,dark2.edf", "-f", "flat.edf", "-m", "mask.edf"]
    assert main(["diff-tomo", "-p", "d.poni", "-t", "7", "-c", "150", *words, "frames"]) == 0
    ours, _ = cube("diff_tomo.h5")
    dark1, dark2, flat = (fabio.open(f"{name}.edf").data for name in ("dark1", "dark2", "flat"))
    reference = pyFAI.load("d.poni").integrate1d(
        rings(seed=8),
        150,
        unit="2th_deg",
        method=("full", "csr", "cython"),
        dark=(dark1.astype(float) + dark2) / 2,
        flat=flat,
        mask=bad_pixels().astype(np.int8),
    )
    assert_same(ours[1, 1], reference.intensity)


def grabbed(module: Any, call: Any) -> argparse.ArgumentParser:
    """The parser that pyFAI's program makes."""

    class Grab(argparse.ArgumentParser):
        def parse_args(self, *ignored: Any, **more: Any) -> Any:
            raise Grabbed(self)

    class Grabbed(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ArgumentParser", Grab)
        with pytest.raises(Grabbed) as found:
            call()
    made: argparse.ArgumentParser = found.value.args[0]
    return made


@pytest.mark.parametrize("command", ["diff-map", "diff-tomo"])
def test_every_option_of_the_original_is_there_and_takes_as_many_words(command: str) -> None:
    original = (
        grabbed(pyFAI.diffmap, lambda: DiffMap().parse([]))
        if command == "diff-map"
        else grabbed(pyFAI.app.diff_tomo, lambda: pyFAI.app.diff_tomo.DiffTomo().parse([]))
    )
    everything = parser((command,))
    ours = next(action for action in everything._actions if action.dest == "command").choices[command]  # type: ignore[index]
    options = {name: action for action in ours._actions for name in action.option_strings}
    assert {name for action in original._actions for name in action.option_strings} <= set(options)
    for action in original._actions:
        for name in action.option_strings:
            assert options[name].nargs == action.nargs, name
            if action.dest == "outfile":
                assert options[name].default == action.default


def test_a_tomography_scan_is_mapped_with_the_defaults_of_the_original(folder: Path, capsys: Any) -> None:
    assert main(["diff-tomo", "-p", "d.poni", "-t", "7", "-r", "2", "frames"]) == 0
    ours, numbers = cube("diff_tomo.h5")
    assert ours.shape == (2, 7, 1000) and numbers.tolist() == np.arange(14).reshape(2, 7).tolist()
    assert "2 slow x 7 fast x 1000 radial_axis; 14 frames" in capsys.readouterr().out
    reference = pyFAI.load("d.poni").integrate1d(
        rings(seed=9), 1000, unit="2th_deg", method=("full", "histogram", "cython")
    )
    assert_same(ours[1, 2], reference.intensity)


def test_the_slices_of_a_tomography_scan_can_be_made_of_its_file(folder: Path) -> None:
    assert main(["diff-tomo", "-p", "d.poni", "-t", "7", "-r", "2", "-c", "60", "-m", "mask.edf", "frames"]) == 0
    assert main(["reconstruct", "diff_tomo.h5", "--angles", "0:90", "--centre", "3"]) == 0
    assert Path("diff_tomo_volume.h5").exists()


@pytest.mark.parametrize("command", ["diff-map", "diff-tomo"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-d", "dark1.edf,nowhere.edf", "frames"], "-d/--dark: no such file: nowhere.edf"),
        (["-f", "nowhere.edf", "-m", "none.edf", "frames"], "-m/--mask: no such file: none.edf"),
        (["-m", "none.edf", "frames"], "-m/--mask: no such file: none.edf"),
        (["frames", "frames/im_9999.edf"], "FILE: no such file: frames/im_9999.edf"),
        (["-e", ".cbf", "frames"], "FILE: the folder frames has no file that can be read and ends with '.cbf'"),
        (["-p", "other.poni", "frames"], "-p/--poni: no such file: other.poni"),
    ],
)
def test_what_the_original_drops_in_silence_is_refused(
    folder: Path, command: str, words: list[str], told: str, capsys: Any
) -> None:
    assert main([command, "-p", "d.poni", "-t", "4", "-r", "3", "-o", "map.h5", *words]) == 2
    assert told in capsys.readouterr().err
    assert not Path("map.h5").exists() and not Path("map.yaml").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-p", "d.poni", "-o", "map.h5", "frames"], "-t/--fast: how many points a line has is not known"),
        (["-t", "4", "-o", "map.h5", "frames"], "-p/--poni: is mandatory"),
        (["-t", "4", "-p", "d.poni", "frames"], "-o/--output: is mandatory"),
        (["-t", "4", "-p", "d.poni", "-o", "map.h5"], "FILE: no input files"),
        (["-t", "4", "-p", "d.poni", "-o", "map.h5", "--gui", "frames"], "--gui: there is no window"),
        (["-t", "4", "-p", "d.poni", "-o", "frames/im_0000.edf", "frames"], "is what is to be read"),
        (["-t", "4", "-p", "d.poni", "-o", "map.h5", "--watch", "frames/im_0000.edf"], "--watch: follows one folder"),
    ],
)
def test_what_is_mandatory_or_cannot_be_is_told_before_anything_is_written(
    folder: Path, words: list[str], told: str, capsys: Any
) -> None:
    before = sorted(os.listdir())
    assert main(["diff-map", *words]) == 2
    assert told in capsys.readouterr().err
    assert sorted(os.listdir()) == before


def test_a_missing_file_leaves_a_hole_and_shifts_nothing(folder: Path) -> None:
    (folder / "frames" / "im_0005.edf").unlink()
    words = ["-p", "d.poni", "-t", "4", "-r", "4", "-c", "50"]
    assert main(["diff-tomo", *words, "frames"]) == 1
    wanted = np.array([*range(5), -1, *range(6, 14), -1, -1]).reshape(4, 4)
    assert cube("diff_tomo.h5")[1].tolist() == wanted.tolist()
    assert np.isnan(cube("diff_tomo.h5")[0][1, 1]).all()
    assert main(["diff-tomo", *words, "-o", "counted.h5", "--number", "position", "frames"]) == 0
    assert cube("counted.h5")[1].ravel().tolist() == [*range(13), -1, -1, -1]


def test_the_number_of_the_first_frame_may_be_told_where_its_file_is_missing(folder: Path) -> None:
    (folder / "frames" / "im_0000.edf").unlink()
    assert main(["diff-tomo", "-p", "d.poni", "-t", "7", "-c", "50", "--first", "0", "frames"]) == 1
    assert cube("diff_tomo.h5")[1].tolist() == [[-1, *range(1, 7)], list(range(7, 14))]


def test_folders_of_a_line_each_are_one_map_whatever_is_missing(folder: Path) -> None:
    for row in range(3):
        for column in range(4):
            if (row, column) != (1, 3):
                edf(folder / f"line_{row}" / f"a_{column:02d}.edf", rings(seed=4 * row + column))
    words = ["-p", "d.poni", "-t", "4", "-r", "3", "-c", "50", "line_0", "line_1", "line_2"]
    assert main(["diff-map", "-o", "map.h5", *words]) == 1
    ours, numbers = cube("map.h5")
    assert numbers.tolist() == [[0, 1, 2, 3], [4, 5, 6, -1], [8, 9, 10, 11]]
    reference = pyFAI.load("d.poni").integrate1d(rings(seed=8), 50, unit="2th_deg", method=("full", "csr", "cython"))
    assert_same(ours[2, 0], reference.intensity)


def test_series_that_take_turns_are_refused(folder: Path, capsys: Any) -> None:
    for number in range(3):
        for camera in "ab":
            edf(folder / "two" / f"{camera}_{number}.edf", rings())
    assert main(["diff-map", "-p", "d.poni", "-t", "3", "-o", "map.h5", "two"]) == 2
    assert "several series take turns" in capsys.readouterr().err


def test_surplus_frames_make_more_lines_and_lacking_ones_are_told(folder: Path, capsys: Any) -> None:
    assert main(["diff-map", "-p", "d.poni", "-t", "4", "-r", "2", "-c", "50", "-o", "map.h5", "frames"]) == 0
    assert cube("map.h5")[1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, -1, -1]]
    told = capsys.readouterr().out
    assert "2 points of the map have no frame and are NaN: (3, 2), (3, 3)" in told
    assert "the map has 4 lines instead of 2" in told


@pytest.mark.slow
def test_the_pipeline_is_saved_and_runs_again_by_itself(folder: Path) -> None:
    assert main(["diff-tomo", "-p", "d.poni", "-t", "7", "-c", "80", "-S", "frames"]) == 0
    assert Path("diff_tomo_stats.png").read_bytes().startswith(b"\x89PNG")
    saved = yaml.safe_load(Path("diff_tomo.yaml").read_text())
    assert [each["type"] for each in saved["processors"]] == ["correct", "integrate", "map"]
    first = cube("diff_tomo.h5")[0]
    files = saved["stream"]["files"]
    assert main(["process", "--quiet", "--set", "sinks.0.path=again.h5", "diff_tomo.yaml", *files]) == 0
    np.testing.assert_array_equal(cube("again.h5")[0], first)


def test_showing_the_pipeline_runs_nothing(folder: Path, capsys: Any) -> None:
    assert main(["diff-tomo", "-p", "d.poni", "-t", "7", "--show", "-g", "frames"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["processors"][1]["device"] == "opencl:gpu"
    assert not Path("diff_tomo.h5").exists() and not Path("diff_tomo.yaml").exists()


def test_an_earlier_result_is_replaced_by_a_new_one_only(folder: Path) -> None:
    words = ["diff-tomo", "-p", "d.poni", "-t", "7", "frames"]
    assert main([*words, "-c", "50"]) == 0
    assert main([*words, "-c", "60"]) == 0
    assert cube("diff_tomo.h5")[0].shape == (2, 7, 60)
    assert main([*words, "-c", "70", "-d", "nowhere.edf"]) == 2
    assert cube("diff_tomo.h5")[0].shape == (2, 7, 60)
    assert not list(folder.glob("diff_tomo_*.h5"))


@pytest.mark.slow
def test_a_folder_that_fills_is_mapped_while_it_does(folder: Path) -> None:
    words = ["-p", "d.poni", "-t", "7", "-r", "2", "-c", "50", "-e", ".edf", "--watch", "frames"]
    assert main(["diff-map", "-o", "live.h5", *words]) == 0
    assert cube("live.h5")[1].tolist() == np.arange(14).reshape(2, 7).tolist()


def saved_by_pyfai(folder: Path, **changes: Any) -> Path:
    """What pyFAI-diffmap saves of its window."""
    _, config = DiffMap().parse(
        ["-p", "d.poni", "-m", "mask.edf", "-t", "4", "-r", "4", "-c", "90", "--zigzag", "frames", "-o", "saved.h5"],
        with_config=True,
    )
    assert isinstance(config, DiffmapConfig)
    document = json.loads(repr(config))
    document["ai"].update(changes)
    path = folder / "diffmap.json"
    path.write_text(json.dumps(document))
    return path


def test_a_configuration_saved_by_pyfai_is_taken(folder: Path) -> None:
    changes = {
        "unit": "q_nm^-1",
        "error_model": "poisson",
        "polarization_description": [0.95, 0],
        "radial_range": [4, 20],
    }
    path = saved_by_pyfai(folder, **changes)
    assert main(["diff-map", "--config", str(path), "-t", "4", "-r", "4"]) == 0
    ours, numbers = cube("saved.h5")
    assert ours.shape == (4, 4, 90) and numbers[1].tolist() == [7, 6, 5, 4]
    reference = pyFAI.load("d.poni").integrate1d(
        rings(seed=6),
        90,
        unit="q_nm^-1",
        method=("full", "csr", "cython"),
        mask=bad_pixels().astype(np.int8),
        polarization_factor=0.95,
        radial_range=(4, 20),
        error_model="poisson",
    )
    assert_same(ours[1, 1], reference.intensity)
    with h5py.File("saved.h5") as file:
        assert_same(file["entry/map/I_errors"][1, 1], reference.sigma)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"normalization_factor": 2.0}, "normalization_factor: only 1.0 is known here"),
        ({"monitor_name": "ic"}, "monitor_name is not known here"),
        ({"integrator_class": "FiberIntegrator"}, "integrator_class"),
        ({"error_model": "hybrid"}, "error_model: hybrid is not known here"),
        ({"method": ["pseudo", "csr", "cython"]}, "pixel splitting that is not known here"),
    ],
)
def test_what_a_saved_configuration_wants_and_we_cannot_is_refused(
    folder: Path, changes: dict[str, Any], told: str, capsys: Any
) -> None:
    assert main(["diff-map", "--config", str(saved_by_pyfai(folder, **changes)), "-t", "4"]) == 2
    assert told in capsys.readouterr().err
    assert not Path("saved.h5").exists()
