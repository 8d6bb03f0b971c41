"""bitshuffle-LZ4 decoded on an OpenCL device: the very pixels of the CPU's decoder, or its refusal."""

import ctypes
import mmap
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import packed_frames
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_frames import packed

from processors.shared.device import context_of, devices
from processors.shared.unpacking import Unpacker
from stream.codec.native import HEADER, bslz4_compress, lz4_block
from stream.codec.payload import decode
from stream.errors import CorruptPayload
from stream.events import Array, Encoding, Payload

pytestmark = [
    pytest.mark.opencl,
    pytest.mark.skipif(not devices(), reason="no OpenCL device, or no pyopencl"),
]
DTYPES = ("uint8", "uint16", "uint32", "int32", "uint64", "float32")
GROUPS = (1, 32)
CANARY = 64


class OnDevice:
    """An unpacker, and a buffer of pixels with a canary behind them."""

    def __init__(self, dtype: str, group: int) -> None:
        import pyopencl as cl

        self.cl, self.context = cl, context_of(devices()[0])
        self.queue = cl.CommandQueue(self.context)
        self.unpacker = Unpacker(devices()[0], self.queue, np.dtype(dtype), group)

    def decode(self, payload: Payload) -> Array | None:
        """The pixels, or None where the device says that they are damaged."""
        cl, nbytes = self.cl, int(np.prod(payload.shape)) * payload.dtype.itemsize
        out = np.full(nbytes + CANARY, 0xA5, np.uint8)
        image = cl.Buffer(self.context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=out)
        assert self.unpacker.takes(payload)
        good = self.unpacker.start(payload, image) and not self.unpacker.damaged()
        cl.enqueue_copy(self.queue, out, image)
        assert (out[nbytes:] == 0xA5).all(), "it wrote behind the last pixel"
        return out[:nbytes].view(payload.dtype).reshape(payload.shape) if good else None


@cache
def on_device(dtype: str, group: int) -> OnDevice:
    return OnDevice(dtype, group)


def framed(blocks: list[bytes], image_bytes: int, block_bytes: int, tail: bytes = b"") -> bytes:
    """A payload of these LZ4 blocks."""
    body = b"".join(len(block).to_bytes(4, "big") + block for block in blocks)
    return HEADER.pack(image_bytes, block_bytes) + body + tail


@st.composite
def images(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES) -> Array:
    """Pixels whose blocks are of all kinds: empty, sparse, dense, flagged, and such as LZ4 cannot make smaller."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    image = np.zeros(draw(st.integers(8, 4 * 8192 // dtype.itemsize + 9)), f"u{dtype.itemsize}")
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    largest = min(int(np.iinfo(image.dtype).max), 2**62)
    step = draw(st.sampled_from((8192 // dtype.itemsize, 1000)))
    for start in range(0, image.size, step):
        piece = image[start : start + step]
        piece[:] = np.minimum(dice.poisson(draw(st.sampled_from((0, 0.001, 0.03, 2, 250))), piece.size), largest)
        kind = draw(st.sampled_from(("counts", "counts", "flags", "anything", "repeated", "one")))
        if kind == "flags":
            piece[dice.random(piece.size) < 0.1] = largest
        elif kind == "anything":
            piece[:] = dice.integers(0, largest, piece.size, endpoint=True, dtype=image.dtype)
        elif kind == "repeated":
            piece[:] = np.resize(dice.integers(0, largest, draw(st.integers(1, 99)), dtype=image.dtype), piece.size)
        elif kind == "one":
            piece[:] = largest
    return image.view(dtype)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(images(), st.sampled_from((8192, 8192, 4096, 1024, 512 * 8)), st.sampled_from(GROUPS))
def test_every_kind_of_block_is_decoded_as_on_the_cpu(image: Array, block_bytes: int, group: int) -> None:
    found = on_device(image.dtype.name, group).decode(packed(image, block_bytes))
    assert found is not None
    np.testing.assert_array_equal(found.view(np.uint8), image.view(np.uint8).reshape(1, -1))


@pytest.mark.parametrize("shape", [(514, 1030), (1065, 1030), (2162, 2068), (1, 9), (1, 8), (7, 13)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_the_shapes_of_real_detectors_are_decoded(dtype: str, shape: tuple[int, int]) -> None:
    """The last block is shorter, and the last pixels lie behind it as they are: 500K, 1M and 4M of EIGER2."""
    image = np.random.default_rng(3).poisson(0.7, shape).astype(dtype)
    image[-1, -5:] = 200
    found = on_device(dtype, 1).decode(packed(image))
    np.testing.assert_array_equal(found, image)


def test_bare_payloads_are_decoded_and_others_are_not_taken() -> None:
    image = np.random.default_rng(4).poisson(2, (50, 61)).astype("uint16")
    device, good = on_device("uint16", 1), packed(image)
    bare = Payload(good.data[12:], Encoding.BSLZ4_BARE, image.shape, image.dtype)
    np.testing.assert_array_equal(device.decode(bare), image)
    raw = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
    swapped = Payload(bslz4_compress(image.byteswap()), Encoding.BSLZ4, image.shape, np.dtype(">u2"))
    few = packed(image.ravel()[:7])
    assert not any(device.unpacker.takes(payload) for payload in (raw, swapped, packed(image.astype("u4")), few))
    with pytest.raises(CorruptPayload, match="speaks of 6100 bytes"):
        device.unpacker.takes(Payload(good.data, Encoding.BSLZ4, (50, 60), image.dtype))


@st.composite
def damaged(draw: st.DrawFn) -> Payload:
    """A frame with some bytes changed, cut out, put in or cut off, behind its header."""
    dtype = draw(st.sampled_from(("uint8", "uint16", "uint32")))
    dice = np.random.default_rng(draw(st.integers(0, 9)))
    image = dice.poisson(np.where(np.arange(9005) < 4000, 0.02, 3)).astype(dtype)
    data = draw(packed_frames.damaged(bytes(packed(image).data), header=12))
    return Payload(data, Encoding.BSLZ4, (1, 9005), np.dtype(dtype))


def assert_as_the_library(payload: Payload, group: int) -> None:
    """The device never says yes where the CPU's decoder does not, and then has the same pixels."""
    found = on_device(payload.dtype.name, group).decode(payload)
    try:
        wanted = decode(payload)
    except CorruptPayload:
        assert found is None
    else:
        if found is not None:
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(damaged(), st.sampled_from(GROUPS))
def test_damaged_bytes_are_found_or_decoded_as_on_the_cpu(payload: Payload, group: int) -> None:
    assert_as_the_library(payload, group)


PIXELS = 1024
tokens = st.tuples(
    st.sampled_from((0, 1, 7, 14, 15, 16, 270, 1000)) | st.integers(0, 40),
    st.sampled_from((0, 1, 2, 3, 8, 255, 1023, 65535)) | st.integers(0, 100),
    st.sampled_from((4, 5, 18, 19, 20, 274, 275, 900, 1019)) | st.integers(4, 60),
)


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """LZ4 as its grammar has it, with numbers that need not fit, and an end that may be missing."""
    out, left = bytearray(), PIXELS
    for literals, distance, length in draw(st.lists(tokens, max_size=8)):
        if draw(st.booleans()):
            literals, length = min(literals, max(left - 12, 0)), max(min(length, left - literals - 5), 4)
        out += sequence(literals, distance, length)
        left -= literals + length
    out += sequence(max(left + draw(st.sampled_from((0, 0, 0, -1, 1, 300))), 0), None, 4)
    return bytes(out[: len(out) - draw(st.sampled_from((0, 0, 0, 1, 2, 9)))])


def sequence(literals: int, distance: int | None, length: int) -> bytes:
    """One sequence of LZ4; without a distance the last one."""

    def rest(number: int) -> bytes:
        return b"" if number < 15 else b"\xff" * ((number - 15) // 255) + bytes([(number - 15) % 255])

    token = bytes([min(literals, 15) << 4 | (min(length - 4, 15) if distance is not None else 0)])
    head = token + rest(literals) + bytes(k * 37 % 251 for k in range(literals))
    return head if distance is None else head + distance.to_bytes(2, "little") + rest(length - 4)


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(st.lists(hostile(), min_size=1, max_size=3), st.sampled_from(GROUPS))
def test_hostile_lz4_is_found_or_decoded_as_by_the_library(blocks: list[bytes], group: int) -> None:
    data = framed(blocks, PIXELS * len(blocks), PIXELS)
    assert_as_the_library(Payload(data, Encoding.BSLZ4, (1, PIXELS * len(blocks)), np.dtype("uint8")), group)


@pytest.mark.parametrize("group", GROUPS)
def test_the_restrictions_at_the_end_of_a_block_are_those_of_the_library(group: int) -> None:
    """Every way to end a block near its end: how many literals are left, and where the last match stops."""
    said = []
    for last, length in ((last, length) for last in range(15) for length in range(4, 30)):
        block = sequence(PIXELS - last - length, 9, length) + sequence(last, None, 4)
        payload = Payload(framed([block], PIXELS, PIXELS), Encoding.BSLZ4, (1, PIXELS), np.dtype("uint8"))
        accepted = lz4_block(block, np.empty(PIXELS, np.uint8)) == PIXELS
        assert (on_device("uint8", group).decode(payload) is not None) == accepted, (last, length)
        said.append(accepted)
    assert any(said) and not all(said)


def test_lengths_that_lie_are_seen_before_anything_is_sent() -> None:
    good = bytearray(packed(np.arange(9005, dtype="uint16")).data)
    for value in (0xFFFFFFFF, 0x7FFFFFFF, len(good) - 16, len(good) - 15, 2**20):
        good[12:16] = value.to_bytes(4, "big")
        assert on_device("uint16", 1).decode(Payload(bytes(good), Encoding.BSLZ4, (1, 9005), np.dtype("u2"))) is None
    long = sequence(900, 1, 4) + b"\x00\x01\x00" * 30 + sequence(0, None, 4)
    for size in (3, 1100, 5000):
        block = long[:size].ljust(size, b"\xff")
        payload = Payload(framed([block], PIXELS, PIXELS), Encoding.BSLZ4, (1, PIXELS), np.dtype("uint8"))
        assert_as_the_library(payload, 1)


class Guarded:
    """Memory that ends where the process must not read: whoever reaches over it kills the test."""

    def __init__(self, pages: int) -> None:
        self.size = pages * mmap.PAGESIZE
        self.memory = mmap.mmap(-1, self.size + mmap.PAGESIZE)
        self.array = np.frombuffer(self.memory, np.uint8)
        self._protect(0)

    def _protect(self, how: int) -> None:
        forbid = ctypes.CDLL(None, use_errno=True).mprotect
        forbid.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if forbid(self.array.ctypes.data + self.size, mmap.PAGESIZE, how):
            pytest.skip("memory cannot be guarded here")

    def close(self) -> None:
        self._protect(3)


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_read_behind_the_last_byte(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PoCL a buffer over memory of ours is that memory; the last block is cut, and what it says reaches beyond."""
    if devices()[0].kind != "cpu":
        pytest.skip("only a CPU's memory can be guarded")
    device, guarded = OnDevice("uint8", group), Guarded(2)
    cl, flags = device.cl, device.cl.mem_flags
    whole, head = sequence(500, 3, 519) + sequence(5, None, 4), 8
    wishes = [sequence(n, None, 4) for n in (4, 15, 300, 1019)] + [sequence(n, 3, m) for n in (0, 14) for m in (4, 400)]
    for block in [whole[:size] for size in range(1, len(whole) + 1, 7)] + [w[:k] for w in wishes for k in (1, 2, 3)]:
        sent = head + 4 + len(block)
        last = guarded.array[guarded.size - sent : guarded.size]
        monkeypatch.setattr(device.unpacker, "_resize", lambda *_: None)
        device.unpacker._number, device.unpacker._staging = 1, np.empty(sent, np.uint8)
        device.unpacker._marks = cl.Buffer(device.context, flags.READ_WRITE, 1)
        device.unpacker._sent = cl.Buffer(device.context, flags.READ_ONLY | flags.USE_HOST_PTR, hostbuf=last)
        payload = Payload(framed([block], PIXELS, PIXELS), Encoding.BSLZ4, (1, PIXELS), np.dtype("uint8"))
        assert (device.decode(payload) is not None) == (block == whole)
        device.queue.finish()
    guarded.close()


RECORDED = {
    "single_crystal/derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5": "entry_0000/ESRF-ID11/eiger/data",
    "powder/i15_1_eiger2_cdte500k/i15-1-100245-fastcs_eiger_000001.h5": "data",
    "powder/id11_ceo2_frelon/derived_CeO2_frame0_bslz4.h5": "entry_0000/measurement/data",
    "streams/dectris_h5-testfiles/eiger2_simread7_2datafiles_4images_bslz4_uint8_data_000001.h5": "entry/data/data",
    "streams/dectris_h5-testfiles/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5": "entry/data/data",
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_frames_are_decoded(shared: Path, name: str) -> None:
    with h5py.File(shared / name) as file:
        data: Any = file[RECORDED[name]]
        frame = Payload(data.id.read_direct_chunk((0, 0, 0))[1], Encoding.BSLZ4, data.shape[1:], data.dtype)
    for group in GROUPS:
        np.testing.assert_array_equal(on_device(frame.dtype.name, group).decode(frame), decode(frame))
