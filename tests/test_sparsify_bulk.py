"""Weighted counts clipped by bulk: the background and the picked pixels are those of clipping pixel by pixel."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringed import SHAPE, assert_same, frame, polar, recipe, weights

from processors.bragg.bulk import Bulk
from processors.bragg.cpu import CpuEngine

DTYPES = ("uint8", "uint16", "uint32", "int16", "int32")


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
