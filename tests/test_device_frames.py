"""Frames that go to an OpenCL device compressed, once for all processors: the very numbers of the CPU's way."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integration_frames import PONI, rings, scan_of

from processors import correct, integrate, roi, sparsify
from processors.integration.cpu import CpuEngine
from processors.integration.opencl import OpenClEngine
from processors.integration.plan import MODELS, Plan
from processors.shared.device import devices
from processors.shared.device_frames import Desk
from processors.shared.unpacking import Unpacker
from stream.codec.native import bslz4_compress
from stream.events import Array, Encoding, Frame, FrameStatus, Payload
from stream.pipeline.chain import Chain, Step
from stream.work import Work

bragg_opencl = pytest.importorskip("processors.bragg.opencl")
pytestmark = [
    pytest.mark.opencl,
    pytest.mark.skipif(not devices(), reason="no OpenCL device, or no pyopencl"),
]


@pytest.fixture
def poni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tilted.poni"
    path.write_text(PONI)
    return path


def chain_of(poni: Path, image: Array, *steps: Step, device: str = "opencl", **options: Any) -> Chain:
    """`correct` and `integrate` on a device, and whatever else."""
    options = {"npt": 40, "error_model": "poisson", **options}
    made = integrate.create(integrate.Config(poni=poni, device=device, **options))
    chain = Chain([Step("correct", correct.create(correct.Config())), Step("integrate", made), *steps])
    chain.start(scan_of(image, None))
    assert not chain.refusal
    return chain


def frame(image: Array, data: bytes | None = None) -> Frame:
    payload = Payload(data or bslz4_compress(image), Encoding.BSLZ4, image.shape, image.dtype)
    return Frame("uid", 0, {"threshold_1": payload}, 0.0)


def assert_same(found: Frame, wanted: Frame) -> None:
    assert found.status is wanted.status is FrameStatus.RECEIVED
    for name, values in wanted.results["integrate"].items():
        np.testing.assert_array_equal(found.results["integrate"][name], values)


def flagged(image: Array) -> Array:
    """With pixels that only this frame does not have."""
    image = image.copy()
    image[::5, ::3] = -1 if image.dtype.kind == "i" else np.iinfo(image.dtype).max
    return image


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("uint32", {}),
        *(pytest.param(dtype, {}, marks=pytest.mark.slow) for dtype in ("uint8", "uint16", "int32")),
        *(
            pytest.param("uint32", options, marks=pytest.mark.slow)
            for options in ({"error_model": "none"}, {"npt_azimuthal": 5}, {"empty": 0.0})
        ),
    ],
)
def test_counts_give_the_very_patterns_of_the_cpu(poni: Path, dtype: str, options: dict[str, Any]) -> None:
    image = rings(dtype)
    chain, cpu = chain_of(poni, image, **options), chain_of(poni, image, device="cpu", **options)
    for each in (image, flagged(image), np.zeros_like(image), image):
        assert_same(chain.process(frame(each)), cpu.process(frame(each)))
        assert not chain._work.is_decoded("threshold_1") or (each == 0).all()


PLANS = (
    ("uint8", 254, 0.0, "poisson", False, 3),
    ("uint8", 255, 0.0, "none", True, 400),
    ("uint16", 60000, 2.0, "poisson", True, 3),
    ("int16", 32767, 0.0, "poisson", False, 400),
    ("uint32", 2**32 - 2, 0.0, "poisson", False, 1),
    ("int32", 300, 0.0, "none", True, 3),
)
"""Type, high, low, model, with a dark, bins."""
PIXELS = 9005


@cache
def engines(kind: int) -> tuple[OpenClEngine, CpuEngine]:
    name, high, low, model, dark, n_bins = PLANS[kind]
    dice, nothing = np.random.default_rng(kind), np.empty(0, np.float32)
    plan = Plan(
        n_bins, dice.integers(0, n_bins, PIXELS, endpoint=True).astype(np.uint16), np.empty(0, np.uint32), nothing,
        dice.uniform(0.5, 1.5, PIXELS).astype(np.float32),
        dice.uniform(-1, 3, PIXELS).astype(np.float32) if dark else nothing,
        low, high, np.inf, -np.inf, MODELS[model], float("nan"), dark,
    )  # fmt: skip
    return OpenClEngine(plan, np.dtype(name), devices()[0]), CpuEngine(plan, np.dtype(name))


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, len(PLANS) - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from((0, 0.01, 0.5, 1)),
    st.sampled_from((0, 2)),
)
@pytest.mark.slow
def test_whole_sums_are_those_of_the_cpu_bit_for_bit(kind: int, seed: int, anything: float, mean: float) -> None:
    device, cpu = engines(kind)
    assert device.whole
    dice, dtype = np.random.default_rng(seed), np.dtype(PLANS[kind][0])
    image, some = dice.poisson(mean, PIXELS).astype(dtype), dice.random(PIXELS) < anything
    image[some] = dice.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, int(some.sum()), dtype, endpoint=True)
    for found, wanted in zip(device.run(image, 1.5), cpu.run(image, 1.5), strict=True):
        assert (found is None) == (wanted is None)
        if found is not None and wanted is not None:
            np.testing.assert_array_equal(found, wanted)


def test_a_damaged_frame_is_corrupt_for_the_reason_that_the_cpu_has(poni: Path) -> None:
    image = rings("uint32")
    data = bslz4_compress(image)
    chain, cpu = chain_of(poni, image), chain_of(poni, image, device="cpu")
    too_long, no_lz4 = (data[:at] + bytes([255] * 40) + data[at + 40 :] for at in (12, 16))
    for hurt in (data[:-1], data[:40], too_long, no_lz4, data[:5]):
        found, wanted = (each.process(frame(image, hurt)) for each in (chain, cpu))
        assert found.status is wanted.status is FrameStatus.CORRUPT
        assert found.problem == wanted.problem and found.problem
        assert_same(chain.process(frame(image)), cpu.process(frame(image)))


@pytest.mark.slow
def test_what_the_device_does_not_decode_goes_there_decoded(poni: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = rings("uint32")
    chain = chain_of(poni, image)
    wanted = chain.process(frame(image))
    bare = Payload(bslz4_compress(image)[12:], Encoding.BSLZ4_BARE, image.shape, image.dtype)
    raw = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
    swapped = Payload(bslz4_compress(image.byteswap()), Encoding.BSLZ4, image.shape, np.dtype(">u4"))
    for payload in (bare, raw, swapped):
        assert_same(chain.process(replace(frame(image), payloads={"threshold_1": payload})), wanted)
    monkeypatch.setattr(Unpacker, "damaged", lambda _: True)
    assert_same(chain.process(frame(image)), wanted)
    assert chain._work.is_decoded("threshold_1")


def test_a_frame_unlike_its_scan_fails_and_says_so(poni: Path) -> None:
    image = rings("uint32")
    chain = chain_of(poni, image)
    for odd in (rings("uint16"), image[:-1], np.ascontiguousarray(image.T)):
        found = chain.process(frame(np.ascontiguousarray(odd)))
        assert found.status is FrameStatus.FAILED and "but its scan began as uint32 (131, 149)" in found.problem
    assert chain.process(frame(image)).status is FrameStatus.RECEIVED


def test_a_frame_goes_to_the_device_once_for_all_processors(poni: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = rings("uint32")
    other = integrate.create(integrate.Config(poni=poni, npt=7, device="opencl", name="coarse"))
    chain = chain_of(poni, image, Step("coarse", other))
    sent = []
    start = Unpacker.start
    monkeypatch.setattr(Unpacker, "start", lambda self, *given: sent.append(1) or start(self, *given))
    for each in (image, flagged(image)):
        found = chain.process(frame(each))
        assert found.status is FrameStatus.RECEIVED and not chain._work.is_decoded("threshold_1")
        cpu = chain_of(poni, image, device="cpu", npt=7, error_model="none").process(frame(each))
        np.testing.assert_array_equal(found.results["coarse"]["I"], cpu.results["integrate"]["I"])
    assert len(sent) == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in ({"error_model": "azimuthal"}, {"error_model": "5*I+8"}, {"cutoff_peak": None})
        ),
    ],
)
def test_sparsify_on_a_device_picks_what_the_cpu_picks_without_pixels_from_the_host(
    poni: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bragg_opencl, "_AT_ONCE", 128)  # the surroundings of candidates come in several pieces
    image = rings("uint16")
    bright = np.random.default_rng(3).integers(0, 120, (40, 2))
    image[bright[:, 0], bright[:, 1]] += 900
    image[0, 5] = image[-1, -1] = image[3, 148] = 700
    made = [
        Chain(
            [
                Step("correct", correct.create(correct.Config())),
                Step("sparsify", sparsify.create(sparsify.Config(poni=str(poni), device=device, **wished))),
            ]
        )
        for device in ("opencl", "cpu")
        for wished in ({"bins": 30, "cutoff_peak": 4.0, "polarization": 0.9, **options},)
    ]
    for chain in made:
        chain.start(scan_of(image, None))
        assert not chain.refusal
    for each in (image, flagged(image), rings("uint16", seed=4)):
        found, wanted = (chain.process(frame(each)) for chain in made)
        assert found.status is wanted.status is FrameStatus.RECEIVED
        assert len(wanted.results["sparsify"]["index"])
        for name, values in wanted.results["sparsify"].items():
            np.testing.assert_allclose(found.results["sparsify"][name], values, rtol=1e-6, err_msg=name)
        assert made[0]._work.is_decoded("threshold_1") == ("I" in options.get("error_model", ""))
    data = bslz4_compress(image)
    hurt = data[:16] + bytes([255] * 40) + data[56:]
    found, wanted = (chain.process(frame(image, hurt)) for chain in made)
    assert found.status is wanted.status is FrameStatus.CORRUPT and found.problem == wanted.problem


@pytest.mark.slow
def test_integrate_and_sparsify_share_one_upload(poni: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = rings("uint32")
    other = sparsify.create(sparsify.Config(poni=str(poni), device="opencl", bins=30))
    chain = chain_of(poni, image, Step("sparsify", other))
    sent = []
    start = Unpacker.start
    monkeypatch.setattr(Unpacker, "start", lambda self, *given: sent.append(1) or start(self, *given))
    for _ in range(2):
        assert chain.process(frame(image)).status is FrameStatus.RECEIVED
        assert not chain._work.is_decoded("threshold_1")
    assert len(sent) == 2


@pytest.mark.slow
def test_regions_take_their_pixels_from_the_device_where_the_frame_is(poni: Path) -> None:
    """In whatever order the processors are; without another one on a device the frame is decoded as ever."""
    image = rings("uint16")
    options = {
        "peak": {"kind": "rectangle", "x": [20, 60], "y": [30, 50], "background": "below", "fit": "linear"},
        "below": {"kind": "rectangle", "x": [20, 60], "y": [60, 90]},
        "nowhere": {"kind": "rectangle", "x": [500, 520], "y": [0, 9]},
    }

    def chain(device: str, first: bool) -> Chain:
        measured = Step("roi", roi.create(roi.Config.model_validate({"regions": options, "profiles": 64})))
        made = integrate.create(integrate.Config(poni=poni, npt=40, device=device))
        steps = [Step("correct", correct.create(correct.Config())), Step("integrate", made)]
        found = Chain([steps[0], measured, steps[1]] if first else [*steps, measured])
        found.start(scan_of(image, None))
        assert not found.refusal
        return found

    cpu = chain("cpu", False)
    for made in (chain("opencl", True), chain("opencl", False)):
        for each in (image, flagged(image)):
            found, wanted = made.process(frame(each)), cpu.process(frame(each))
            assert found.status is wanted.status is FrameStatus.RECEIVED
            assert not made._work.is_decoded("threshold_1") and cpu._work.is_decoded("threshold_1")
            for name, values in wanted.results["roi"].items():
                np.testing.assert_array_equal(found.results["roi"][name], values)
        hurt = made.process(frame(image, bslz4_compress(image)[:-1]))
        assert hurt.status is FrameStatus.CORRUPT


@pytest.mark.slow
def test_workers_do_not_disturb_each_other_on_one_device(poni: Path) -> None:
    """Each has its own queue and memory, in the one context of the device."""
    images = [rings("uint32", seed=seed) for seed in range(6)]
    cpu = chain_of(poni, images[0], device="cpu")
    wanted = [cpu.process(frame(image)).results["integrate"] for image in images]
    chains = [chain_of(poni, images[0]) for _ in range(3)]

    def work(chain: Chain, turn: int) -> list[Any]:
        frames = (frame(images[(number + turn) % 6]) for number in range(30))
        return [chain.process(each).results["integrate"] for each in frames]

    with ThreadPoolExecutor(3) as pool:
        for turn, results in enumerate(pool.map(work, chains, range(3))):
            for number, found in enumerate(results):
                np.testing.assert_array_equal(found["I"], wanted[(number + turn) % 6]["I"])
                np.testing.assert_array_equal(found["I_errors"], wanted[(number + turn) % 6]["I_errors"])


def test_a_new_scan_of_another_shape_gets_frames_of_its_own() -> None:
    work, device = Work(), devices()[0]
    first = Desk.of(work).frames(device, "a", (4, 4), np.dtype("u2"))
    assert Desk.of(work).frames(device, "a", (4, 4), np.dtype("u2")) is first
    assert Desk.of(work).frames(device, "b", (4, 4), np.dtype("u2")) is not first
    assert Desk.of(work).frames(device, "a", (5, 4), np.dtype("u2")) is not first
    assert Desk.of(work).frames(device, "a", (4, 4), np.dtype("u2")) is not first
