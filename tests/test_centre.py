"""The centre of rotation, and how sure it is: known slices, and recorded scans."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from phantoms import sinogram

from processors.tomography.centre import estimate, mirror

ANGLES = np.arange(0, 180, 1.5)


@pytest.mark.parametrize("centre", [88.0, 99.5, 103.37])
@pytest.mark.parametrize("angles", [ANGLES, np.arange(0, 360, 3.0), np.mod(np.arange(80) * 111.246, 180)])
def test_the_centre_of_a_known_slice_is_found(angles: np.ndarray, centre: float) -> None:
    measured = sinogram(200, angles, centre)
    found = estimate(measured, angles)
    assert found.column == pytest.approx(centre, abs=0.02) and found.uncertainty < 0.05 and found.mass_spread < 0.001
    measured += np.random.default_rng(4).normal(0, 0.02 * measured.max(), measured.shape)
    noisy = estimate(measured, angles)
    assert abs(noisy.column - centre) < 0.3
    assert abs(noisy.column - centre) < 3 * noisy.uncertainty < 3


def test_opposite_projections_check_it() -> None:
    angles = np.arange(0, 360, 3.0)
    found = estimate(sinogram(200, angles, 103.37), angles)
    assert found.mirror == pytest.approx(103.37, abs=0.02)
    assert np.isnan(estimate(sinogram(200, ANGLES, 103.37), ANGLES).mirror)
    assert np.isnan(mirror(np.zeros((1, 20)), np.zeros(1)))


def test_few_angles_say_little_and_the_middle_is_no_knowledge() -> None:
    measured = sinogram(200, ANGLES, 91.2)
    few = estimate(measured[:4], ANGLES[:4])
    assert few.column == 99.5 and not few.known
    measured += np.random.default_rng(4).normal(0, 0.02 * measured.max(), measured.shape)
    growing = [estimate(measured[:count], ANGLES[:count]) for count in (12, 30, 60, 120)]
    assert all(abs(each.column - 91.2) < 4 * each.uncertainty for each in growing)
    assert growing[0].uncertainty > 5 * growing[-1].uncertainty
    assert not estimate(np.zeros((20, 30)), np.arange(20.0)).known
    assert not estimate(np.tile(measured[0], (9, 1)), np.zeros(9)).known


def test_a_projection_without_beam_does_not_draw_it_away() -> None:
    measured = sinogram(200, ANGLES, 91.2)
    measured[50] *= 0.2
    measured[70] = np.nan
    measured[90, :100] = 0
    assert estimate(measured, ANGLES).column == pytest.approx(91.2, abs=0.02)


def test_a_texture_makes_the_centre_unsure() -> None:
    measured = sinogram(200, ANGLES, 91.2)
    wrong = estimate(
        measured * (1 + 0.2 * np.sin(np.linspace(0, 9, 200)) * np.cos(np.deg2rad(ANGLES * 2))[:, None]), ANGLES
    )
    assert wrong.uncertainty > 1 and abs(wrong.column - 91.2) < 2 * wrong.uncertainty


@pytest.mark.shared
def test_the_centre_of_a_ti64_slice_comes_from_its_absorption(shared: Path) -> None:
    """From the diffraction it would be 24.6: that is texture, and said."""
    with h5py.File(shared / "xrdct" / "odftomo_Ti64_smallslice_binned_100.h5") as file:
        diode = np.array([file[f"projections/{n}/diode"][:, 0] for n in range(60)])
        total = np.array([file[f"projections/{n}/data"][:, 0].sum(axis=1) for n in range(60)])
    angles = np.arange(-88.5, 89, 3)
    absorbed = estimate(-np.log(diode), angles)
    assert absorbed.column == pytest.approx(23.500, abs=0.001) and absorbed.uncertainty < 0.01
    diffracted = estimate(total, angles)
    assert diffracted.column == pytest.approx(24.6, abs=0.15) and diffracted.uncertainty > 1


@pytest.mark.shared
def test_the_centre_of_the_tooth(shared: Path) -> None:
    with h5py.File(shared / "tomo" / "tomopy_tooth.h5") as file:
        exchange = {name: file[f"exchange/{name}"][()].astype(float) for name in ("data", "data_white", "data_dark")}
        angles = file["exchange/theta"][()]
    dark = exchange["data_dark"].mean(axis=0)
    absorbed = -np.log((exchange["data"] - dark) / (exchange["data_white"].mean(axis=0) - dark))
    for row in (0, 1):
        found = estimate(absorbed[:, row], angles)
        assert found.column == pytest.approx(295.58, abs=0.1) and found.uncertainty < 1
        assert mirror(absorbed[:, row], angles, tolerance_deg=1.0) == pytest.approx(295.5, abs=0.1)
