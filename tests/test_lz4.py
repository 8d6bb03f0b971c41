"""Our decoder of LZ4 blocks says yes only where the library does, gives the same bytes, and stays within its memory."""

import ctypes
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.codec.lz4 import REPEATED, SLACK, UNKNOWN, WHOLE, decompress
from stream.codec.native import bslz4_compress, lz4_block
from stream.events import Array

WANT, PIXELS = 8192, {"uint16": 4096, "uint32": 2048}
PAGE = mmap.PAGESIZE


class Guarded:
    """Memory that ends where the process must not read or write: whoever reaches over it kills the test."""

    def __init__(self, pages: int) -> None:
        self.size = pages * PAGE
        self._map = mmap.mmap(-1, self.size + PAGE)
        self.array = np.frombuffer(self._map, np.uint8)
        forbid = ctypes.CDLL(None, use_errno=True).mprotect
        forbid.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if forbid(self.array.ctypes.data + self.size, PAGE, 0):
            pytest.skip("memory cannot be guarded here")
        self._forbid = forbid

    def last(self, size: int) -> Array:
        """The last bytes before the guard."""
        return self.array[self.size - size : self.size]

    def close(self) -> None:
        self._forbid(self.array.ctypes.data + self.size, PAGE, 3)


@pytest.fixture(scope="module")
def memory() -> Iterator[tuple[Guarded, Guarded]]:
    both = Guarded(8), Guarded(4)
    yield both
    for each in both:
        each.close()


def ours(block: bytes, dtype: str, memory: tuple[Guarded, Guarded], behind: int) -> tuple[int, Array]:
    """What it says, and the bytes, with those that are only repeated written out. `behind`: readable bytes behind the
    block, as those of the next one."""
    source, target = memory[0].last(len(block) + behind), memory[1].last(WANT + SLACK)
    source[: len(block)] = np.frombuffer(block, np.uint8)
    source[len(block) :] = 0xFF
    target[:] = 0xA5
    memory[1].array[: memory[1].size - WANT - SLACK] = 0x5A
    begin, pixels = source.ctypes.data, PIXELS[dtype]
    numbers = (begin, begin + len(block), begin + source.size, target.ctypes.data, WANT, pixels // 8, pixels)
    said = decompress(*map(np.uint64, numbers))
    assert (memory[1].array[: memory[1].size - WANT - SLACK] == 0x5A).all()
    found = target[:WANT].copy()
    if said == REPEATED:
        first = found[pixels : pixels + pixels // 8]
        found[pixels:] = np.tile(first, (WANT - pixels) // first.size)
    return said, found


def by_library(block: bytes) -> Array | None:
    found = np.zeros(WANT, np.uint8)
    return found if lz4_block(block, found) == WANT else None


def block_of(image: Array) -> bytes:
    return bslz4_compress(image, block_bytes=WANT)[16:]


def image_of(dtype: str, seed: int, mean: float, flags: float, large: int = 0) -> Array:
    dice = np.random.default_rng(seed)
    image = dice.poisson(mean, PIXELS[dtype]).astype(dtype)
    image[dice.random(image.size) < flags] = np.iinfo(dtype).max
    image[dice.integers(0, image.size, large)] = 300
    return image


@pytest.mark.parametrize("dtype", PIXELS)
@pytest.mark.parametrize("mean", [0, 0.03, 0.6, 20])
@pytest.mark.parametrize("flags", [0, 0.001, 0.01])
def test_ordinary_blocks_are_recognised(dtype: str, mean: float, flags: float, memory: tuple[Guarded, Guarded]) -> None:
    block = block_of(image_of(dtype, 1, mean, flags))
    said, found = ours(block, dtype, memory, 64)
    assert said == REPEATED
    np.testing.assert_array_equal(found, by_library(block))


def test_blocks_with_large_counts_are_decompressed_whole(memory: tuple[Guarded, Guarded]) -> None:
    block = block_of(image_of("uint32", 2, 3, 0.01, large=200))
    said, found = ours(block, "uint32", memory, 64)
    assert said == WHOLE
    np.testing.assert_array_equal(found, by_library(block))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, str, int]:
    dtype = draw(st.sampled_from(list(PIXELS)))
    kind: Any = draw(st.tuples(st.sampled_from((0, 0.02, 0.5, 9)), st.sampled_from((0, 0.01)), st.integers(0, 3)))
    data = bytearray(block_of(image_of(dtype, draw(st.integers(0, 99)), *kind)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data) - 1) | st.integers(max(len(data) - 24, 0), len(data) - 1))
        how = draw(st.sampled_from(["change", "bit", "cut", "insert", "end"]))
        if how == "change":
            data[place] = draw(st.sampled_from((0, 1, 2, 15, 31, 240, 255)))
        elif how == "bit":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[place : place + draw(st.integers(1, 9))]
        elif how == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=9))
        else:
            del data[place + 1 :]
        if not data:
            break
    return bytes(data), dtype, draw(st.sampled_from((0, 1, 31, 64)))


@pytest.mark.slow
@settings(deadline=None, max_examples=1500)
@given(damaged())
def test_damaged_blocks_are_left_to_the_library_or_give_what_it_gives(
    memory: tuple[Guarded, Guarded], made: tuple[bytes, str, int]
) -> None:
    block, dtype, behind = made
    said, found = ours(block, dtype, memory, behind)
    assert said in (UNKNOWN, WHOLE, REPEATED)
    if said != UNKNOWN:
        wanted = by_library(block)
        assert wanted is not None
        np.testing.assert_array_equal(found, wanted)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=600), st.sampled_from((0, 64)), st.sampled_from(list(PIXELS)))
def test_any_bytes_are_left_to_the_library_or_give_what_it_gives(
    memory: tuple[Guarded, Guarded], block: bytes, behind: int, dtype: str
) -> None:
    said, found = ours(block, dtype, memory, behind)
    if said != UNKNOWN:
        np.testing.assert_array_equal(found, by_library(block))
