"""Numbers of radial regions: against what is known of a Gaussian on a slope."""

import numpy as np
import pytest

from processors.mapping.pictures import patterns_of
from processors.mapping.rois import QUANTITIES, Roi, quantities, ratio

X = np.linspace(0, 10, 1001)


def peak(centre: float, fwhm: float, area: float) -> np.ndarray:
    sigma = fwhm / 2.3548200450309493
    found: np.ndarray = area / 100 * np.exp(-(((X - centre) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi)) * 100
    return found * 0.01


def test_area_position_and_width_of_a_peak_on_a_slope_are_found() -> None:
    patterns = np.array([7 + 3 * X + peak(centre, fwhm, 50) for centre, fwhm in ((4.2, 0.3), (5.1, 0.5))])
    found = quantities(patterns, X, Roi(range=(3, 7)))
    inside = (X >= 3) & (X <= 7)
    np.testing.assert_allclose(found["sum"], patterns[:, inside].sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["net"], [50, 50], rtol=1e-6)
    np.testing.assert_allclose(found["position"], [4.2, 5.1], atol=1e-6)
    np.testing.assert_allclose(found["width"], [0.3, 0.5], rtol=1e-5)


def test_a_mean_of_several_bins_at_each_end_makes_the_line() -> None:
    pattern = np.array([[9.0, 1, 5, 40, 5, 1, 9]])
    found = quantities(pattern, np.arange(7.0), Roi(range=(0, 6), edge_bins=2))
    assert found["net"][0] == pytest.approx(70 - 7 * 5)
    assert found["position"][0] == pytest.approx(3)


def test_bins_that_are_not_there_do_not_count_and_none_at_all_is_nan() -> None:
    patterns = np.array([[1.0, np.nan, 4, 1], [np.nan] * 4])
    found = quantities(patterns, np.arange(4.0), Roi(range=(0, 3)))
    assert found["sum"][0] == 6 and found["net"][0] == pytest.approx(3)
    assert all(np.isnan(found[quantity][1]) for quantity in QUANTITIES)
    edge = quantities(np.array([[np.nan, 2, 4, 1]]), np.arange(4.0), Roi(range=(0, 3)))
    assert edge["sum"][0] == 7 and np.isnan(edge["net"][0])


def test_a_region_without_a_peak_has_no_position() -> None:
    found = quantities(np.zeros((1, 5)), np.arange(5.0), Roi(range=(0, 4)))
    assert found["sum"][0] == found["net"][0] == 0 and np.isnan(found["position"][0]) and np.isnan(found["width"][0])


def test_a_ratio_by_nothing_is_nan() -> None:
    np.testing.assert_array_equal(ratio(np.array([6.0, 1, np.nan]), np.array([3.0, 0, 1])), [2, np.nan, np.nan])


def test_a_cake_is_averaged_over_the_azimuths_that_are_there() -> None:
    cake = np.array([[[1.0, 2], [3, np.nan]]])
    np.testing.assert_array_equal(patterns_of(cake), [[2, 2]])
