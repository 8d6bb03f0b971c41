"""What MAX IV's streaming receiver sends: JSON parts with sorted keys and blobs, numbered across series."""

import json
from typing import Any

import numpy as np

from stream.codec.native import bslz4_compress
from stream.events import Array

SHAPE = (9, 13)


def pixels(index: int) -> Array:
    return np.random.default_rng(index).integers(0, 60, SHAPE).astype("u2")


def stins_header(number: int = 7, **more: Any) -> list[bytes]:
    return [as_json({"htype": "header", "msg_number": number, "filename": "/data/visitors/scan-0042.h5", **more})]


def stins_image(index: int, number: int | None = None, packing: str = "bslz4", **more: Any) -> list[bytes]:
    """packing: bslz4 (an EIGER's own, with its header), bare (bitshuffle.compress_lz4), none."""
    image = pixels(index)
    packed = bytes(bslz4_compress(image))
    blob = {"bslz4": packed, "bare": packed[12:], "none": image.tobytes()}[packing]
    about = {
        "htype": "image",
        "msg_number": 8 + index if number is None else number,
        "frame": index,
        "shape": list(SHAPE),
        "type": "uint16",
        "compression": "none" if packing == "none" else "bslz4",
        **more,
    }
    return [as_json(about), blob]


def stins_end(number: int) -> list[bytes]:
    return [as_json({"htype": "series_end", "msg_number": number})]


def as_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
