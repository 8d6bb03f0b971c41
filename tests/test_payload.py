"""Decoding of payloads: equal to HDF5's own filters, and safe on bytes that lie."""

import contextlib
import zlib
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import CorruptPayload, Encoding, Payload
from stream.codec.native import bslz4_compress
from stream.codec.payload import check, decode, with_header
from stream.events import Array


def counts(shape: tuple[int, int], dtype: str, seed: int = 1) -> Array:
    """Photon counts with some hot pixels and flagged ones."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(2, shape).astype(dtype)
    image.flat[:: max(image.size // 50, 1)] = np.iinfo(dtype).max
    image.flat[3 % image.size] = 300 if np.dtype(dtype).itemsize > 1 else 200
    return image


def hdf5_chunk(tmp_path: Path, image: Array, **filters: object) -> bytes:
    """The chunk as HDF5 writes it."""
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        data = file.create_dataset("data", data=image[None], chunks=(1, *image.shape), **filters)
        return bytes(data.id.read_direct_chunk((0, 0, 0))[1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int32"])
@pytest.mark.parametrize("shape", [(256, 256), (37, 53), (1, 1), (2, 9), (514, 1030)])
def test_bslz4_decodes_what_hdf5_packed(tmp_path: Path, dtype: str, shape: tuple[int, int]) -> None:
    image = counts(shape, dtype)
    payload = Payload(hdf5_chunk(tmp_path, image, **hdf5plugin.Bitshuffle()), Encoding.BSLZ4, shape, image.dtype)
    check(payload)
    decoded = decode(payload)
    assert decoded.dtype == image.dtype
    assert np.array_equal(decoded, image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("block", [0, 1000, 65536])
def test_lz4_decodes_what_hdf5_packed(tmp_path: Path, dtype: str, block: int) -> None:
    image = counts((100, 211), dtype)
    image[:50] = np.random.default_rng(3).integers(0, 255, (50, 211))
    payload = Payload(
        hdf5_chunk(tmp_path, image, **hdf5plugin.LZ4(nbytes=block)), Encoding.LZ4_HDF5, image.shape, image.dtype
    )
    check(payload)
    assert np.array_equal(decode(payload), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_hdf5_reads_what_we_pack(tmp_path: Path, dtype: str) -> None:
    image = counts((97, 101), dtype)
    packed = bslz4_compress(image)
    with h5py.File(tmp_path / "direct.h5", "w") as file:
        data = file.create_dataset("data", (1, 97, 101), dtype, chunks=(1, 97, 101), **hdf5plugin.Bitshuffle())
        data.id.write_direct_chunk((0, 0, 0), packed)
        assert np.array_equal(data[0], image)


def test_bare_lz4_bare_bitshuffle_and_raw_decode() -> None:
    image = counts((64, 100), "uint16")
    bare = Payload(bslz4_compress(image)[12:], Encoding.BSLZ4_BARE, image.shape, image.dtype)
    assert np.array_equal(decode(bare), image)
    literals = image.tobytes()[:10]
    block = bytes([len(literals) << 4]) + literals
    assert decode(Payload(block, Encoding.LZ4_BLOCK, (1, 10), np.dtype("u1"))).tobytes() == literals
    raw = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
    assert np.array_equal(decode(raw), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_bare_bytes_become_readable_by_a_header_before_them(dtype: str) -> None:
    image = counts((37, 53), dtype)
    packed = bslz4_compress(image)
    headed = with_header(Payload(packed[12:], Encoding.BSLZ4_BARE, image.shape, image.dtype))
    assert headed == Payload(packed, Encoding.BSLZ4, image.shape, image.dtype)
    block = b"\x1f" + b"\x07" + b"\x01\x00" + b"\xff" + b"\x0c" + b"\x50" + bytes(5)
    bare = Payload(block, Encoding.LZ4_BLOCK, (1, 292), np.dtype("u1"))
    headed = with_header(bare)
    assert headed is not None and headed.encoding is Encoding.LZ4_HDF5
    check(headed)
    assert np.array_equal(decode(headed), decode(bare)) and decode(bare)[0, 0] == 7


def test_what_no_header_makes_readable_gets_none() -> None:
    raw = Payload(bytes(16), Encoding.RAW, (2, 8), np.dtype("u1"))
    as_long = Payload(bytes(16), Encoding.LZ4_BLOCK, (2, 8), np.dtype("u1"))
    assert with_header(raw) is None and with_header(as_long) is None


def test_big_endian_payloads_come_out_in_native_order() -> None:
    image = counts((33, 65), "uint32").astype(">u4")
    packed = bslz4_compress(image.view("<u4"))
    for payload in (
        Payload(packed, Encoding.BSLZ4, image.shape, image.dtype),
        Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype),
    ):
        decoded = decode(payload, out=np.empty(image.shape, "u4"))
        assert decoded.dtype.isnative
        assert np.array_equal(decoded, image)


@pytest.mark.parametrize("name", ["bslz4", "lz4", "bslz4_uint8", "bslz4_uint32"])
def test_files_of_the_vendor_decode_as_h5py_does(shared: Path, name: str) -> None:
    path = shared / f"streams/dectris_h5-testfiles/eiger2_simread7_2datafiles_4images_{name}_data_000001.h5"
    with h5py.File(path) as file:
        data = file["entry/data/data"]
        encoding = Encoding.BSLZ4 if name.startswith("bslz4") else Encoding.LZ4_HDF5
        for index in range(len(data)):
            chunk = data.id.read_direct_chunk((index, 0, 0))[1]
            payload = Payload(chunk, encoding, data.shape[1:], data.dtype)
            assert np.array_equal(decode(payload), data[index])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:5], "too short"),
        (lambda b: b[:-1], "truncated"),
        (lambda b: b + b"\0", "truncated"),
        (lambda b: (1 << 60).to_bytes(8, "big") + b[8:], "header speaks of"),
        (lambda b: b[:8] + (12345).to_bytes(4, "big") + b[12:], "block size"),
        (lambda b: b[:8] + (1 << 31).to_bytes(4, "big") + b[12:], "block size"),
        (lambda b: b[:12] + b"\xff\xff\xff\xff" + b[16:], "truncated"),
        (lambda b: b[:16] + bytes(200) + b[216:], "damaged"),
    ],
)
def test_a_damaged_payload_says_what_is_wrong(damage: object, words: str) -> None:
    image = counts((256, 256), "uint16")
    bad = damage(bslz4_compress(image))  # type: ignore[operator]
    with pytest.raises(CorruptPayload, match=words):
        decode(Payload(bad, Encoding.BSLZ4, image.shape, image.dtype))
    if words != "damaged":
        with pytest.raises(CorruptPayload, match=words):
            check(Payload(bad, Encoding.BSLZ4, image.shape, image.dtype))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_payloads_decode_or_raise_and_never_write_beyond(data: st.DataObject) -> None:
    image = counts((40, 67), "uint32")
    packed = bytearray(bslz4_compress(image, block_bytes=1024))
    for _ in range(data.draw(st.integers(1, 8))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    encoding = data.draw(st.sampled_from(list(Encoding)))
    guarded = np.full(image.size + 64, 0xA5A5A5A5, np.uint32)
    out = guarded[: image.size].reshape(image.shape)
    with contextlib.suppress(CorruptPayload):
        decode(Payload(bytes(packed), encoding, image.shape, image.dtype), out=out)
    assert zlib.crc32(guarded[image.size :].tobytes()) == zlib.crc32(b"\xa5" * 256)
