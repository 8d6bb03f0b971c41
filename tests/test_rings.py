"""Stripes of a sinogram: against tomopy and algotom, and against what must be so."""

import numpy as np
import pytest
from scipy.ndimage import median_filter

from processors.tomography import rings, running, wavelets

ANGLES, COLUMNS = np.arange(45)[:, None], np.arange(37)[None, :]
SMOOTH = np.exp(-(((COLUMNS - 18 - 6 * np.sin(ANGLES / 9)) / 6.0) ** 2)) * 2 + 0.05
STRIPES = np.where(COLUMNS % 11 == 4, 0.2, 0.0)
SINOGRAM = SMOOTH + 0.01 * np.cos(ANGLES * COLUMNS) + STRIPES
POINTS = ((0, 0), (7, 15), (20, 4), (30, 26), (44, 36))


@pytest.mark.parametrize(
    ("found", "peer"),
    [
        (rings.by_sorting(SINOGRAM, 5), (0.059865, 0.719518, 0.049767, 0.360303, 0.059651)),  # algotom 1.7.0
        (rings.by_wavelets(SINOGRAM, 6), (0.142444, 0.080347, 0.185348, -0.128577, 0.052449)),  # tomopy 2c94ed1
        (rings.by_titarenko(SINOGRAM), (0.055745, 0.603724, 0.141324, 0.338473, 0.05974)),  # tomopy, alpha=0
    ],
    ids=rings.METHODS,
)
def test_rings_are_removed_as_the_peers_do(found: np.ndarray, peer: tuple[float, ...]) -> None:
    assert [float(found[point]) for point in POINTS] == pytest.approx(peer, abs=2e-6)


@pytest.mark.parametrize("method", rings.METHODS)
def test_what_is_the_same_in_all_angles_goes(method: rings.Method) -> None:
    angles, columns = np.arange(180)[:, None], np.arange(128)[None, :]
    smooth = np.exp(-(((columns - 64 - 20 * np.sin(angles / 29)) / 20.0) ** 2)) * 2 + 0.05
    striped = [20, 47, 64, 90]
    sinogram = smooth + 0.2 * np.isin(columns, striped)

    def edges(values: np.ndarray) -> float:
        return float(np.abs(np.diff(values.mean(axis=0), 2)[np.array(striped) - 1]).max())

    assert edges(sinogram) == pytest.approx(0.4, abs=0.01)
    assert edges(rings.without_rings(sinogram, method, np.arange(180.0))) < (0.3 if method == "titarenko" else 0.1)


def test_a_background_stays_what_it_is() -> None:
    found = rings.by_titarenko(np.full((30, 40), 0.05) + 0.01 * np.cos(np.arange(30))[:, None])
    assert found.mean() == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("method", rings.METHODS)
def test_a_sinogram_with_a_hole_is_refused(method: rings.Method) -> None:
    broken = SINOGRAM.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="mend it first"):
        rings.without_rings(broken, method, np.arange(45.0))


@pytest.mark.parametrize("shape", [(90, 37), (91, 160)])
def test_wavelets_give_back_what_they_were_given(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).normal(size=shape)
    smooth, details = wavelets.split(image)
    np.testing.assert_allclose(wavelets.joined(smooth, details)[: shape[0], : shape[1]], image, atol=1e-13)


@pytest.mark.parametrize("method", rings.METHODS)
def test_the_order_in_which_projections_came_does_not_matter(method: rings.Method) -> None:
    angles = ANGLES[:, 0] * 4.0
    some = np.random.default_rng(5).permutation(45)
    found = rings.without_rings(SINOGRAM[some], method, angles[some])
    np.testing.assert_allclose(found, rings.without_rings(SINOGRAM, method, angles)[some], atol=1e-12)


@pytest.mark.parametrize("first", [0.0, -88.2, 140.0, 300.0])
@pytest.mark.parametrize("turn", [180.0, 360.0])
def test_a_sample_that_turns_steadily_has_its_projections_in_order(first: float, turn: float) -> None:
    order = rings.round_the_circle(first + np.arange(90) * turn / 90)
    assert (np.diff(order) % 90 == 1).all()
    if turn == 180:
        np.testing.assert_array_equal(order, np.arange(90))


@pytest.mark.parametrize(("columns", "size"), [(37, 5), (37, 21), (8, 21), (1, 3), (40, 1)])
def test_a_running_median_is_that_of_sorting_every_window(columns: int, size: int) -> None:
    values = np.random.default_rng(6).integers(0, 9, (12, columns)) / 4
    np.testing.assert_array_equal(running.medians(values, size), median_filter(values, (1, size)))
    with pytest.raises(ValueError, match="odd"):
        running.medians(values, size + 1)
