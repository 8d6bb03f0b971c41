"""`inbeam reconstruct`: the volume of a finished map, as the live run would have made it, or with other options."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from turning import ANGLES, BINS, CENTRE, ROIS, SIZE, Rows, filed, frames, options, sample

from processors import diffraction_tomography as tomography
from processors import map as mapping
from processors.tomography.backprojection import fbp, seen
from processors.tomography.volume import Recipe, blocks
from stream import Axis, Field, Product, ScanStart, Work
from stream.commands.main import main
from stream.commands.volumes.source import opened
from stream.commands.volumes.target import write

INSIDE = seen(SIZE, SIZE, CENTRE)


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With air, outliers, a monitor, a diode, and a projection and some points that are missing."""
    points = sample() + 30
    diode = np.exp(-sample()[..., :4].sum(axis=2) / 20_000) * 1e5
    points[17, 15] *= 8
    config = tomography.Config(
        **options(volume=True, air={"points": 2}, outliers=9, centre_from="diode", normalize_by="monitor")
    )
    given = frames(points * 2, diode=diode * 2, monitor=np.full(diode.shape, 2.0))
    given = [each for each in given if each.index not in (5 * SIZE + 10, 5 * SIZE + 11)]
    path = tmp_path_factory.mktemp("tomogram") / "scan.h5"
    return filed(path, tomography.create(config), given)


def of(path: Path) -> Any:
    """The volume in a file, and how it was made, in words."""
    with h5py.File(path) as file:
        return file["entry/volume/I"][()], file["entry/reconstruction/summary"][()].decode()


def test_later_it_is_the_same_volume_as_at_the_end_of_the_scan(tomogram: Path, tmp_path: Path) -> None:
    from silx.io import nxdata

    target = tmp_path / "volume.h5"
    assert main(["reconstruct", str(tomogram), "-o", str(target)]) == 0
    with h5py.File(tomogram) as live, h5py.File(target) as later:
        volume = later["entry/volume"]
        np.testing.assert_array_equal(volume["I"], live["entry/tomogram_volume/I"])
        np.testing.assert_array_equal(volume["replaced"], live["entry/tomogram_volume/replaced"])
        np.testing.assert_array_equal(later["entry/sinogram/total"], live["entry/tomogram_slices/total_sinogram"])
        np.testing.assert_array_equal(later["entry/sinogram/marks"], live["entry/tomogram_slices/total_marks"])
        words = later["entry/reconstruction/summary"][()].decode()
        assert words.startswith("60 angles cover 180.0 of 180 degrees, largest gap 3; axis at column 18.3")
        assert "2 points interpolated" in words
        total = np.nansum(volume["I"][()].astype(float), axis=2)
        np.testing.assert_allclose(later["entry/slice/total"][()][INSIDE], total[INSIDE], rtol=1e-6, atol=1e-3)
        assert volume["I"].chunks == (1, SIZE, BINS) and "32008" in volume["I"]._filters
        assert volume["I"].attrs["interpretation"] == "spectrum"
        default = nxdata.get_default(later)
        assert default.is_valid and default.signal_name == "reconstructed" and default.axes_names == ["y", "x", "q"]
        assert all(nxdata.NXdata(later[f"entry/{name}"]).is_valid for name in ("slice", "sinogram"))


def test_other_options_than_those_of_the_scan_may_be_tried(tomogram: Path, tmp_path: Path) -> None:
    target = tmp_path / "volume.h5"
    command = ["reconstruct", str(tomogram), "-o", str(target), "--overwrite", "--centre", "18.3"]
    plain = [*command, "--outliers", "0", "--air", "0", "--window", "hann", "--threads", "1"]
    assert main(plain) == 0
    found, words = of(target)
    points = sample()[..., 2].astype(float) + 30
    points[17, 15] *= 8
    points[5, 9:13] = np.interp(np.arange(4), [0, 3], points[5, [9, 12]])
    exact = fbp(points, ANGLES, centre=18.3, window="hann")
    np.testing.assert_allclose(found[INSIDE, 2], exact[INSIDE], rtol=1e-5, atol=1e-5 * exact.max())
    assert "column 18.300 (given)" in words and "outliers" not in words
    assert main([*command[:-2], "--centre-from", "diode", "--angles", "90:267"]) == 0
    turned, words = of(target)
    assert "axis at column 18.3" in words
    first = np.rot90(turned[..., 2], 1)
    assert np.corrcoef(first[INSIDE], of_tomogram(tomogram)[INSIDE])[0, 1] > 0.99
    listed = tmp_path / "angles.txt"
    np.savetxt(listed, ANGLES)
    assert main([*command, "--angles", str(listed)]) == 0


def of_tomogram(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        found: np.ndarray = file["entry/tomogram_volume/I"][..., 2]
        return found


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True], ids=["rotation slow", "rotation fast"])
def test_any_map_of_inbeam_can_be_reconstructed_if_its_angles_are_given(turned: bool, tmp_path: Path) -> None:
    directions: dict[str, Any] = {"fast": 60, "slow": SIZE} if turned else {"fast": SIZE, "slow": 60}
    path = filed(tmp_path / "m.h5", mapping.create(mapping.Config(**directions)), frames(sample(), turned=turned))
    command = ["reconstruct", str(path), "--rotation", "fast" if turned else "slow"]
    assert main(command) == 2, "nobody said the angles"
    assert main([*command, "--angles", "0:177"]) == 0
    found, words = of(tmp_path / "m_volume.h5")
    column = float(words.split("column ")[1].split()[0])
    assert column == pytest.approx(CENTRE, abs=0.1)
    exact = fbp(sample().astype(float), ANGLES, centre=column)
    np.testing.assert_allclose(found[INSIDE], exact[INSIDE], atol=2e-3 * exact.max())


def test_the_angles_of_a_map_whose_motor_is_in_degrees_are_known(tmp_path: Path) -> None:
    config = mapping.Config(slow={"motor": "rot", "first": 0, "step": 3, "points": 60, "unit": "deg"}, fast=SIZE)
    path = filed(tmp_path / "m.h5", mapping.create(config), frames(sample()))
    assert main(["reconstruct", str(path), "--centre", str(CENTRE)]) == 0
    found, _ = of(tmp_path / "m_volume.h5")
    exact = fbp(sample().astype(float), ANGLES, centre=CENTRE)
    np.testing.assert_allclose(found[INSIDE], exact[INSIDE], atol=1e-6 * exact.max())


class Cakes(Rows):
    """Two azimuths: the second one has twice as much, less what is masked."""

    def start(self, scan: ScanStart, work: Work) -> Any:
        axes = (Axis("azimuth", np.array([0.0, 180.0]), "deg"), Axis("q", np.arange(BINS, dtype=float), "1/nm", "q"))
        return (Product("rows", (Field("I", (2, BINS), np.dtype("f4"), "counts"),), "I", axes),)

    def process(self, work: Work) -> None:
        row = work.image()[0].astype(np.float32)
        work.results["rows"] = {"I": np.stack([row, 2 * row])}


@pytest.mark.slow
def test_a_cake_is_averaged_over_its_azimuths(tmp_path: Path) -> None:
    config = tomography.Config(**options(volume=True, centre=CENTRE))
    path = filed(tmp_path / "cake.h5", tomography.create(config), frames(sample()), Cakes())
    assert main(["reconstruct", str(path)]) == 0
    found, _ = of(tmp_path / "cake_volume.h5")
    exact = 1.5 * fbp(sample().astype(float), ANGLES, centre=CENTRE)
    np.testing.assert_allclose(found[INSIDE], exact[INSIDE], atol=1e-6 * exact.max())
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/tomogram_volume/I"], found)


@pytest.mark.slow
def test_half_of_a_sample_at_a_time(tmp_path: Path) -> None:
    angles, centre = np.arange(0, 360, 3.0), 5.4
    config = tomography.Config(
        **options(
            slow={"points": 120}, fast=26, angles=tuple(angles), centre=centre, half_acquisition=True, volume=True
        )
    )
    path = filed(tmp_path / "half.h5", tomography.create(config), frames(sample(angles, centre, 26)))
    assert main(["reconstruct", str(path)]) == 0
    found, _ = of(tmp_path / "half_volume.h5")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["entry/tomogram_volume/I"], found)
    assert found.shape == (41, 41, BINS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--angles", "0"], "is neither FIRST:LAST nor a file of numbers"),
        (["--centre", "40"], "column 40 is none of 0 to 39"),
        (["--centre-from", "pin"], "no reading is called 'pin' (there are: diode, monitor)"),
        (["--map", "other"], "has no such map (there is: tomogram)"),
        (["--outliers", "1", "--air", "-1"], "--air: must not be negative"),
        (["--centre", "19", "--centre-from", "diode"], "--centre-from: --centre says it: leave one out"),
        (["--air", "0", "--air-by", "divide"], "--air-by: nothing of --air is corrected: give that too"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    tomogram: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    target = tmp_path / "volume.h5"
    assert main(["reconstruct", str(tomogram), "-o", str(target), *arguments]) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_files_are_neither_replaced_nor_taken_for_what_they_are_not(
    tomogram: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.h5"
    there.write_bytes(b"precious")
    few = tmp_path / "few.txt"
    few.write_text("1 2 3")
    assert main(["reconstruct", str(tomogram), "-o", str(there)]) == 2
    assert main(["reconstruct", str(tomogram), "-o", str(tomogram), "--overwrite"]) == 2
    assert main(["reconstruct", str(tomogram), "-o", str(tmp_path / "v.h5"), "--angles", str(few)]) == 2
    assert "3 angles for 60 projections" in capsys.readouterr().err
    assert there.read_bytes() == b"precious"
    assert main(["reconstruct", str(there)]) == 1
    assert main(["reconstruct", str(tmp_path / "none.h5")]) == 2
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 1
    assert main(["reconstruct", str(tmp_path / "other.h5")]) == 1
    assert "is not a results file of inbeam: it has no " in capsys.readouterr().err


def test_a_volume_that_is_broken_off_leaves_no_file(tomogram: Path, tmp_path: Path) -> None:
    def broken() -> Any:
        yield from ()
        raise KeyboardInterrupt

    with opened(tomogram, None, None) as turned, pytest.raises(KeyboardInterrupt):
        none = np.zeros((1, 1))
        write(tmp_path / "v.h5", turned, broken(), 4, rows={}, sinogram=none, marks=none, about={}, summary="")
    assert not list(tmp_path.iterdir())


def test_what_is_left_out_or_unsure_makes_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = sample() * (1 + 0.5 * np.cos(np.deg2rad(2 * ANGLES)))[:, None, None]
    given = [each for each in frames(points) if not 7 * SIZE <= each.index < 7 * SIZE + 9]
    config = mapping.Config(
        slow={"motor": "rot", "first": 0, "step": 3, "points": 60, "unit": "deg"}, fast=SIZE, rois=ROIS
    )
    path = filed(tmp_path / "m.h5", mapping.create(config), given)
    assert main(["reconstruct", str(path)]) == 1
    told = capsys.readouterr()
    assert "1 projections are left out" in told.err and "the centre of rotation is unsure" in told.err
    assert "59 angles cover 180.0 of 180 degrees, largest gap 6" in told.out


def test_no_more_than_a_block_of_bins_is_read_at_once() -> None:
    asked: list[int] = []

    def read(first: int, end: int) -> np.ndarray:
        asked.append(end - first)
        return np.ones((3, 5, end - first))

    made = list(blocks(read, 120, np.array([0.0, 60, 120]), Recipe(2.0, 5)))
    assert asked == [50, 50, 20] and [each.pictures.shape for each in made] == [(5, 5, 50), (5, 5, 50), (5, 5, 20)]
