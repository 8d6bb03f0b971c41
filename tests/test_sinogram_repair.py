"""Missing and wrong points of a sinogram: replaced, marked, and nothing else is touched."""

import numpy as np
import pytest
from phantoms import sinogram

from processors.tomography.angles import coverage
from processors.tomography.backprojection import fbp
from processors.tomography.repair import Mark, repaired

ANGLES = np.arange(0, 180, 1.5)


def test_short_gaps_are_filled_and_marked_and_long_ones_leave_their_projection_out() -> None:
    values = np.tile(np.arange(8.0), (4, 1))
    values[0, [2, 3]] = values[1, 7] = values[2, 2:6] = np.nan
    found = repaired(values, np.arange(4.0))
    np.testing.assert_array_equal(found.values[0], np.arange(8))
    assert found.values[1, 7] == 6 and np.isnan(found.values[2]).all()
    assert found.marks.tolist() == [[0, 0, 1, 1, 0, 0, 0, 0], [0] * 7 + [1], [3] * 8, [0] * 8]
    assert found.usable.tolist() == [True, True, False, True]
    assert np.isnan(values[0, 2]), "what was given is not changed"
    assert repaired(values, np.arange(4.0), longest_gap=1).usable.tolist() == [False, True, False, True]
    assert not repaired(np.full((1, 3), np.nan), np.zeros(1)).usable.any()
    assert repaired(np.array([[1.0, np.inf, 3.0]]), np.zeros(1)).values.tolist() == [[1, 2, 3]]


def test_a_slice_with_gaps_is_nearly_that_without() -> None:
    values, dice = sinogram(200, ANGLES), np.random.default_rng(3)
    damaged = values.copy()
    damaged[dice.random(values.shape) < 0.01] = np.nan
    damaged[40, 20:90] = np.nan
    found = repaired(damaged, ANGLES)
    weights = coverage(np.where(found.usable, ANGLES, np.nan)).weights
    assert not found.usable[40] and weights[40] == 0 and weights[41] == pytest.approx(np.deg2rad(2.25))
    slices = [fbp(values, ANGLES), fbp(np.nan_to_num(found.values), ANGLES, weights=weights)]
    assert np.corrcoef(slices[0].ravel(), slices[1].ravel())[0, 1] > 0.99


def test_single_grains_are_found_replaced_and_marked_whatever_order_the_angles_have() -> None:
    dice = np.random.default_rng(2)
    truth = 100 * sinogram(200, ANGLES) / 50 + 20
    values = dice.poisson(truth).astype(float)
    spots = np.zeros(values.shape, bool)
    spots[tuple(dice.integers(2, size - 2, 60) for size in values.shape)] = True
    values[spots] += 40 * np.sqrt(values[spots])
    order = dice.permutation(len(ANGLES))
    found = repaired(values[order], ANGLES[order], outliers=8)
    marks, repair = np.empty_like(found.marks), np.empty_like(found.values)
    marks[order], repair[order] = found.marks, found.values
    assert (marks[spots] == Mark.OUTLIER).all() and (marks == Mark.OUTLIER).sum() <= spots.sum() + 3
    assert np.abs((repair - truth)[spots] / np.sqrt(truth[spots])).max() < 5
    np.testing.assert_array_equal(repair[marks == Mark.MEASURED], values[marks == Mark.MEASURED])
    assert (repaired(values, ANGLES).marks == Mark.MEASURED).all(), "nobody looks unless asked"


def test_nothing_to_compare_with_is_no_outlier() -> None:
    for values in (np.zeros((3, 3)), np.ones((3, 3)), np.full((2, 4), np.nan), np.array([[5.0, np.nan, 1.0]])):
        assert not (repaired(values, np.arange(len(values)), outliers=5).marks == Mark.OUTLIER).any()
