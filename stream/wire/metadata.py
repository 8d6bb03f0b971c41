"""From what a header says to plain values: finite numbers, clean text, JSON-like trees of bounded size."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from stream.wire.cbor import Tag
from stream.wire.limits import DEFAULT

Json: TypeAlias = Any
"""None, bool, int, float, str, list, dict with str keys."""

MAX_TEXT = 65536
MAX_VALUES = 20_000
MAX_DEPTH = 16


def number(value: Any) -> float | None:
    """A finite number, else None. Booleans and text are no numbers."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        return float(value) if abs(value) < 2**63 else None
    return None


def positive(value: Any) -> float | None:
    """A finite number above zero, else None: detectors send 0 for a distance or wavelength that nobody has set."""
    found = number(value)
    return found if found is not None and found > 0 else None


def centre(x: Any, y: Any) -> tuple[float | None, float | None]:
    """The beam centre; neither where both are 0, as detectors say that nobody has set it."""
    found = number(x), number(y)
    return (None, None) if found == (0.0, 0.0) else found


def count(value: Any) -> int | None:
    """An integer from 0 to 2^63 - 1, else None."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def flag(value: Any) -> bool | None:
    """True or False, else None."""
    return value if type(value) is bool else None


def text(value: object) -> str | None:
    """Text without NUL and lone surrogates, which neither HDF5 nor a file name takes; None if it is no text."""
    if not isinstance(value, str):
        return None
    if not value.isprintable() or len(value) > MAX_TEXT:
        return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return value


def plain(value: Any) -> Json:
    """A JSON-like copy of anything that a CBOR or JSON document holds; large arrays and byte strings by their size."""
    return _plain(value, MAX_DEPTH, [MAX_VALUES])


def _plain(value: Any, depth: int, left: list[int]) -> Json:
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        return "..."
    if isinstance(value, str):
        return text(value)
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else float(value) if abs(value) < 2**1000 else str(value)[:MAX_TEXT]
    if isinstance(value, Mapping):
        return {text(str(key)): _plain(item, depth - 1, left) for key, item in list(value.items())[:MAX_VALUES]}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1, left) for item in value[:MAX_VALUES]]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    if isinstance(value, Tag):
        return _plain(value.value, depth - 1, left)
    return None


def appendix(value: Any) -> Json:
    """User data as JSON-like values; text that holds a JSON object or array is read."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = _parsed(value)
        except (ValueError, RecursionError):
            return text(value)
    return plain(value)


def _parsed(value: str) -> Json:
    """A JSON document within the limit. Raises ValueError, RecursionError."""
    if len(value) > DEFAULT.json_bytes:
        raise ValueError(f"{len(value)} characters: {DEFAULT.json_bytes} are allowed")
    return json.loads(value)
