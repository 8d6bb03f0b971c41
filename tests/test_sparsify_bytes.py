"""Frames that are sparsified from one byte per pixel, without being decoded: the answers are those of decoded ones."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bragg_frames import crystal, poni
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_frames import damaged, fill, packed
from ringed import SHAPE, assert_equal, assert_same, frame, polar, recipe, weights

from processors import sparsify
from processors.bragg.adding import _packing, _table
from processors.bragg.bulk_sums import COPIES, unpack
from processors.bragg.cpu import CpuEngine
from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import Polar
from processors.bragg.screen import Screen
from stream import CorruptPayload, Detector, Frame, FrameStatus, ScanStart
from stream.codec.low_bytes import LowBytes
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.events import Array, Encoding, Payload
from stream.pipeline.chain import Chain, Step

DTYPES = ("uint8", "uint16", "uint32", "int16", "int32")
MODELS = ("poisson", "azimuthal", "hybrid", "5*I+8")


def engine(dtype: str, made: Recipe, rings: Polar | None = None) -> CpuEngine:
    return CpuEngine(rings or polar(), made, None, None, packed=np.dtype(dtype))


@cache
def frayed() -> Polar:
    """As `polar`, but some pixels of the last bins belong to none, and may be picked all the same."""
    rings = polar()
    bin_of = rings.bin_of.copy()
    stray = np.flatnonzero(bin_of == rings.bins - 1)[::3]
    bin_of[stray] = rings.bins
    members = np.bincount(bin_of, minlength=rings.bins + 1)[: rings.bins].astype(np.int32)
    return replace(rings, bin_of=bin_of, members=members)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_frame_gives_what_its_decoded_pixels_give(data: Any) -> None:
    """Blocks of all kinds: empty, dense, flagged, bright, random."""
    dtype = data.draw(st.sampled_from(DTYPES))
    rings = data.draw(st.sampled_from((polar(), frayed())))
    made = recipe(dtype, data.draw(st.sampled_from(MODELS)), data.draw(st.sampled_from((0.0, 4.0))))
    one = engine(dtype, made, rings)
    for _ in range(2):
        image = np.zeros(SHAPE[0] * SHAPE[1], dtype)
        fill(data.draw, image, (rings.bin_of == rings.bins) & (rings.position < 0))
        image = image.reshape(SHAPE)
        payload = packed(image, data.draw(st.sampled_from((8192, 1024, 12288, 8 * image.itemsize))))
        assert one.takes(payload)
        found = one.run_packed(payload)
        if found is not None:
            assert_equal(found, one.run(image))


@pytest.mark.parametrize("pixels", [1, 7, 8, 63, 64, 65, 121, 128, 129])
def test_every_word_of_a_frame_has_a_bound_to_be_compared_with(pixels: int) -> None:
    """Also those behind the last pixel: else what lies behind the bounds would be read."""
    rings = replace(polar(), bin_of=np.arange(pixels, dtype=np.uint16) % (polar().bins + 1))
    low = LowBytes(np.ones(pixels, bool), np.dtype(np.uint16))
    assert Screen(rings)._first.size == low.words.size


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [0.0, 0.02, 3.0, 60.0])
def test_rings_and_spots_are_found_without_decoding(dtype: str, mean: float) -> None:
    """None is left to the slow way: this is what frames are like."""
    dice, one = np.random.default_rng(3), engine(dtype, recipe(dtype))
    for _ in range(2):
        image = frame(dice, dtype, mean)
        found = one.run_packed(packed(image))
        assert found is not None and (len(found.index) > 10 or not mean)
        assert_equal(found, one.run(image))


def test_frames_of_large_counts_are_left_to_be_decoded_and_soon_not_tried() -> None:
    image = np.full(SHAPE, 1000, np.uint32)
    one, tried = engine("uint32", recipe("uint32")), []
    low = one._packed.low
    read = low.read
    low.read = lambda payload: tried.append(1) or read(payload)
    assert all(one.run_packed(packed(image)) is None for _ in range(20))
    assert 2 <= len(tried) <= 5
    plain = frame(np.random.default_rng(1), "uint32", 2.0)
    assert any(one.run_packed(packed(plain)) is not None for _ in range(16)), "it tries again"


@pytest.mark.slow
def test_damaged_bytes_are_refused_for_the_same_reason_or_give_the_same() -> None:
    dice, one = np.random.default_rng(4), engine("uint32", recipe("uint32"))
    image = frame(dice, "uint32", 2.0)
    good = packed(image)
    wanted = one.run(image)

    @settings(deadline=None, max_examples=60)
    @given(damaged(bytes(good.data)))
    def try_one(data: bytes) -> None:
        hurt = Payload(data, Encoding.BSLZ4, SHAPE, np.dtype(np.uint32))
        try:
            pixels = decode(hurt)
        except CorruptPayload as error:
            try:
                assert one.run_packed(hurt) is None
            except CorruptPayload as found:
                assert str(found) == str(error)
        else:
            found = one.run_packed(hurt)
            assert found is None or assert_equal(found, one.run(pixels)) is None
        for _ in range(17):  # a frame that is full of large counts keeps it from trying the next ones
            found = one.run_packed(good)
            if found is not None:
                break
        assert found is not None
        assert_equal(found, wanted)

    try_one()


def through(one: CpuEngine, image: Array) -> Sparse:
    """As the processor does it."""
    payload = packed(image)
    return (one.run_packed(payload) if one.takes(payload) else None) or one.run(image)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(("uint8", "uint32", "int16")),
    st.sampled_from(("poisson", "azimuthal", "hybrid")),
    st.integers(0, 2**32 - 1),
    st.sampled_from((0.0, 0.3, 0.9995)),
    st.booleans(),
    st.lists(st.sampled_from((0.0, 0.03, 1.0, 4.0, 40.0, 300.0)), min_size=3, max_size=6),
    st.sampled_from((polar(), frayed())),
)
def test_weighted_frames_give_what_their_decoded_pixels_give(
    dtype: str, model: str, seed: int, spread: float, dark: bool, means: list[float], rings: Polar
) -> None:
    """Bit for bit what an engine says that had the same frames decoded, and what clipping pixel by pixel says."""
    dice = np.random.default_rng(seed)
    offset = dice.uniform(-0.5, 2, SHAPE).astype(np.float32) if dark else None
    norm = np.abs(weights(seed, spread))
    norm[norm < 1e-6] = 0.0
    made = rings, recipe(dtype, model, cutoff=2.0 * (seed % 3)), offset, norm
    by_bytes, decoded = CpuEngine(*made, packed=np.dtype(dtype)), CpuEngine(*made)
    plain = CpuEngine(*made, by_bulk=False)
    for mean in means:
        image = frame(dice, dtype, mean)
        found = through(by_bytes, image)
        assert_equal(found, decoded.run(image))
        if spread < 0.9:
            assert_same(found, plain.run(image))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["poisson", "azimuthal", "hybrid"])
@pytest.mark.parametrize("dark", [False, True])
def test_weighted_frames_that_are_alike_are_not_decoded(model: str, dark: bool) -> None:
    """Dense ones and nearly empty ones."""
    offset = np.random.default_rng(2).uniform(-0.5, 2, SHAPE).astype(np.float32) if dark else None
    for mean in (0.03, 2.0):
        dice = np.random.default_rng(5)
        made = polar(), recipe("uint32", model), offset, weights(1, 0.4)
        one, plain = CpuEngine(*made, packed=np.dtype(np.uint32)), CpuEngine(*made, by_bulk=False)
        images = [frame(dice, "uint32", mean, ring=80) for _ in range(4)]
        for image in images * 4:
            through(one, image)
        for image in images:
            assert one.takes(packed(image))
            found = one.run_packed(packed(image))
            assert found is not None
            assert_same(found, plain.run(image))


@pytest.mark.slow
def test_frames_that_become_bright_and_dark_again_are_clipped_right() -> None:
    """Ranges of bytes, of two bytes, and of bytes again."""
    dice, made = np.random.default_rng(8), (polar(), recipe("uint16", "hybrid"), None, weights(3, 0.2))
    one, plain = CpuEngine(*made, packed=np.dtype(np.uint16)), CpuEngine(*made, by_bulk=False)
    widths = []
    for mean in (2.0, 2.0, 2.0, 900.0, 900.0, 900.0, 2.0, 2.0, 2.0, 2.0):
        image = frame(dice, "uint16", mean, ring=80)
        assert_same(through(one, image), plain.run(image))
        widths.append(one._bulk._adder.wide)
    assert not widths[2] and widths[5] and not widths[-1]


@settings(deadline=None)
@given(st.integers(1, 2**20), st.booleans(), st.data())
def test_packed_sums_never_run_over(pixels: int, squares: bool, data: Any) -> None:
    """As many pixels as there can be in a sum, all with the largest count, or with two."""
    (filled_shift, square_shift), highest = _packing(pixels, squares)
    if not highest:
        return
    table = _table(filled_shift, square_shift)
    count, many = data.draw(st.integers(0, highest)), data.draw(st.integers(0, pixels))
    numbers = {highest: pixels - many, count: many} if count != highest else {highest: pixels}
    total = sum(int(table[value]) * number for value, number in numbers.items())
    assert total < 2**64
    added = np.zeros((1, 4))
    sums = np.zeros((COPIES, 1), np.uint64)
    sums[1] = total
    words = np.uint64(filled_shift), np.uint64(square_shift)
    unpack(sums, np.zeros((COPIES, 1 if squares else 0), np.uint64), np.zeros((0, 1, 2)), words, 1.0, added)
    assert added[0, 0] == sum(value * number for value, number in numbers.items())
    assert added[0, 1] == sum(number for value, number in numbers.items() if value)
    assert added[0, 3] == (sum(value**2 * number for value, number in numbers.items()) if squares else 0)


class Looks:
    """A processor that takes the pixels."""

    def start(self, scan: Any, work: Any) -> list[Any]:
        return []

    def process(self, work: Any) -> None:
        work.image()

    def finish(self, end: Any) -> None:
        pass


def chain_of(folder: Path, image: Array, *more: Step, **options: Any) -> Chain:
    shape = (image.shape[0], image.shape[1])
    made = sparsify.create(sparsify.Config(poni=poni(folder, shape), bins=90, cutoff_peak=4.0, **options))
    chain = Chain([Step("sparsify", made), *more])
    chain.start(ScanStart("uid", "scan", shape, image.dtype, ("default",), None, Detector(), received=1.7e9))
    assert not chain.refusal
    return chain


def sent(image: Array, data: bytes | None = None) -> Frame:
    shape = (image.shape[0], image.shape[1])
    data = bslz4_compress(image) if data is None else data
    return Frame("uid", 0, {"default": Payload(data, Encoding.BSLZ4, shape, image.dtype)}, 0.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INBEAM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_pixels_that_nobody_takes_are_never_made(folder: Path) -> None:
    images = crystal(count=3)
    chain, other = chain_of(folder, images[0]), chain_of(folder, images[0], Step("looks", Looks()))
    for image in images:
        without, with_pixels = chain.process(sent(image)), other.process(sent(image))
        assert without.status is with_pixels.status is FrameStatus.RECEIVED
        assert not chain._work.is_decoded("default") and other._work.is_decoded("default")
        assert without.results["sparsify"]["picked"] > 100
        for name, values in with_pixels.results["sparsify"].items():
            np.testing.assert_array_equal(without.results["sparsify"][name], values)


def test_a_damaged_frame_is_corrupt_for_the_same_reason(folder: Path) -> None:
    image = crystal(count=1)[0]
    data = bslz4_compress(image)
    chain, other = chain_of(folder, image), chain_of(folder, image, Step("looks", Looks()))
    for hurt in (data[:-1], data[:40], data[:16] + bytes([255] * 40) + data[56:], b""):
        found, wanted = (each.process(sent(image, hurt)) for each in (chain, other))
        assert found.status is wanted.status is FrameStatus.CORRUPT
        assert found.problem == wanted.problem and found.problem


def test_a_frame_unlike_its_scan_fails_and_says_so(folder: Path) -> None:
    image = crystal(count=1)[0]
    chain = chain_of(folder, image)
    for odd in (image.astype(np.uint32), image[:-1], np.ascontiguousarray(image.T)):
        found = chain.process(sent(odd))
        assert found.status is FrameStatus.FAILED and "but its scan began as uint16 (200, 220)" in found.problem
    assert chain.process(sent(image)).status is FrameStatus.RECEIVED


def test_frames_packed_otherwise_or_too_bright_are_decoded(folder: Path) -> None:
    image = crystal(count=1)[0]
    chain, other = chain_of(folder, image), chain_of(folder, image, Step("looks", Looks()))
    raw = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
    bare = Payload(bslz4_compress(image)[12:], Encoding.BSLZ4_BARE, image.shape, image.dtype)
    swapped = Payload(bslz4_compress(image.byteswap()), Encoding.BSLZ4, image.shape, image.dtype.newbyteorder(">"))
    bright = image * 60
    cases = [(raw, image), (bare, image), (swapped, image), (sent(bright).payloads["default"], bright)]
    for payload, pixels in cases:
        found = chain.process(replace(sent(image), payloads={"default": payload})).results["sparsify"]
        wanted = other.process(sent(pixels)).results["sparsify"]
        for name, values in wanted.items():
            if name != "hit_rate":
                np.testing.assert_array_equal(found[name], values)
