"""CBOR items one after the other in a file (RFC 8742), untrusted as well: the bytes of each, without reading them."""

from typing import BinaryIO

from stream.wire.cbor import HEADS, INDEFINITE, UINT64, CborError, Truncated
from stream.wire.limits import DEFAULT, Limits

FILE_STEP = 1 << 20


def read_item(stream: BinaryIO, limits: Limits = DEFAULT) -> bytearray | None:
    """The bytes of the next item of a CBOR sequence in a file, None at its end. Reads no further than the item.

    Raises Truncated if the file ends within the item, CborError if it is no CBOR or beyond the limits.
    """
    found = bytearray()
    pending = [1]  # items awaited per open container; -1: until a break
    items = 0
    while pending:
        first = stream.read(1)
        if not first:
            if not found:
                return None
            raise Truncated(f"the file ends within an item, {len(found)} bytes into it")
        found += first
        items += 1
        if items > limits.items or len(pending) > 2 * limits.depth:
            raise CborError("an item of the file has more items or levels than the limit")
        major, info = first[0] >> 5, first[0] & 31
        if first[0] == 0xFF and pending[-1] == -1:
            pending.pop()
            _close(pending)
            continue
        count = info
        if info in HEADS:
            unpack, width = HEADS[info]
            _read(stream, width, found, limits)
            (count,) = unpack(found, len(found) - width)
        elif info == INDEFINITE and major in (2, 3, 4, 5):
            pending.append(-1)
            continue
        elif info > UINT64:
            raise CborError(f"0x{first[0]:02x} begins no CBOR item: not a CBOR sequence, or damaged")
        if major in (2, 3):
            _read(stream, count, found, limits)
        elif major in (4, 5, 6) and (major == 6 or count):
            pending.append(1 if major == 6 else count * (major - 3))
            continue
        _close(pending)
    return found


def _close(pending: list[int]) -> None:
    """One item is complete, and with it every container that waited for nothing else."""
    while pending and pending[-1] != -1:
        pending[-1] -= 1
        if pending[-1]:
            return
        pending.pop()


def _read(stream: BinaryIO, count: int, found: bytearray, limits: Limits) -> None:
    """Append `count` bytes to `found`, in steps: a forged length allocates no more than the file holds."""
    if len(found) + count > limits.message_bytes:
        raise CborError(f"a string of {count} bytes: max_message_mb allows {limits.message_bytes}")
    while count:
        chunk = stream.read(min(count, FILE_STEP))
        if not chunk:
            raise Truncated(f"the file ends within an item, {len(found)} bytes into it")
        found += chunk
        count -= len(chunk)
