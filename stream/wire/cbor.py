"""A small CBOR reader (RFC 8949) for untrusted bytes: byte strings come out as views, pixels are never copied.

Lengths are compared with the bytes that are there before anything is allocated; nesting and the number of items are
limited; duplicate keys, invalid UTF-8 and trailing bytes are errors. Tags come out as `Tag`, unread. Encoding is
cbor2's business.
"""

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any, TypeAlias

from stream.errors import BadMessage
from stream.events import Buffer
from stream.wire.limits import DEFAULT, Limits

Value: TypeAlias = Any
"""int, float, bool, None, str, memoryview, list, dict, Tag or Simple."""

UINT8, UINT16, UINT32, UINT64 = 24, 25, 26, 27
INDEFINITE = 31
HEADS: dict[int, tuple[Callable[..., tuple[Any, ...]], int]] = {
    info: (Struct(form).unpack_from, size)
    for info, form, size in ((UINT8, ">B", 1), (UINT16, ">H", 2), (UINT32, ">I", 4), (UINT64, ">Q", 8))
}
FLOATS = {UINT16: Struct(">e").unpack_from, UINT32: Struct(">f").unpack_from, UINT64: Struct(">d").unpack_from}


class CborError(BadMessage):
    """The bytes are not one well-formed CBOR data item within the limits."""


class Truncated(CborError):
    """The bytes end in the middle of an item."""


class Tag:
    """A tagged item (major type 6): `value` is whatever follows the tag number."""

    __slots__ = ("number", "value")

    def __init__(self, number: int, value: Value) -> None:
        self.number = number
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and (self.number, self.value) == (other.number, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tag({self.number}, {self.value!r})"


class Simple(int):
    """A simple value other than false, true and null: 23 is `undefined`."""


SIMPLE: dict[int, Value] = {20: False, 21: True, 22: None}


class _Break:
    pass


BREAK = _Break()


def loads(data: Buffer, limits: Limits = DEFAULT) -> Value:
    """The one data item that `data` holds. Byte strings are read-only memoryviews into `data`. Raises CborError."""
    view = memoryview(data).cast("B").toreadonly()  # one kind of array for the compiled decoders, whatever the source
    size = len(view)
    if size > limits.message_bytes:
        raise CborError(f"message of {size} bytes: max_message_mb allows {limits.message_bytes}")
    try:
        value, at = _item(view, 0, size, limits.depth, [limits.items])
    except (IndexError, StructError):
        raise Truncated(f"the CBOR message ends in the middle of an item, after {size} bytes") from None
    if value is BREAK:
        raise CborError("a CBOR 'break' outside of any array, map or string")
    if at != size:
        raise CborError(f"{size - at} bytes follow the CBOR item")
    return value


def _item(view: memoryview, at: int, size: int, depth: int, left: list[int]) -> tuple[Value, int]:
    """One item at offset `at` and the offset behind it. IndexError and StructError mean that the bytes end early."""
    initial = view[at]
    at += 1
    major, info = initial >> 5, initial & 31
    if major == 7:
        return _simple(view, at, info)
    if info < UINT8:
        count = info
    elif info in HEADS:
        unpack, width = HEADS[info]
        (count,) = unpack(view, at)
        at += width
    elif info == INDEFINITE and major in (2, 3, 4, 5):
        return _indefinite(view, at, size, depth, left, major)
    else:
        raise CborError(f"byte {at - 1}: 0x{initial:02x} begins no CBOR item")
    if major == 3:
        end = at + count
        if end > size:
            raise Truncated(f"byte {at}: a text of {count} bytes is announced, {size - at} are left")
        try:
            return str(view[at:end], "utf-8"), end
        except UnicodeDecodeError:
            raise CborError(f"byte {at}: text is not UTF-8") from None
    if major == 0:
        return count, at
    if major == 2:
        end = at + count
        if end > size:
            raise Truncated(f"byte {at}: a byte string of {count} bytes is announced, {size - at} are left")
        return view[at:end], end
    if major == 1:
        return -1 - count, at
    if depth <= 0:
        raise CborError(f"byte {at}: items are nested too deeply")
    if major == 6:
        value, at = _item(view, at, size, depth - 1, left)
        if value is BREAK:
            raise CborError(f"byte {at}: a tag without an item")
        return Tag(count, value), at
    items = count if major == 4 else 2 * count
    if items > size - at:
        raise Truncated(f"byte {at}: {items} items are announced, {size - at} bytes are left")
    left[0] -= items
    if left[0] < 0:
        raise CborError(f"byte {at}: more items than the limit")
    if major == 4:
        array: list[Value] = []
        append = array.append
        for _ in range(count):
            value, at = _item(view, at, size, depth - 1, left)
            if value is BREAK:
                raise CborError(f"byte {at}: 'break' in an array of definite length")
            append(value)
        return array, at
    found: dict[Value, Value] = {}
    for _ in range(count):
        key, at = _item(view, at, size, depth - 1, left)
        value, at = _item(view, at, size, depth - 1, left)
        if value is BREAK:
            raise CborError(f"byte {at}: 'break' in a map of definite length")
        found[key if type(key) is str else _key(key, at)] = value
    if len(found) != count:
        raise CborError(f"byte {at}: a map with duplicate keys")
    return found, at


def _simple(view: memoryview, at: int, info: int) -> tuple[Value, int]:
    if info in FLOATS:
        return FLOATS[info](view, at)[0], at + HEADS[info][1]
    if info in SIMPLE:
        return SIMPLE[info], at
    if info < UINT8:
        return Simple(info), at
    if info == UINT8 and view[at] >= 32:
        return Simple(view[at]), at + 1
    if info == INDEFINITE:
        return BREAK, at
    raise CborError(f"byte {at - 1}: reserved simple value")


def _key(key: Value, at: int) -> Value:
    if isinstance(key, memoryview):
        return bytes(key)
    if isinstance(key, (str, int, float)) or key is None:
        return key
    raise CborError(f"byte {at}: an array, map or tag as key of a map")


def _indefinite(view: memoryview, at: int, size: int, depth: int, left: list[int], major: int) -> tuple[Value, int]:
    if depth <= 0:
        raise CborError(f"byte {at}: items are nested too deeply")
    items: list[Value] = []
    while True:
        begin = at
        value, at = _item(view, at, size, depth - 1, left)
        if value is BREAK:
            break
        left[0] -= 1
        if left[0] < 0:
            raise CborError(f"byte {at}: more items than the limit")
        if major < 4 and (view[begin] >> 5 != major or view[begin] & 31 == INDEFINITE):
            raise CborError(f"byte {begin}: a chunked string holds something else than chunks of its type")
        items.append(value)
    if major == 4:
        return items, at
    if major == 3:
        return "".join(items), at
    if major == 2:
        return memoryview(b"".join(items)), at
    if len(items) % 2:
        raise CborError(f"byte {at}: a map whose last key has no value")
    found = {_key(key, at): value for key, value in zip(items[::2], items[1::2], strict=True)}
    if 2 * len(found) != len(items):
        raise CborError(f"byte {at}: a map with duplicate keys")
    return found, at
