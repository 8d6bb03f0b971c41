"""Folders as IMAT leaves them, with its logs; and a scan by neutrons."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from projected import ANGLES, DARK
from radiographs import FLATS, SAMPLE, folder, imat

from processors.tomography.backprojection import fbp, seen
from stream.commands.main import main
from stream.commands.tomography.writing import CONFIGURATION, README

PLAIN = ("--median-filter-size", "0", "--out-img-format", "none", "--threads", "1")
HEAD = " TIME STAMP  IMAGE TYPE   IMAGE COUNTER   COUNTS BM3 before image   COUNTS BM3 after image\n\n"
BEAM = np.linspace(142_000, 70_000, len(SAMPLE)).astype(int)
"""Counts of the monitor: the beam fades to a half."""


def log(path: Path, counts: np.ndarray, angles: np.ndarray | None = None) -> None:
    """As IMAT writes it."""
    before, text = 314_389, HEAD
    for number, each in enumerate(counts.tolist()):
        what = f"Radiography:  {number}" if angles is None else f"Projection:  {number}  angle: {angles[number]:.4f}"
        text += f"Sun Feb 10 00:22:04 2019   {what}   Monitor 3 before:  {before}   Monitor 3 after:  {before + each}\n"
        before += each + 9_000
    path.write_text(text)


def faded(path: Path) -> Path:
    """The scan of `radiographs`, in a beam that fades, with its logs; the folder of projections."""
    counts = np.round((SAMPLE - DARK) * (BEAM / BEAM[0])[:, None, None] + DARK).astype("u2")
    folder(path / "Tomo", counts)
    folder(path / "Flat_Before", FLATS)
    folder(path / "Dark_Before", np.full_like(FLATS, int(DARK)))
    log(path / "TomoIMAT00010675_FlowerFine_log.txt", BEAM, ANGLES)
    log(path / "Flat_BeforeIMAT00010675_FlowerFine_log.txt", np.full(len(FLATS), BEAM[0]))
    return path / "Tomo"


def reconstructed(source: Path, target: Path, *more: str, code: int = 0) -> np.ndarray:
    import h5py

    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(target), *PLAIN, *more]) == code
    with h5py.File(target / "volume.nxs") as file:
        return np.asarray(file["entry/data/data"][()])


def test_angles_and_monitor_are_those_of_imats_log(tmp_path: Path) -> None:
    steady = reconstructed(imat(tmp_path / "steady"), tmp_path / "wanted", "--angles", "0:177", "--cor", "22.7")
    found = reconstructed(faded(tmp_path / "faded"), tmp_path / "made", "--monitor", "--cor", "22.7")
    inside = np.isfinite(found)
    assert np.abs((found - steady)[inside]).max() < 0.01 * steady[inside].max()
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())
    np.testing.assert_allclose(told["angles_deg"], ANGLES, atol=1e-4)
    without = reconstructed(tmp_path / "faded" / "Tomo", tmp_path / "wrong", "--cor", "22.7")
    assert np.abs((without - steady)[inside]).max() > 0.1 * steady[inside].max()


def test_what_the_user_says_of_angles_goes_before_the_log(tmp_path: Path) -> None:
    reconstructed(faded(tmp_path / "faded"), tmp_path / "made", "--angles", "0:90", code=1)
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())["angles_deg"]
    assert told[-1] == 90 and "directions are missing" in (tmp_path / "made" / README).read_text()


def test_a_log_of_another_number_of_images_is_not_used_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = faded(tmp_path / "faded")
    (source / "raw_7.tif").unlink()
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), *PLAIN]) == 2
    told = capsys.readouterr().err
    assert "TomoIMAT00010675_FlowerFine_log.txt has 60 lines, and Tomo 59 images: it is not used" in told
    assert "give --angles" in told


def test_without_the_log_of_the_flats_nobody_divides_by_the_monitor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = faded(tmp_path / "faded")
    (tmp_path / "faded" / "Flat_BeforeIMAT00010675_FlowerFine_log.txt").unlink()
    assert main(["tomo-reconstruct", "-i", str(source), "-o", str(tmp_path / "made"), "--monitor", *PLAIN]) == 2
    assert "no reading of the beam" in capsys.readouterr().err


def neutrons(shared: Path) -> np.ndarray:
    """(1125, 924): line integrals over a full turn, of rods in a matrix, by neutrons.

    `examples/scripts/data/sinogram.tiff` of github.com/dmici/NeuTomPy-toolbox at 10adf51 (GPL, not part of this
    project): name its place in INBEAM_NEUTRONS.
    """
    place = Path(os.environ.get("INBEAM_NEUTRONS", shared / "tomo" / "neutompy_sinogram.tiff"))
    if not place.is_file():
        pytest.skip("the neutron scan of NeuTomPy is not here: name it in INBEAM_NEUTRONS")
    with Image.open(place) as image:
        return np.asarray(image, np.float64)


@pytest.mark.slow
@pytest.mark.shared
def test_a_neutron_scan_has_its_axis_and_its_values(shared: Path, tmp_path: Path) -> None:
    """Against direct back-projection; the axis against where the slices of both half turns are most alike."""
    lines = neutrons(shared)
    count, columns = lines.shape
    angles = np.arange(count) * 360 / count
    open_beam = np.full((3, 1, columns), 30_100, "u2")
    folder(tmp_path / "IMAT" / "Tomo", np.round(30_000 * np.exp(-lines) + 100).astype("u2")[:, None])
    folder(tmp_path / "IMAT" / "Flat_Before", open_beam)
    folder(tmp_path / "IMAT" / "Dark_Before", np.full_like(open_beam, 100))
    log(tmp_path / "IMAT" / "TomoIMAT_log.txt", np.full(count, 142_000), angles)
    found = reconstructed(tmp_path / "IMAT" / "Tomo", tmp_path / "made", "--window", "hann")[0]
    told = yaml.safe_load((tmp_path / "made" / CONFIGURATION).read_text())["axis"]
    axis = told["column"]

    half = count // 2
    inside = np.hypot(*(np.indices((columns, columns)) - (columns - 1) / 2)) < 0.43 * columns

    def unlike(centre: float) -> float:
        one, other = (
            fbp(lines[some, ::4].copy(), angles[some], centre=centre / 4, window="hann")
            for some in (slice(0, half), slice(half, count))
        )
        return float(np.sqrt(np.mean((one - other)[inside[::4, ::4]] ** 2)))

    candidates = np.arange(454.0, 467.0)
    bend = np.polyfit(candidates, [unlike(each) for each in candidates], 2)
    independent = -bend[1] / (2 * bend[0])
    assert axis == pytest.approx(independent, abs=1.0), told

    wanted = fbp(lines, angles, centre=axis, window="hann")
    inside &= seen(columns, columns, axis, half_turn_only=True) & np.isfinite(found)
    assert np.corrcoef(found[inside], wanted[inside])[0, 1] > 0.98
    assert found[inside].mean() == pytest.approx(wanted[inside].mean(), rel=2e-3)
