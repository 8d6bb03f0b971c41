"""Frames as one byte per pixel and a list: what `decode` gives, for all kinds of blocks, whole and damaged."""

from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_frames import damaged, fill, flagged, packed

from stream import CorruptPayload
from stream.codec.low_bytes import FEW, MARK, ROOM, LowBytes
from stream.codec.payload import decode
from stream.events import Array, Encoding, Payload

DTYPES = ("uint8", "uint16", "uint32", "int16", "int32")
PIXELS = 3 * 8192 + 5


def assert_is(low: LowBytes, image: Array, wanted: Array) -> None:
    """Everything that is known of a frame fits its pixels."""
    flat = np.where(wanted, image.ravel().astype(np.int64), 0)
    beyond = (flat >= MARK) | (flat < 0)
    np.testing.assert_array_equal(low.low, np.where(beyond, MARK, flat))
    places, counts = low.listed
    np.testing.assert_array_equal(places, np.flatnonzero(beyond))
    np.testing.assert_array_equal(counts, flat[beyond])
    filled = np.unpackbits(low.filled.view(np.uint8), bitorder="little")
    np.testing.assert_array_equal(filled[: flat.size], flat != 0)
    assert not filled[flat.size :].any() and not low.words.view(np.uint8)[flat.size :].any()


@st.composite
def frames(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """A frame, its wanted pixels, and the bytes of a block."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    pixels = draw(st.integers(1, 5 * 8192 // dtype.itemsize + 9))
    wanted = np.random.default_rng(pixels).random(pixels) >= draw(st.sampled_from((0.0, 0.02, 0.5)))
    image = np.zeros(pixels, dtype)
    fill(draw, image, ~wanted)
    return image.reshape(1, -1), wanted, draw(st.sampled_from((8192, 8192, 1024, 12288, 8 * dtype.itemsize)))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(frames())
def test_every_kind_of_block_gives_what_decode_gives(made: tuple[Array, Array, int]) -> None:
    image, wanted, block_bytes = made
    low = LowBytes(wanted, image.dtype)
    frame, plain = packed(image, block_bytes), packed(np.ones_like(image))
    for _ in range(2):  # nothing is left of the frame before
        flat = image.ravel().astype(np.int64)
        many = (wanted & ((flat >= MARK) | (flat < 0))).sum()
        assert low.takes(frame)
        if low.read(frame):
            assert_is(low, image, wanted)
        else:
            assert many > image.size // ROOM - 8
        assert low.read(plain)
        assert_is(low, np.ones_like(image), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_list_that_is_full_is_said_and_the_next_frame_is_read(dtype: str) -> None:
    kind = np.dtype(dtype)
    low = LowBytes(np.ones(PIXELS, bool), kind)
    assert not low.read(packed(np.full((1, PIXELS), flagged(kind), kind)))
    image = whole(dtype)
    assert low.read(packed(image))
    assert_is(low, image, np.ones(PIXELS, bool))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_a_block_with_many_bright_pixels_is_listed_too(dtype: str) -> None:
    """More than one in FEW in one block, but few in the frame."""
    image = np.ones((1, 40 * 8192), dtype)
    image[0, 8192 : 2 * 8192 : FEW // 4] = np.iinfo(dtype).max - 1 if dtype != "uint8" else 255
    low = LowBytes(np.ones(image.size, bool), image.dtype)
    assert low.read(packed(image))
    assert_is(low, image, np.ones(image.size, bool))


@pytest.mark.parametrize(("dtype", "suits"), [("int8", False), ("uint64", False), ("float32", False), ("int16", True)])
def test_types_whose_bytes_say_something_else_are_not_taken(dtype: str, suits: bool) -> None:
    assert LowBytes.suits(np.dtype(dtype)) == suits


@cache
def whole(dtype: str) -> Array:
    """Some counts, a sparse half, some flagged, a bright one."""
    dice = np.random.default_rng(7)
    image = dice.poisson(np.where(np.arange(PIXELS) < PIXELS // 2, 0.02, 1.5)).astype(dtype)
    image[dice.integers(0, PIXELS, 90)] = flagged(image.dtype)
    image[-2000] = 253 if image.itemsize == 1 else 300
    return image.reshape(1, -1)


@cache
def reader(dtype: str) -> LowBytes:
    return LowBytes(np.random.default_rng(5).random(PIXELS) < 0.98, np.dtype(dtype))


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_bytes_are_refused_or_read_as_they_are_decoded(data: Any) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    good = packed(whole(dtype))
    frame = Payload(data.draw(damaged(bytes(good.data))), Encoding.BSLZ4, (1, PIXELS), np.dtype(dtype))
    low, wanted = reader(dtype), np.random.default_rng(5).random(PIXELS) < 0.98
    try:
        image = decode(frame)
    except CorruptPayload as error:
        try:
            assert not low.read(frame)
        except CorruptPayload as found:
            assert str(found) == str(error)
    else:
        if low.read(frame):
            assert_is(low, image, wanted)
    assert low.read(good)
    assert_is(low, whole(dtype), wanted)


RECORDED = {
    "single_crystal/derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5": "entry_0000/ESRF-ID11/eiger/data",
    "powder/i15_1_eiger2_cdte500k/i15-1-100245-fastcs_eiger_000001.h5": "data",
    "streams/dectris_h5-testfiles/eiger2_simread7_2datafiles_4images_bslz4_uint8_data_000001.h5": "entry/data/data",
    "streams/dectris_h5-testfiles/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5": "entry/data/data",
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_frames_are_read_as_they_are_decoded(shared: Path, name: str) -> None:
    with h5py.File(shared / name) as file:
        data = file[RECORDED[name]]
        frame = Payload(data.id.read_direct_chunk((0, 0, 0))[1], Encoding.BSLZ4, data.shape[1:], data.dtype)
    image = decode(frame)
    wanted = image.ravel() != np.iinfo(image.dtype).max
    low = LowBytes(wanted, image.dtype)
    beyond = int((image.ravel()[wanted] >= MARK).sum())
    assert low.read(frame) or beyond > image.size // ROOM - 8192
    if low.read(frame):
        assert_is(low, image, wanted)
