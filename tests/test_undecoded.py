"""Frames that are integrated while they are decompressed: the very same numbers, and refusals, as of decoded ones."""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import packed_frames
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from integration_frames import PONI, rings, scan_of
from packed_frames import fill, flagged, packed

from processors import correct, integrate
from processors.integration.cpu import CpuEngine
from processors.integration.plan import MODELS, Plan
from processors.integration.squares import whole_weights
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.errors import CorruptPayload
from stream.events import Array, Detector, Encoding, Frame, FrameStatus, Payload
from stream.pipeline.chain import Chain, Step

DTYPES = ("uint8", "uint16", "uint32", "int32")
SUMS = ("poisson", "azimuthal_exact", "split")
"""An error model of each kind of sums; split: poisson, with split pixels."""
SQUARED = ("uint8", "uint32")
"""Types for which squares and shares are summed here: each is compiled anew."""
BLOCKS = 9000
"""Pixels: one block of uint8 and a part, two of uint16, four of uint32; five left over from a multiple of eight."""


def plan_of(
    bins: Array, n_bins: int, model: str = "poisson", high: float = 2.0**32 - 2, low: float = 0.0, dark: bool = False
) -> Plan:
    """Bins, and weights of 0.5 ... 1.5."""
    dice, nothing = np.random.default_rng(bins.size), np.empty(0, np.float32)
    weights = dice.uniform(0.5, 1.5, bins.size).astype(np.float32)
    offset = dice.uniform(0, 3, bins.size).astype(np.float32) if dark else nothing
    starts, empty = np.empty(0, np.uint32), (np.inf, -np.inf)
    return Plan(n_bins, bins, starts, nothing, weights, offset, low, high, *empty, MODELS[model], float("nan"), False)


def split(plan: Plan) -> Plan:
    """With pixels in one bin, in that and the next, and in any three, which is what is left to the general kernel."""
    dice, n_bins = np.random.default_rng(plan.n_bins), plan.n_bins
    starts, bins, coefs = [0], [], []
    kinds, shares = dice.random((2, plan.bins.size))
    for first, kind, share in zip(plan.bins.tolist(), kinds, shares, strict=True):
        if first < n_bins:
            if kind < 0.05:
                into, parts = sorted(dice.integers(0, n_bins, 3)), (0.25, 0.5, 0.25)
            elif kind < 0.5 and first + 1 < n_bins:
                into, parts = [first, first + 1], (np.float32(share), np.float32(1) - np.float32(share))
            else:
                into, parts = [first], (1.0,)
            bins += into
            coefs += parts
        starts.append(len(bins))
    made = np.array(bins, plan.bins.dtype), np.array(starts, np.uint32), np.array(coefs, np.float32)
    return replace(plan, bins=made[0], starts=made[1], coefs=made[2])


def assert_same(one: Any, other: Any) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@st.composite
def frames(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES) -> tuple[Array, Array, int]:
    """A frame whose blocks are of all kinds, the bins of its pixels, and how many there are."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    pixels = draw(st.integers(1, 5 * 8192 // dtype.itemsize + 9))
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = np.zeros(pixels, dtype)
    n_bins = draw(st.sampled_from((1, 3, 400, 2000)))
    bins = dice.integers(0, n_bins, pixels).astype(np.uint16)
    outside = dice.random(pixels) < draw(st.sampled_from((0.0, 0.02, 0.5)))
    bins[outside] = n_bins
    fill(draw, image, outside)
    return image.reshape(1, -1), bins, n_bins


@pytest.mark.parametrize("squared", [False, pytest.param(True, marks=pytest.mark.slow)])
@settings(deadline=None, max_examples=150)
@given(
    frames(),
    st.sampled_from((0, 254, 255, 300, 2**32 - 2)),
    st.sampled_from(("none", "poisson", "azimuthal_exact")),
    st.booleans(),
)
@example((np.zeros((1, 1), np.uint8), np.array([3], np.uint16), 3), 0, "azimuthal_exact", False)  # no pixel has a bin
def test_every_kind_of_block_adds_what_its_pixels_add(
    squared: bool, made: tuple[Array, Array, int], high: int, model: str, dark: bool
) -> None:
    image, bins, n_bins = made
    if model == "azimuthal_exact" and (image.dtype.name not in SQUARED or not squared):
        model = "none"
    high = high or np.iinfo(image.dtype).max
    engine = CpuEngine(plan_of(bins, n_bins, model, high, dark=dark), image.dtype)
    frame = packed(image)
    usable = not (dark and model == "azimuthal_exact")
    assert engine.takes(frame) == (usable and high >= (254 if image.itemsize == 1 else 255))
    if engine.takes(frame):
        intensity, errors = engine.run(image, 1.0)
        for _ in range(2):
            engine.add_packed(frame)
            found = engine.result(1.0)
            np.testing.assert_array_equal(found[0], intensity)
            assert (found[1] is None) == (errors is None)
            if found[1] is not None and errors is not None:
                np.testing.assert_array_equal(found[1], errors)


TYPES_AND_SUMS = [
    ("uint16", "poisson"),
    ("uint32", "poisson"),
    *(pytest.param("uint32", each, marks=pytest.mark.slow) for each in SUMS[1:]),
]


@pytest.mark.parametrize("block_bytes", [1024, 4096, 8192, 32768, 12288, 1000 * 8])
@pytest.mark.parametrize(("dtype", "model"), TYPES_AND_SUMS)
def test_blocks_of_any_size_are_taken(dtype: str, block_bytes: int, model: str) -> None:
    """Also by an engine that has had frames with blocks of another size."""
    engine = engine_of(dtype, model)
    for seed in range(2):
        image = counts(dtype, seed)
        for frame in (packed(image, block_bytes), packed(image)):
            engine.add_packed(frame)
            assert_same(engine.result(1.0), engine.run(image, 1.0))


@pytest.mark.parametrize("model", ["poisson", pytest.param("azimuthal_exact", marks=pytest.mark.slow)])
def test_bins_that_need_four_bytes_are_taken(model: str) -> None:
    image, dice = counts("uint32", 1), np.random.default_rng(2)
    engine = CpuEngine(plan_of(dice.integers(0, 70_001, BLOCKS + 5).astype(np.uint32), 70_000, model), image.dtype)
    assert engine.by_blocks
    engine.add_packed(packed(image))
    assert_same(engine.result(1.0), engine.run(image, 1.0))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    frames(SQUARED),
    st.sampled_from((0, 254, 255, 300, 70_000, 2**32 - 2)),
    st.sampled_from(("none", "poisson")),
    st.booleans(),
)
def test_split_pixels_in_every_kind_of_block_add_what_they_add_decoded(
    made: tuple[Array, Array, int], high: int, model: str, dark: bool
) -> None:
    """The same bits; and next to them what the general kernel gives."""
    image, bins, n_bins = made
    high = high or np.iinfo(image.dtype).max
    plan = split(plan_of(bins, n_bins, model, high, dark=dark))
    engine = CpuEngine(plan, image.dtype)
    frame = packed(image)
    assume(engine._pairs is not None)
    assert engine.takes(frame) == (high >= (254 if image.itemsize == 1 else 255))
    found = engine.run(image, 1.0)
    if engine.takes(frame):
        for _ in range(2):
            engine.add_packed(frame)
            assert_same(engine.result(1.0), found)
    flat, general = image.ravel(), CpuEngine(plan, image.dtype)
    general._pairs = None
    for one, other in zip(found, general.run(flat, 1.0), strict=True):
        if one is not None and other is not None:
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6 * float(np.nanmax(np.abs(other), initial=0)))


def test_sums_are_those_of_a_plain_loop() -> None:
    """Against numpy, which shares no line with either way."""
    image, engine = counts("uint32", 3), engine_of("uint32")
    bins, flat = engine.plan.bins, image.ravel().astype(np.int64)
    good = (bins < engine.plan.n_bins) & (flat <= 2**32 - 2)
    total, variance, norm = (
        np.bincount(bins[good], values[good], engine.plan.n_bins)
        for values in (flat, np.maximum(flat, 1), engine.plan.weights.astype(float))
    )
    engine.add_packed(packed(image))
    intensity, errors = engine.result(1.0)
    np.testing.assert_allclose(intensity, total / norm, rtol=1e-6)
    np.testing.assert_allclose(errors, np.sqrt(variance) / norm, rtol=1e-6)


@pytest.mark.slow
def test_squares_are_those_of_a_plain_loop() -> None:
    """Counts of every size, against numpy in longer numbers; what the counts lose in one bin is lost in no other."""
    image, engine = counts("uint32", 3).copy(), engine_of("uint32", "azimuthal_exact")
    image[0, 20:5000:50] = np.resize([255, 256, 257, 65535, 65536, 10**7, 2**32 - 2], 100)
    bins, flat = engine.plan.bins, image.ravel().astype(np.longdouble)
    weights = engine.plan.weights.astype(np.longdouble)
    intensity, errors = np.empty(50), np.empty(50)
    for b in range(50):
        chosen = (bins == b) & (flat <= 2**32 - 2)
        norm = weights[chosen].sum()
        intensity[b] = flat[chosen].sum() / norm
        errors[b] = np.sqrt(((flat[chosen] - weights[chosen] * intensity[b]) ** 2).sum()) / norm
    engine.add_packed(packed(image))
    found = engine.result(1.0)
    np.testing.assert_allclose(found[0], intensity, rtol=1e-6)
    np.testing.assert_allclose(found[1], errors, rtol=1e-6)
    assert_same(engine.run(image, 1.0), found)


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [1, 255, 256, 257, 3000])
def test_squares_of_a_frame_in_pieces_are_those_of_the_frame(pieces: int) -> None:
    image, engine = counts("uint32", 5), engine_of("uint32", "azimuthal_exact")
    wanted = engine.run(image, 1.0)
    engine.begin()
    for first in range(0, image.size, pieces):
        engine.add(image.ravel()[first : first + pieces], first)
    assert_same(engine.result(1.0), wanted)


@pytest.mark.slow
def test_norms_that_are_too_different_are_added_as_they_are() -> None:
    """They have no common unit in which 32 bits hold all of them exactly: frames are decoded, the numbers are right."""
    plan, image = engine_of("uint32", "azimuthal_exact").plan, counts("uint32", 8)
    wanted = CpuEngine(plan, image.dtype).run(image, 1.0)
    weights = plan.weights.copy()
    assert whole_weights(weights, plan.bins < 50) is not None
    spare = np.flatnonzero(plan.bins == 7)[0]
    for weight in (weights.max() / 2**9, weights.max() * 2**9, -1.0):
        weights[spare] = weight
        engine = CpuEngine(replace(plan, weights=weights), image.dtype)
        assert whole_weights(weights, plan.bins < 50) is None and not engine.by_blocks
        for found, want in zip(engine.run(image, 1.0), wanted, strict=True):
            assert found is not None and want is not None
            others = np.arange(50) != 7
            np.testing.assert_allclose(found[others], want[others], rtol=2e-7)


@given(st.lists(st.floats(2.0**-120, 2.0**120, width=32), min_size=1, max_size=20))
def test_whole_norms_are_the_norms(norms: list[float]) -> None:
    weights = np.array(norms, np.float32)
    used = np.arange(weights.size) % 3 != 1
    found = whole_weights(weights, used)
    if found is None:
        assert weights[used].max() >= 2**7 * weights[used].min()
    else:
        factors, unit = found
        np.testing.assert_array_equal(factors.astype(float) * unit, np.where(used, weights, 0))


@cache
def engine_of(dtype: str, model: str = "poisson") -> CpuEngine:
    bins = np.random.default_rng(5).integers(0, 51, BLOCKS + 5).astype(np.uint16)
    plan = split(plan_of(bins, 50)) if model == "split" else plan_of(bins, 50, model)
    engine = CpuEngine(plan, np.dtype(dtype))
    assert engine.by_blocks
    return engine


def counts(dtype: str, seed: int) -> Array:
    """Some counts, a sparse half, flags outside and one bright pixel at the end."""
    dice = np.random.default_rng(seed)
    image = dice.poisson(np.where(np.arange(BLOCKS + 5) < BLOCKS // 2, 0.02, 1.5)).astype(dtype)
    image[engine_of(dtype).plan.bins == 50] = flagged(image.dtype)
    image[-2000] = 253 if image.itemsize == 1 else 300
    return image.reshape(1, -1)


@cache
def good_bytes(dtype: str) -> bytes:
    return bytes(packed(counts(dtype, 7)).data)


@st.composite
def damaged(draw: st.DrawFn) -> Payload:
    """A frame with some bytes changed, cut out, put in or cut off."""
    dtype = draw(st.sampled_from(DTYPES))
    return Payload(draw(packed_frames.damaged(good_bytes(dtype))), Encoding.BSLZ4, (1, BLOCKS + 5), np.dtype(dtype))


@pytest.mark.parametrize("model", ["poisson", *(pytest.param(each, marks=pytest.mark.slow) for each in SUMS[1:])])
@settings(deadline=None, max_examples=400)
@given(frame=damaged())
def test_damaged_bytes_are_refused_or_integrated_as_they_are_decoded(model: str, frame: Payload) -> None:
    engine = engine_of(frame.dtype.name, model if frame.dtype.name in SQUARED else "poisson")
    try:
        wanted = engine.run(decode(frame), 1.0)
    except CorruptPayload as error:
        with pytest.raises(CorruptPayload) as found:
            engine.add_packed(frame)
        assert str(found.value) == str(error)
    else:
        engine.add_packed(frame)
        assert_same(engine.result(1.0), wanted)
    whole = counts(frame.dtype.name, 7)
    engine.add_packed(packed(whole))
    assert_same(engine.result(1.0), engine.run(whole, 1.0))


@pytest.fixture
def poni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tilted.poni"
    path.write_text(PONI)
    return path


class Looks:
    """A processor that says nothing of what it reads, as a plug-in."""

    def __init__(self) -> None:
        self.seen: list[Array] = []

    def start(self, scan: Any, work: Any) -> list[Any]:
        return []

    def process(self, work: Any) -> None:
        self.seen.append(work.image().copy())

    def finish(self, end: Any) -> None:
        pass


def chain_of(poni: Path, image: Array, *more: Any, detector: Detector | None = None, **options: Any) -> Chain:
    options = {"npt": 40, "error_model": "poisson", **options}
    made = integrate.create(integrate.Config(poni=poni, device="cpu", **options))
    chain = Chain([Step("correct", correct.create(correct.Config())), Step("integrate", made), *more])
    chain.start(scan_of(image, detector))
    assert not chain.refusal
    return chain


def frame(image: Array, data: bytes | None = None, **named: Any) -> Frame:
    payload = packed(image) if data is None else Payload(data, Encoding.BSLZ4, image.shape, image.dtype)
    return Frame("uid", 0, {"threshold_1": payload}, 0.0, **named)


def test_pixels_that_nobody_takes_are_never_made(poni: Path) -> None:
    image = rings("uint32")
    chain, other = chain_of(poni, image), chain_of(poni, image, Step("looks", looks := Looks()))
    without, with_pixels = chain.process(frame(image)), other.process(frame(image))
    assert without.status is with_pixels.status is FrameStatus.RECEIVED
    assert not chain._work.is_decoded("threshold_1") and other._work.is_decoded("threshold_1")
    for name, values in with_pixels.results["integrate"].items():
        np.testing.assert_array_equal(without.results["integrate"][name], values)
    np.testing.assert_array_equal(looks.seen[0], image)


EXACT = {"error_model": "azimuthal_exact"}


@pytest.mark.parametrize("options", [{"splitting": "bbox"}, {"empty": 0.0}, {"npt_azimuthal": 5}, EXACT])
def test_other_ways_to_integrate_give_the_same_too(poni: Path, options: dict[str, Any]) -> None:
    image = rings("uint32")
    one, other = chain_of(poni, image, **options), chain_of(poni, image, Step("looks", Looks()), **options)
    wanted = other.process(frame(image)).results["integrate"]
    for name, values in one.process(frame(image)).results["integrate"].items():
        np.testing.assert_array_equal(values, wanted[name])


def test_a_damaged_frame_is_corrupt_for_the_same_reason(poni: Path) -> None:
    image = rings("uint32")
    data = bslz4_compress(image)
    chain, other = chain_of(poni, image), chain_of(poni, image, Step("looks", Looks()))
    too_long, no_lz4 = (data[:at] + bytes([255] * 40) + data[at + 40 :] for at in (12, 16))
    for hurt in (data[:-1], data[:40], too_long, no_lz4, b""):
        found, wanted = (each.process(frame(image, hurt)) for each in (chain, other))
        assert found.status is wanted.status is FrameStatus.CORRUPT
        assert found.problem == wanted.problem and found.problem


@pytest.mark.parametrize("empty", [float("nan"), 0.0])
def test_a_frame_without_a_valid_pixel_fails_for_the_same_reason(poni: Path, empty: float) -> None:
    image = np.full_like(rings("uint32"), 2**32 - 1)
    chain, other = (chain_of(poni, image, *more, empty=empty) for more in ((), (Step("looks", Looks()),)))
    found, wanted = chain.process(frame(image)), other.process(frame(image))
    assert found.status is wanted.status is FrameStatus.FAILED
    assert found.problem == wanted.problem and "has no valid pixel" in found.problem
    dark = np.zeros_like(image)  # a pattern of zeros is one
    assert chain.process(frame(dark)).status is FrameStatus.RECEIVED


def test_a_frame_unlike_its_scan_fails_and_says_so(poni: Path) -> None:
    image = rings("uint32")
    chain = chain_of(poni, image)
    for odd in (rings("uint16"), image[:-1], np.ascontiguousarray(image.T)):
        found = chain.process(frame(np.ascontiguousarray(odd)))
        assert found.status is FrameStatus.FAILED and "but its scan began as uint32 (131, 149)" in found.problem
    assert chain.process(frame(image)).status is FrameStatus.RECEIVED


def test_payloads_packed_otherwise_are_decoded(poni: Path) -> None:
    image = rings("uint32")
    chain = chain_of(poni, image)
    wanted = chain.process(frame(image)).results["integrate"]
    bare = Payload(bslz4_compress(image)[12:], Encoding.BSLZ4_BARE, image.shape, image.dtype)
    raw = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
    swapped = Payload(bslz4_compress(image.byteswap()), Encoding.BSLZ4, image.shape, np.dtype(">u4"))
    for payload in (bare, raw, swapped):
        found = chain.process(replace(frame(image), payloads={"threshold_1": payload}))
        np.testing.assert_array_equal(found.results["integrate"]["I"], wanted["I"])


def test_pixels_masked_in_the_header_may_hold_anything(poni: Path) -> None:
    """They stay plain where they are flagged; where they are not, nothing of them may be counted either."""
    image, mask = rings("uint32"), np.zeros((131, 149), np.uint32)
    mask[::7] = 1
    detector = Detector(pixel_mask={"a": mask})
    chain = chain_of(poni, image, detector=detector)
    wanted = chain.process(frame(image)).results["integrate"]
    for value, rest in itertools.product((0, 9, 255, 2**31, 2**32 - 1), (0, 1)):
        changed = image.copy()
        changed[::7] = value + rest & 2**32 - 1
        found = chain.process(frame(changed)).results["integrate"]
        np.testing.assert_array_equal(found["I"], wanted["I"])
        np.testing.assert_array_equal(found["I_errors"], wanted["I_errors"])


RECORDED = {
    "single_crystal/derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5": "entry_0000/ESRF-ID11/eiger/data",
    "powder/i15_1_eiger2_cdte500k/i15-1-100245-fastcs_eiger_000001.h5": "data",
    "powder/i15_1_eiger2_cdte500k/i15-1-100614-fastcs_eiger_000001.h5": "data",
    "powder/id11_ceo2_frelon/derived_CeO2_frame0_bslz4.h5": "entry_0000/measurement/data",
    "streams/dectris_h5-testfiles/eiger2_simread7_2datafiles_4images_bslz4_uint8_data_000001.h5": "entry/data/data",
    "streams/dectris_h5-testfiles/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5": "entry/data/data",
}


@pytest.mark.parametrize(
    ("name", "model"), [*((name, "poisson") for name in RECORDED), (next(iter(RECORDED)), "azimuthal_exact")]
)
def test_recorded_frames_give_what_their_pixels_give(shared: Path, name: str, model: str) -> None:
    with h5py.File(shared / name) as file:
        data = file[RECORDED[name]]
        frames = [data.id.read_direct_chunk((index, 0, 0))[1] for index in range(min(2, len(data)))]
        shape, dtype = data.shape[1:], data.dtype
    rows, columns = np.indices(shape)
    bins = np.hypot(rows - shape[0] / 2, columns - 0.45 * shape[1]).astype(np.uint16).ravel()
    first = decode(Payload(frames[0], Encoding.BSLZ4, shape, dtype)).ravel()
    bins[first == np.iinfo(dtype).max] = n_bins = int(bins.max()) + 1
    engine = CpuEngine(plan_of(bins, n_bins, model, high=float(np.iinfo(dtype).max - 1)), dtype)
    for data in frames:
        frame = Payload(data, Encoding.BSLZ4, shape, dtype)
        assert engine.takes(frame)
        engine.add_packed(frame)
        assert_same(engine.result(1.0), engine.run(decode(frame), 1.0))
