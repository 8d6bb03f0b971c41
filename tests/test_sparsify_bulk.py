"""Weighted counts clipped by bulk: the background and the picked pixels are those of clipping pixel by pixel."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.bragg.bulk import Bulk
from processors.bragg.cpu import CpuEngine
from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import OUTSIDE, Polar
from stream.events import Array

SHAPE, BINS = (211, 203), 40
DTYPES = ("uint8", "uint16", "uint32", "int16", "int32")


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


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(DTYPES),
    st.sampled_from(("poisson", "azimuthal", "hybrid")),
    st.integers(0, 2**32 - 1),
    st.sampled_from((0.0, 0.3, 0.8)),
    st.booleans(),
    st.sampled_from((0, 1, 5)),
    st.lists(st.sampled_from((0.0, 0.03, 1.0, 4.0, 40.0)), min_size=2, max_size=5),
)
def test_frame_after_frame_the_answers_are_those_of_clipping_pixel_by_pixel(
    dtype: str, model: str, seed: int, spread: float, dark: bool, cycle: int, means: list[float]
) -> None:
    """Also where a frame is nothing like the one before."""
    dice = np.random.default_rng(seed)
    offset = dice.uniform(-0.5, 2, SHAPE).astype(np.float32) if dark else None
    made = polar(), recipe(dtype, model, cycle=cycle, cutoff=2.0 * (seed % 3)), offset, weights(seed, spread)
    bulk, plain = CpuEngine(*made), CpuEngine(*made, by_bulk=False)
    for mean in means:
        image = frame(dice, dtype, mean)
        assert_same(bulk.run(image), plain.run(image))


@pytest.mark.parametrize("model", ["poisson", "azimuthal", "hybrid"])
def test_frames_that_are_alike_need_no_second_look(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some frames the ranges suit all of them: the pixels are no longer corrected one by one."""
    dice = np.random.default_rng(5)
    made = polar(), recipe("uint32", model), None, weights(1, 0.4)
    bulk, plain = CpuEngine(*made), CpuEngine(*made, by_bulk=False)
    images = [frame(dice, "uint32", 2.0, ring=80) for _ in range(4)]
    for image in images * 3:
        bulk.run(image)
    monkeypatch.setattr(CpuEngine, "_clip_corrected", None)
    fits = [bulk.run(image) for image in images]
    monkeypatch.undo()
    for image, found in zip(images, fits, strict=True):
        assert_same(found, plain.run(image))


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"error_model": "5*I+8"}, "uint16"),
        ({"limits": (0.0, 65534.0, 0.0, 0.0)}, "uint16"),
        ({"limits": (-np.inf, 1e9, np.inf, -np.inf)}, "float32"),
    ],
)
def test_what_is_not_counted_so_is_clipped_pixel_by_pixel(changes: dict[str, Any], dtype: str) -> None:

    assert not Bulk.suits(replace(recipe("uint16"), **changes), weights(1, 0.1).ravel(), np.dtype(dtype))
    assert not Bulk.suits(recipe("uint16"), -weights(1, 0.1).ravel(), np.dtype("uint16"))
    assert Bulk.suits(recipe("uint16"), weights(1, 0.1).ravel(), np.dtype("uint16"))


def test_negative_counts_below_no_limit_are_counted_too() -> None:
    """A signed detector without flags: what is below zero is set apart, and is valid."""

    dice, low = np.random.default_rng(6), (-100.0, 30000.0, np.inf, -np.inf)
    made = polar(), replace(recipe("int16"), limits=low), None, weights(2, 0.2)
    bulk, plain = CpuEngine(*made), CpuEngine(*made, by_bulk=False)
    for _ in range(3):
        image = frame(dice, "int16", 2.0) - dice.integers(0, 3, SHAPE).astype(np.int16)
        assert_same(bulk.run(image), plain.run(image))
