"""Frames of several modules, and frames that gzip has packed: what decodes, and what is refused."""

import struct
import zlib

import numpy as np
import pytest

from stream.codec import tiles
from stream.codec.native import bslz4_compress
from stream.codec.payload import check, decode
from stream.errors import CorruptPayload
from stream.events import Encoding, Payload

IMAGE = np.random.default_rng(4).integers(0, 900, (40, 64)).astype("<u2")


def piece(image: np.ndarray, encoding: Encoding = Encoding.RAW) -> Payload:
    data = {
        Encoding.RAW: image.tobytes,
        Encoding.BSLZ4: lambda: bslz4_compress(image),
        Encoding.DEFLATE: lambda: zlib.compress(image.tobytes()),
    }[encoding]()
    return Payload(data, encoding, (image.shape[0], image.shape[1]), image.dtype)


@pytest.mark.parametrize(("kind", "flag"), [("<u2", 65535), ("<i2", 32767), (">u4", 2**32 - 1), ("<f4", np.nan)])
def test_modules_lie_where_they_belong_and_gaps_are_flagged(kind: str, flag: float) -> None:
    one, two = np.ascontiguousarray(IMAGE[:, :30].astype(kind)), np.ascontiguousarray(IMAGE[:, 30:].astype(kind))
    packed = tiles.pack(
        [(2, 1, piece(one, Encoding.DEFLATE)), (5, 33, piece(two, Encoding.RAW))], (48, 70), np.dtype(kind)
    )
    found = decode(packed, out=np.zeros((48, 70), np.dtype(kind).newbyteorder("=")))
    wanted = np.full((48, 70), flag, kind)
    wanted[2:42, 1:31], wanted[5:45, 33:67] = one, two
    np.testing.assert_array_equal(found, wanted)
    check(packed)


def test_a_damaged_module_makes_the_frame_corrupt_with_and_without_decoding() -> None:
    bad = piece(IMAGE, Encoding.BSLZ4)
    bad = Payload(bytes(bad.data)[:-9], bad.encoding, bad.shape, bad.dtype)
    packed = tiles.pack([(0, 0, piece(IMAGE)), (40, 0, bad)], (80, 64), IMAGE.dtype)
    for look in (decode, check):
        with pytest.raises(CorruptPayload, match="truncated"):
            look(packed)


def test_bytes_that_are_no_modules_are_refused() -> None:
    packed = tiles.pack([(0, 0, piece(IMAGE)), (40, 0, piece(IMAGE))], (80, 64), IMAGE.dtype)
    whole = bytes(packed.data)
    far = struct.pack("<I", 1 << 31)
    for data in (b"", whole[:-1], whole + b"x", far + whole[4:], whole[:4] + far + whole[8:], whole[:12] + far * 2):
        with pytest.raises(CorruptPayload, match="cannot be taken apart"):
            decode(Payload(data, packed.encoding, packed.shape, packed.dtype))
    with pytest.raises(CorruptPayload, match="reaches beyond"):
        decode(Payload(whole, packed.encoding, (79, 64), packed.dtype))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zlib.compress(IMAGE.tobytes())[:-5], "its end is missing"),
        (zlib.compress(IMAGE.tobytes())[:900], "it is not as long as its frame"),
        (zlib.compress(IMAGE.tobytes()) + b"x", "it is not as long as its frame"),
        (zlib.compress(bytes(10**7)), "it is not as long as its frame"),
        (zlib.compress(IMAGE.tobytes())[:-4] + bytes(4), "does not decompress"),
        (b"", "it is not as long as its frame"),
    ],
)
def test_a_gzipped_frame_that_is_not_whole_is_corrupt(data: bytes, words: str) -> None:
    for look in (decode, check):
        with pytest.raises(CorruptPayload, match=words):
            look(Payload(data, Encoding.DEFLATE, (40, 64), IMAGE.dtype))
