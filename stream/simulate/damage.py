"""Damage to one encoded image message of either protocol, such that its frame number can still be read."""

import random
from collections.abc import Sequence

from stream.codec.native import HEADER, address
from stream.errors import BadMessage
from stream.events import Buffer
from stream.simulate.messages import unwrap
from stream.wire import cbor


def _pixels(parts: Sequence[Buffer]) -> tuple[int, int, int, str]:
    """Where the first channel's bytes lie: part, offset, length, and "blocks", "lz4" or "raw"."""
    if len(parts) >= 3:
        encoding = bytes(parts[1]).partition(b'"encoding":"')[2].partition(b'"')[0]
        kind = "blocks" if encoding.startswith(b"bs") else "lz4" if encoding.startswith(b"lz4") else "raw"
        return 2, 0, len(parts[2]), kind
    view = memoryview(parts[0])
    try:
        data = unwrap(cbor.loads(view))["data"]
        value = next(iter(data.values())).value[1].value
    except (BadMessage, KeyError, TypeError, AttributeError, StopIteration, IndexError):
        return 0, len(view) // 2, len(view) - len(view) // 2, "raw"
    kind = "raw"
    if isinstance(value, cbor.Tag):
        value, kind = value.value[2], "blocks"
    return 0, address(value) - address(view), len(value), kind


def _with(parts: Sequence[Buffer], number: int, part: Buffer) -> Sequence[Buffer]:
    return (*parts[:number], part, *parts[number + 1 :])


def corrupted(parts: Sequence[Buffer]) -> Sequence[Buffer]:
    """The first block claims 4 GB (block formats), or refers to bytes before its beginning (bare LZ4).

    Uncompressed pixels have no structure to damage: they are cut short, as by `truncated`.
    """
    number, offset, length, kind = _pixels(parts)
    if kind == "raw" or length < HEADER.size + 4:
        return truncated(parts)
    damaged = bytearray(parts[number])
    if kind == "blocks":
        damaged[offset + HEADER.size : offset + HEADER.size + 4] = b"\xff\xff\xff\xff"
    else:
        damaged[offset : offset + 3] = b"\x00\xff\xff"  # no literals, a match 65535 bytes back
    return _with(parts, number, bytes(damaged))


def truncated(parts: Sequence[Buffer]) -> Sequence[Buffer]:
    """The message ends in the middle of the pixels; what would follow (v1: the times) is gone."""
    number, offset, length, _ = _pixels(parts)
    return (*parts[:number], bytes(parts[number][: offset + length // 2]))


def flipped(parts: Sequence[Buffer], rng: random.Random) -> Sequence[Buffer]:
    """One bit of the pixels' bytes is turned over, behind their header."""
    number, offset, length, kind = _pixels(parts)
    begin = min(HEADER.size + 4 if kind == "blocks" else 0, length - 1)
    damaged = bytearray(parts[number])
    damaged[offset + rng.randrange(begin, length)] ^= 1 << rng.randrange(8)
    return _with(parts, number, bytes(damaged))


def garbage(rng: random.Random) -> bytes:
    """Up to 200 random bytes that begin neither as JSON nor as CBOR messages of a detector do."""
    return b"\xff" + rng.randbytes(rng.randrange(200))
