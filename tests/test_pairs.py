"""Split pixels by one bin and one share: the numbers of the general kernel, for every type and whatever is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_frames import PONI, SHAPE, bad_pixels, rings

from processors import correct, integrate
from processors.integration.cpu import CpuEngine
from processors.integration.pairs import pairs_of
from processors.integration.plan import Plan
from processors.integration.shares import LARGEST, bits_of_squares, least_share
from processors.integration.weighted import BITS
from stream import ScanStart, Work
from stream.events import Detector


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    (tmp_path / "d.poni").write_text(PONI)
    return tmp_path / "d.poni"


def plan_of(poni: Path, dtype: str, corrections: dict[str, Any] | None = None, **options: Any) -> Plan:
    mask = bad_pixels().astype(np.uint32)
    scan = ScanStart("u", "7", SHAPE, np.dtype(dtype), ("a",), None, Detector(pixel_mask={"a": mask}), 0.0)
    work = Work()
    correct.create(correct.Config(**(corrections or {}))).start(scan, work)
    made = {
        "poni": poni,
        "unit": "q_nm^-1",
        "npt": 60,
        "radial_range": (4, 18),
        "splitting": "full",
        "device": "cpu",
        **options,
    }
    step = integrate.create(integrate.Config(**made))
    step.start(scan, work)
    assert step._engine is not None
    plan: Plan = step._engine.plan
    return plan


def general(plan: Plan, dtype: str) -> CpuEngine:
    """An engine that does every pixel by the general kernel."""
    engine = CpuEngine(plan, np.dtype(dtype))
    engine._pairs = None
    return engine


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("model", ["none", "poisson"])
@pytest.mark.parametrize("splitting", ["full", "bbox"])
def test_the_numbers_are_those_of_the_general_kernel(poni: Path, dtype: str, model: str, splitting: str) -> None:
    plan = plan_of(poni, dtype, {"dummy": 5, "delta_dummy": 0.5}, error_model=model, splitting=splitting)
    engine = CpuEngine(plan, np.dtype(dtype))
    assert engine._pairs is not None and 0 < len(engine._pairs.others) < SHAPE[0] * SHAPE[1] / 5
    for seed in range(3):
        image = rings(dtype, seed)
        dice = np.random.default_rng(seed)
        rows, columns = (dice.integers(0, size, 40) for size in SHAPE)
        image[rows, columns] = np.nan if image.dtype.kind == "f" else np.iinfo(dtype).max
        image[:3, :50] = 5
        if image.dtype.itemsize >= 4:  # of which some blocks have no room in whole numbers
            image[60, 20:40] = np.array([65535, 65536, 65537, 10**6, 2**31 - 2], image.dtype)[dice.integers(0, 5, 20)]
        found, wanted = engine.run(image, 1.5), general(plan, dtype).run(image, 1.5)
        np.testing.assert_allclose(found[0], wanted[0], rtol=2e-6)
        if model == "poisson":
            np.testing.assert_allclose(found[1], wanted[1], rtol=2e-6)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 5000])
def test_a_frame_in_pieces_is_the_frame(poni: Path, size: int) -> None:
    """Pieces of a few pixels come first, the rest at once."""
    engine = CpuEngine(plan_of(poni, "uint16", error_model="poisson"), np.dtype("u2"))
    image = rings("uint16", 4)
    image[50, 60:90] = 2**16 - 1
    whole, errors = engine.run(image, 1.0)
    engine.begin()
    flat = image.ravel()
    small = flat[: min(len(flat), 3000 * size)]
    for first in range(0, len(small), size):
        engine.add(small[first : first + size], first)
    engine.add(flat[len(small) :], len(small))
    found, found_errors = engine.result(1.0)
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    assert errors is not None and found_errors is not None
    np.testing.assert_allclose(found_errors, errors, rtol=1e-6)


def test_a_bin_of_which_every_pixel_is_bad_is_empty_in_that_frame_alone(poni: Path) -> None:
    engine = CpuEngine(plan_of(poni, "uint16"), np.dtype("u2"))
    sound = np.isfinite(engine.run(rings(), 1.0)[0]).sum()
    image = rings()
    image[:, :] = 2**16 - 1
    assert np.isnan(engine.run(image, 1.0)[0]).all()
    assert np.isfinite(engine.run(rings(), 1.0)[0]).sum() == sound > 50


@pytest.mark.parametrize("entries", [0, 1, 5000, 2**17, 2**21, 2**25])
def test_shares_have_as_many_bits_as_their_sums_have_room_for(entries: int) -> None:
    """And the smallest of them is told to 4e-6 in what is made of its square alone."""
    bits, least = bits_of_squares(entries), least_share(entries)
    assert bits <= 42 and entries * LARGEST * 2**bits < 2**64 and entries * LARGEST * 2**BITS < 2**64
    assert 2.0**-bits / least**2 < 8e-6 and 2.0 ** -(BITS + 1) / least < 1e-5
    assert least < 2.0**-12 or entries > 2**14


def test_most_of_a_cake_is_left_to_the_general_kernel(poni: Path) -> None:
    assert pairs_of(plan_of(poni, "uint16", npt_azimuthal=90)) is None
