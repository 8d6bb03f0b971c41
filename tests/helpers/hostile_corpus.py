"""One corpus of hostile messages for every decoder of untrusted bytes: wrong, damaged, lying, enormous, nested.

A case never is what an honest detector could send as a new scan or the end of one: whatever it does, the next good
frame must still come out.
"""

import json
import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2
from dectris_messages import (
    CONFIG,
    SHAPE,
    as_json,
    packed,
    pixels,
    stream2_image,
    stream2_start,
    v1_header,
    v1_image,
)

HOSTILE_INDEX = 3


@dataclass(frozen=True)
class Case:
    """One message, and a name to find it by."""

    name: str
    parts: Sequence[bytes]


VALUES: dict[str, Any] = {
    "null": None,
    "minus one": -1,
    "2^63": 2**63,
    "2^64-1": 2**64 - 1,
    "fraction": 1.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "empty text": "",
    "long text": "x" * 10_000,
    "NUL": "a\0b",
    "path": "../../etc/passwd",
    "empty list": [],
    "list": [1, 2, 3],
    "nested list": [[[[]]]],
    "empty map": {},
    "map": {"a": {"b": []}},
    "true": True,
    "zero": 0,
}
CBOR_VALUES: dict[str, Any] = VALUES | {
    "bytes": b"\xff" * 20,
    "undefined": cbor2.undefined,
    "tag": cbor2.CBORTag(40, [[1, 1], cbor2.CBORTag(64, b"\0")]),
    "zero denominator": [1, 0],
    "simple": cbor2.CBORSimpleValue(99),
}
LENGTHS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]


def garbage() -> Iterator[Case]:
    """What speaks no protocol at all."""
    yield Case("no parts", [])
    yield Case("an empty part", [b""])
    yield Case("100 empty parts", [b""] * 100)
    yield Case("1000 parts", [b"x"] * 1000)
    yield Case("a pickle", [pickle.dumps({"htype": "dimage-1.0"})])
    yield Case("HTTP", [b"GET / HTTP/1.1\r\nHost: detector\r\n\r\n"])
    yield Case("zeros", [bytes(100_000)])
    yield Case("ones", [b"\xff" * 100_000])
    for byte in range(256):
        yield Case(f"one byte {byte:02x}", [bytes([byte])])
        yield Case(f"nine bytes {byte:02x}", [bytes([byte]) + b"\x7f" + b"\xff" * 7])


def blobs(itemsize: int) -> Iterator[tuple[str, bytes]]:
    """Compressed images whose header or blocks lie."""
    good = packed(pixels(HOSTILE_INDEX), "bslz4").value[2]
    yield "empty", b""
    yield "half a header", good[:7]
    yield "header only", good[:12]
    for size in (*LENGTHS, SHAPE[0] * SHAPE[1] * itemsize - 1, SHAPE[0] * SHAPE[1] * itemsize + 1):
        yield f"size {size}", size.to_bytes(8, "big") + good[8:]
    for block in (0, 1, 3, 7, 8, 15, 16, 2**20, 2**31 - 1, 2**31, 2**32 - 1):
        yield f"block size {block}", good[:8] + block.to_bytes(4, "big") + good[12:]
    for length in (0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(good)):
        yield f"block length {length}", good[:12] + length.to_bytes(4, "big") + good[16:]
    yield "trailing bytes", good + b"\0" * 50
    yield "zeros in the block", good[:16] + bytes(len(good) - 16)
    yield "ones in the block", good[:16] + b"\xff" * (len(good) - 16)
    for size in range(12, len(good)):
        yield f"cut at {size}", good[:size]


def flips(data: bytes, step: int = 1) -> Iterator[tuple[str, bytes]]:
    """Every byte changed in three ways."""
    for place in range(0, len(data), step):
        for name, value in (("zero", 0), ("ff", 255), ("flipped", data[place] ^ 0x20)):
            if value != data[place]:
                yield f"byte {place} {name}", data[:place] + bytes([value]) + data[place + 1 :]


def stream2_cases() -> Iterator[Case]:
    """Hostile stream2 messages."""
    yield from garbage()
    yield Case("an image in two parts", [stream2_image(HOSTILE_INDEX)] * 2)
    yield Case("a v1 image", v1_image(HOSTILE_INDEX))
    image, start = stream2_image(HOSTILE_INDEX), stream2_start()
    for name, message in (("image", image), ("start", start)):
        for size in range(len(message)):
            yield Case(f"{name} cut at {size}", [message[:size]])
        yield Case(f"{name} with trailing bytes", [message + b"\0"])
        content = cbor2.loads(message)
        content = dict(content.value if isinstance(content, cbor2.CBORTag) else content)
        for key in content:
            yield Case(f"{name} without {key}", [_again(name, {key: None})])
            for value_name, value in CBOR_VALUES.items():
                if key != "series_unique_id" or not isinstance(value, str):  # another text is another scan
                    yield Case(f"{name}, {key} is {value_name}", [_again(name, {key: value})])
    for name, changed in flips(image):
        yield Case(f"image, {name}", [changed])
    for name, data in _stream2_arrays():
        yield Case(f"image, {name}", [stream2_image(HOSTILE_INDEX, data={"threshold_1": data})])
        yield Case(f"mask, {name}", [stream2_start(pixel_mask={"threshold_1": data})])
    for name, data in blobs(2):
        for algorithm, size in (("bslz4", 2), ("lz4", 0)):
            tag = cbor2.CBORTag(69, cbor2.CBORTag(56500, [algorithm, size, data]))
            array = cbor2.CBORTag(40, [list(SHAPE), tag])
            yield Case(f"{algorithm} {name}", [stream2_image(HOSTILE_INDEX, data={"threshold_1": array})])
    good = cbor2.CBORTag(40, [list(SHAPE), cbor2.CBORTag(69, packed(pixels(0), "bslz4"))])
    for channel in ("", "/", "..", "a/b", "\0", "é", "x" * 5000, 5, b"x", 1.5):
        yield Case(f"a channel named {channel!r:.20}", [stream2_image(HOSTILE_INDEX, data={channel: good})])
    many = {f"threshold_{number}": good for number in range(1000)}
    yield Case("a thousand channels", [stream2_image(HOSTILE_INDEX, data=many)])
    yield from _stream2_structure()


def _again(name: str, changes: dict[str, Any]) -> bytes:
    return stream2_image(HOSTILE_INDEX, **changes) if name == "image" else stream2_start(**changes)


def _stream2_arrays() -> Iterator[tuple[str, Any]]:
    pixels_raw = packed(pixels(0), "none")
    for dimensions in (
        *([0, 50], [6, 0], [-6, -50], [6.0, 50.0], [2**32, 2**32], [2**63, 2], [1, 2**40], [300], [6, 50, 1], []),
        *([[6], [50]], "6x50", None, [None, None], [True, True], [2**64 - 1, 2**64 - 1]),
    ):
        yield f"dimensions {dimensions}", cbor2.CBORTag(40, [dimensions, cbor2.CBORTag(69, pixels_raw)])
    for tag in range(60, 92):
        yield f"typed array {tag}", cbor2.CBORTag(40, [list(SHAPE), cbor2.CBORTag(tag, pixels_raw[:-1])])
    for content in ([], [[6, 50]], [[6, 50], 1, 2], {}, "x", b"x"):
        yield f"array content {content!r}", cbor2.CBORTag(40, content)
    for size in (0, 1, 3, 4, 2**64 - 1, -1, 2.0, None, "2"):
        tag = cbor2.CBORTag(69, cbor2.CBORTag(56500, ["bslz4", size, b"\0" * 30]))
        yield f"elements of {size!r} bytes", cbor2.CBORTag(40, [list(SHAPE), tag])
    for algorithm in ("", "zstd", "bslz4\0", 5, None, b"bslz4", ["bslz4"], "x" * 5000):
        tag = cbor2.CBORTag(69, cbor2.CBORTag(56500, [algorithm, 2, b"\0" * 30]))
        yield f"algorithm {algorithm!r:.20}", cbor2.CBORTag(40, [list(SHAPE), tag])
    for compressed in ([], ["bslz4"], ["bslz4", 2], ["bslz4", 2, 5], ["bslz4", 2, "text"], {}, 5, "x"):
        tag = cbor2.CBORTag(69, cbor2.CBORTag(56500, compressed))
        yield f"compressed {compressed!r}", cbor2.CBORTag(40, [list(SHAPE), tag])
    within: Any = b"\0" * 30
    for _ in range(20):
        within = cbor2.CBORTag(56500, ["bslz4", 2, within])
    yield "compression within compression", cbor2.CBORTag(40, [list(SHAPE), cbor2.CBORTag(69, within)])
    for order in (1040, 41, 4, 55799):
        tag = cbor2.CBORTag(69, packed(pixels(0), "bslz4"))
        yield f"tag {order} for the array", cbor2.CBORTag(order, [list(SHAPE), tag])


def _stream2_structure() -> Iterator[Case]:
    """What no CBOR library would write."""
    begin = cbor2.dumps("type") + cbor2.dumps("image")
    for level, closing in (
        (b"\x81", b""),
        (b"\xa1\x60", b""),
        (b"\xc1", b""),
        (b"\x9f", b"\xff"),
        (b"\xbf\x60", b"\xff"),
    ):
        for depth in (40, 1000, 200_000):
            nest = level * depth + b"\x00" + closing * depth
            yield Case(f"{depth} levels of {level.hex()}", [nest])
            yield Case(f"{depth} levels of {level.hex()} in a map", [b"\xa2" + begin + cbor2.dumps("user_data") + nest])
    for major in range(2, 6):
        for length in LENGTHS:
            head = bytes([major << 5 | 27]) + length.to_bytes(8, "big")
            yield Case(f"major type {major} of length {length}", [head + b"\0" * 40])
            yield Case(
                f"major type {major} of length {length} in a map", [b"\xa2" + begin + b"\x61x" + head + b"\0" * 40]
            )
    many = (300_000).to_bytes(4, "big")
    yield Case("300000 items", [b"\x9a" + many + bytes(300_000)])
    yield Case("300000 keys", [b"\xba" + many + b"\x60\x00" * 300_000])
    yield Case("300000 items without end", [b"\x9f" + bytes(300_000)])
    yield Case("300000 chunks", [b"\x5f" + b"\x41x" * 300_000 + b"\xff"])
    image = stream2_image(HOSTILE_INDEX)
    twice = b"\xaa" + image[4:] + cbor2.dumps("image_id") + cbor2.dumps(4)
    yield Case("two image numbers", [image[:3] + twice])
    yield Case("bad UTF-8 in a key", [image.replace(b"image_id", b"image_\xff\xfe")])
    yield Case("bad UTF-8 in the type", [image.replace(b"eimage", b"e\xff\xfe\xfd\xfc\xfb")])
    yield Case("a tag without an item", [image[:3]])
    yield Case("a tag in a tag", [b"\xd9\xd9\xf7" * 20 + image])


def simplon_cases() -> Iterator[Case]:
    """Hostile messages of SIMPLON stream v1."""
    yield from garbage()
    yield Case("a stream2 image", [stream2_image(HOSTILE_INDEX)])
    parts = v1_image(HOSTILE_INDEX)
    for number, part in enumerate(parts):
        for size in range(0, len(part), 1 if number != 2 else 5):
            yield Case(f"part {number} cut at {size}", [*parts[:number], part[:size], *parts[number + 1 :]])
        yield Case(f"without part {number}", [*parts[:number], *parts[number + 1 :]])
        yield Case(f"part {number} twice", [*parts[: number + 1], *parts[number:]])
        for name, hostile in _json_parts():
            yield Case(f"part {number} is {name}", [*parts[:number], hostile, *parts[number + 1 :]])
        for name, changed in flips(part, 1 if number != 2 else 7):
            yield Case(f"part {number}, {name}", [*parts[:number], changed, *parts[number + 1 :]])
        if number != 2:
            content = json.loads(part)
            for key in content:
                for name, value in VALUES.items():
                    changed = as_json(**content | {key: value})
                    yield Case(f"part {number}, {key} is {name}", [*parts[:number], changed, *parts[number + 1 :]])
                less = {other: value for other, value in content.items() if other != key}
                yield Case(f"part {number} without {key}", [*parts[:number], as_json(**less), *parts[number + 1 :]])
    yield Case("parts in reverse", parts[::-1])
    yield Case("60 parts", parts * 15)
    for encoding in ("bs16-lz4<", "lz4<", "<", ">", "bs32-lz4<"):
        for name, blob in blobs(2):
            about = json.loads(parts[1]) | {"encoding": encoding, "size": len(blob)}
            yield Case(f"{encoding} {name}", _signed(parts, about, blob))
    for shape in (
        [0, 6],
        [-50, -6],
        [2**32, 2**32],
        [2**40, 1],
        [50],
        [50, 6, 3],
        [50.0, 6.0],
        "50x6",
        [10**30, 10**30],
    ):
        yield Case(f"shape {shape}", _signed(parts, json.loads(parts[1]) | {"shape": shape}, parts[2]))


def _signed(parts: Sequence[bytes], about: dict[str, Any], blob: bytes) -> list[bytes]:
    """An image message whose hash is right."""
    image = v1_image(HOSTILE_INDEX, **{key: value for key, value in about.items() if key != "htype"})
    return [image[0], image[1], blob, parts[3]]


def _json_parts() -> Iterator[tuple[str, bytes]]:
    yield "null", b"null"
    yield "a list", b"[]"
    yield "a number", b"5"
    yield "an empty object", b"{}"
    yield "a number of 5000 digits", b'{"htype":' + b"9" * 5000 + b"}"
    yield "1e999", b'{"htype":"dimage-1.0","series":1e999,"frame":1e999}'
    yield "NaN", b'{"htype":"dimage-1.0","series":NaN,"frame":Infinity}'
    yield "100000 levels of lists", b"[" * 100_000
    yield "100000 levels of objects", b'{"a":' * 100_000
    yield "closed levels", b'{"a":' * 5000 + b"1" + b"}" * 5000
    yield "bad UTF-8", b'{"htype":"\xff\xfe"}'
    yield "a byte order mark", b"\xef\xbb\xbf{}"
    yield "UTF-16", '{"htype":"dimage-1.0"}'.encode("utf-16")
    yield "a lone surrogate", b'{"htype":"dimage-1.0","series":7,"frame":3,"hash":"\\ud800"}'
    yield "duplicate keys", b'{"htype":"dimage-1.0","series":7,"series":8,"frame":3,"frame":4}'
    yield "a long text", b'{"htype":"' + b"x" * 1_000_000 + b'"}'
    yield "many keys", b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}"


def simplon_headers() -> Iterator[Case]:
    """Hostile headers. One with the same series number may well begin a new scan, so these come between scans."""
    for detail in ("all", "basic", "none"):
        parts = v1_header(detail)
        for number, part in enumerate(parts):
            for size in range(0, len(part), max(1, len(part) // 40)):
                yield Case(
                    f"{detail}, part {number} cut at {size}", [*parts[:number], part[:size], *parts[number + 1 :]]
                )
            yield Case(f"{detail} without part {number}", [*parts[:number], *parts[number + 1 :]])
            for name, hostile in _json_parts():
                yield Case(f"{detail}, part {number} is {name}", [*parts[:number], hostile, *parts[number + 1 :]])
    for key in CONFIG:
        for name, value in VALUES.items():
            yield Case(f"{key} is {name}", v1_header("basic", **{key: value}))
    for key in ("shape", "type", "htype"):
        for name, value in VALUES.items():
            parts = v1_header()
            for number in (2, 4, 6):
                changed = as_json(**json.loads(parts[number]) | {key: value})
                yield Case(f"table {number}, {key} is {name}", [*parts[:number], changed, *parts[number + 1 :]])
