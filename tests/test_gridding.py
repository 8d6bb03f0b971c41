"""Back-projection by way of a Fourier grid: against a direct one with an ideal interpolation, and against the truth."""

import numpy as np
import pytest
from phantoms import sinogram, well_inside

from processors.tomography import backprojection, filters
from processors.tomography.angles import weights_of
from processors.tomography.backprojection import seen
from processors.tomography.gridding import Gridded, fbp

SEQUENCE = np.arange(181) * 180 / 181
GOLDEN = np.mod(np.arange(200) * 111.24611797498108, 180)


def ideal(values: np.ndarray, angles: np.ndarray, centre: float, size: int) -> np.ndarray:
    """Direct back-projection of projections that are interpolated sixteen times finer by their Fourier series."""
    response = filters.response(values.shape[1])
    response[-1] /= 2  # half of it stands for the other sign of its frequency
    length = 16 * 2 * (len(response) - 1)
    fine = np.fft.irfft(np.fft.rfft(values, length // 16, axis=1) * response, length, axis=1) * 16
    place = np.arange(size) - (size - 1) / 2
    picture, weights = np.zeros((size, size)), weights_of(angles)
    for row, angle, weight in zip(fine, np.deg2rad(angles), weights, strict=True):
        at = (place[None, :] * np.cos(angle) + place[:, None] * np.sin(angle) + centre) * 16
        before = np.floor(at).astype(int)
        part = at - before
        picture += weight * (row[before % length] * (1 - part) + row[(before + 1) % length] * part)
    return picture


@pytest.mark.parametrize("angles", [SEQUENCE, GOLDEN, SEQUENCE * 2, -SEQUENCE], ids=["even", "golden", "turn", "back"])
@pytest.mark.parametrize(("columns", "size", "off"), [(160, 160, 0.0), (161, 161, 3.3), (160, 121, -7.25)])
def test_the_grid_gives_what_direct_back_projection_does(
    angles: np.ndarray, columns: int, size: int, off: float
) -> None:
    values, centre = sinogram(columns, angles), (columns - 1) / 2 + off
    wanted = ideal(values, angles, centre, size)
    inside = seen(size, columns, centre)
    difference = (fbp(values, angles, centre=centre, size=size) - wanted)[inside]
    assert np.sqrt(np.mean(difference**2) / np.mean(wanted[inside] ** 2)) <= 2e-4


@pytest.mark.parametrize("window", filters.WINDOWS)
def test_the_values_of_a_slice_are_the_true_ones(window: filters.Window) -> None:
    picture = fbp(sinogram(200, SEQUENCE), SEQUENCE, window=window)
    assert max(abs(picture[part].mean() - value) / value for part, value in well_inside(200)) <= 0.002


def test_it_is_near_to_linear_interpolation_and_lies_in_the_same_place() -> None:
    values = sinogram(160, SEQUENCE)
    inside = seen(160, 160, 79.5)
    direct = backprojection.fbp(values, SEQUENCE)[inside]
    assert np.corrcoef(fbp(values, SEQUENCE)[inside], direct)[0, 1] > 0.999


def test_a_slice_that_grows_and_forgets_ends_as_one_that_is_made_at_once() -> None:
    values, weights = sinogram(96, SEQUENCE), weights_of(SEQUENCE)
    growing = Gridded(96)
    growing.add(values[:90], SEQUENCE[:90], 47.5, 2 * weights[:90])
    growing.add(values[100:101] * 5, SEQUENCE[100:101], 47.5, weights[100:101])
    growing.slice()
    growing.add(values[100:101] * 5, SEQUENCE[100:101], 47.5, -weights[100:101])
    growing.add(values[:90], SEQUENCE[:90], 47.5, -weights[:90])
    for number in range(180, 89, -1):
        one = slice(number, number + 1)
        growing.add(values[one], SEQUENCE[one], 47.5, weights[one])
    whole = fbp(values, SEQUENCE)
    assert np.abs(growing.slice() - whole).max() <= 1e-5 * np.abs(whole).max()
    growing.clear()
    assert not growing.slice().any()
