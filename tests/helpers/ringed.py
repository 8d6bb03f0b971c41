"""Frames with rings about a corner, the geometry that knows their bins, and what two engines must agree in."""

from functools import cache

import numpy as np

from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import OUTSIDE, Polar
from stream.events import Array

SHAPE, BINS = (211, 203), 40


@cache
def polar() -> Polar:
    """Rings about a corner of the frame, some masked pixels, and some beyond the last bin."""
    rows, columns = np.indices(SHAPE)
    radius = np.hypot(rows, columns).astype(np.float32)
    mask = np.random.default_rng(0).random(SHAPE) < 0.02
    position = (radius / 6 - 0.5).ravel()
    bin_of = np.where((radius.ravel() // 6 < BINS) & ~mask.ravel(), radius.ravel() // 6, BINS).astype(np.uint16)
    position = np.where(bin_of < BINS, np.clip(position, 0, BINS - 1), OUTSIDE).astype(np.float32)
    members = np.bincount(bin_of, minlength=BINS + 1)[:BINS].astype(np.int32)
    centers = (np.arange(BINS, dtype=np.float32) + 0.5) * 6
    return Polar(BINS, bin_of, members, position, radius, centers, mask.astype(np.int8), None, "r_m", 1.0, "r", None)


def weights(seed: int, spread: float) -> Array:
    dice = np.random.default_rng(seed)
    norm = (np.linspace(1, 1 - spread, SHAPE[1]) * dice.normal(1, 0.05, SHAPE)).astype(np.float32)
    norm[3, ::7], norm[5, ::9] = 0.0, np.nan
    return norm


def recipe(dtype: str, model: str = "poisson", peaks: float = 4.0, cycle: int = 5, cutoff: float = 0.0) -> Recipe:
    largest = np.iinfo(dtype).max
    limits = (0.0, float(largest - 1), np.inf, -np.inf)
    return Recipe(model, cutoff, cycle, 1.0, 3.0, peaks, 3, 3, limits, 0.0)


def frame(dice: np.random.Generator, dtype: str, mean: float, ring: int | None = None) -> Array:
    """Poisson counts that fall with the radius, a ring, spots, and flagged pixels."""
    ring = int(dice.integers(40, 120)) if ring is None else ring
    radius = polar().radius
    largest = int(np.iinfo(dtype).max)
    wanted = mean * np.exp(-radius / 90) + 5 * mean * np.exp(-(((radius - ring) / 5) ** 2))
    image = np.minimum(dice.poisson(wanted), largest).astype(dtype)
    for row, column in dice.integers(2, 200, (9, 2)):
        bright = np.minimum(dice.poisson(mean * 60 + 20, (2, 2)), largest - 1)
        image[row : row + 2, column : column + 2] = bright.astype(dtype)
    image[dice.random(SHAPE) < 0.001] = -1 if dtype.startswith("i") else largest
    image[dice.random(SHAPE) < 0.0005] = largest
    return image


def assert_same(found: Sparse, wanted: Sparse) -> None:
    """The same pixels and peaks; background within 1e-6: the sums are made in another order."""
    assert np.isfinite(wanted.mean).all() and np.isfinite(wanted.deviation).all()
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.deviation, wanted.deviation, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.index, wanted.index)
    np.testing.assert_array_equal(found.intensity, wanted.intensity)
    np.testing.assert_array_equal(found.peak_index, wanted.peak_index)
    np.testing.assert_allclose(found.peak_intensity, wanted.peak_intensity, rtol=1e-5)
    np.testing.assert_allclose(found.sigma, wanted.sigma, rtol=1e-5)


def assert_equal(found: Sparse, wanted: Sparse) -> None:
    """Bit for bit, types and all."""
    for name in Sparse.__slots__:
        one, other = getattr(found, name), getattr(wanted, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)
