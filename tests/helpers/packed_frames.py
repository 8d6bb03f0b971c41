"""Bitshuffled frames of all kinds of blocks, whole and damaged, for what reads them without decoding them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from stream.codec.native import bslz4_compress
from stream.events import Array, Encoding, Payload

KINDS = ("counts", "counts", "flags", "a flag more", "some bright ones", "anything")


def flagged(dtype: np.dtype[Any]) -> Any:
    """All bits set, as the detectors flag pixels."""
    return dtype.type(-1 if dtype.kind == "i" else np.iinfo(dtype).max)


def packed(image: Array, block_bytes: int = 8192) -> Payload:
    """As the detectors pack it; a flat image is one row."""
    shape = (1, image.size) if image.ndim == 1 else (image.shape[0], image.shape[1])
    return Payload(bslz4_compress(image, block_bytes=block_bytes), Encoding.BSLZ4, shape, image.dtype)


def fill(draw: st.DrawFn, image: Array, outside: Array) -> None:
    """Give every stretch of a flat image its own kind of counts; outside: bool, the pixels that may be flagged."""
    dtype, largest = image.dtype, int(np.iinfo(image.dtype).max)
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = draw(st.sampled_from((8192 // dtype.itemsize, 1000)))
    for start in range(0, image.size, step):
        piece = image[start : start + step]
        mean = draw(st.sampled_from((0, 0.001, 0.03, 0.2, 2, 60, 250)))
        piece[:] = np.minimum(dice.poisson(mean, piece.size), largest)
        kind = draw(st.sampled_from(KINDS))
        if kind in ("flags", "a flag more"):
            piece[outside[start : start + step]] = flagged(dtype)
        if kind == "a flag more":
            piece[dice.integers(piece.size)] = flagged(dtype)
        elif kind == "some bright ones":
            some = dice.integers(piece.size, size=draw(st.sampled_from((1, 3, 40, 300))))
            values = np.array((254, 255, 256, 0x1FF, 0x10000, 0x1000000, largest - 1, largest)) & largest
            piece[some] = dice.choice(values, some.size)
        elif kind == "anything":
            piece[:] = dice.integers(0, largest, piece.size, endpoint=True)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, header: int = 0) -> bytes:
    """The bytes of a frame, with some of them behind its header changed, cut out, put in or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        last = len(data) - 1
        if last <= header:
            break
        place = draw(st.integers(header, last) | st.integers(header, min(header + 40, last)))
        kind = draw(st.sampled_from(["change", "bit", "cut", "insert", "end"]))
        if kind == "change":
            data[place] = draw(st.sampled_from((0, 1, 15, 16, 240, 255)))
        elif kind == "bit":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 9))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=9))
        else:
            del data[max(place, header + 1) :]
    return bytes(data)
