"""One message of karabo-bridge, 1.0 or 2.x, taken apart. Nothing is ever unpickled.

https://github.com/European-XFEL/karabo-bridge-py (`karabo_bridge/serializer.py`). 1.0: one part, a msgpack map
{source: {key: value, "metadata": {...}}} with arrays as msgpack_numpy writes them (whose own reader unpickles what is
marked as an object: we do not). 2.x: pairs of a msgpack header and its payload; `content` is "msgpack" (the values that
are no arrays), "array" or, from older servers, "ImageData".
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from stream.errors import BadMessage
from stream.events import Array, Buffer
from stream.wire.limits import Limits

PLAIN = re.compile(r"[<>|=]?[biuf][1248]|[<>|=]?c(?:8|16)|[<>|=]?b1|bool|u?int(?:8|16|32|64)|float(?:16|32|64)")
MOST_DIMENSIONS = 8
MOST_SOURCES = 4096
MOST_ITEMS = 500_000
MOST_IN_A_LIST = 20_000


@dataclass(slots=True)
class SourceData:
    """What a message has of one source. arrays: views of the message, as they lie in it."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    @property
    def train(self) -> int | None:
        """The train that it belongs to."""
        found = self.metadata.get("timestamp.tid", self.values.get("timestamp.tid"))
        return found if type(found) is int and 0 <= found < 2**63 else None

    @property
    def time(self) -> float:
        """Unix time of the train, s, NaN where it is not said."""
        for told in (self.metadata, self.values):
            whole, fraction = told.get("timestamp.sec"), told.get("timestamp.frac")
            try:
                if isinstance(whole, str) and isinstance(fraction, str) and len(whole) + len(fraction) < 64:
                    found = float(int(whole)) + int(fraction) * 1e-18
                else:
                    found = float(told["timestamp"])
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
            if math.isfinite(found):
                return found
        return math.nan


def take_apart(parts: Sequence[Buffer], limits: Limits) -> dict[str, SourceData]:
    """Source -> what the message has of it. Raises BadMessage."""
    if not 0 < len(parts) <= limits.parts:
        raise BadMessage(f"a message of {len(parts)} parts: 1 to {limits.parts} are allowed")
    if sum(memoryview(part).nbytes for part in parts) > limits.message_bytes:
        raise BadMessage(f"a message of more than {limits.message_bytes} bytes: see max_message_mb")
    if len(parts) == 1:
        return _version_1(parts[0])
    if len(parts) % 2:
        raise BadMessage(f"a message of {len(parts)} parts: karabo-bridge 2 has pairs of a header and its payload")
    found: dict[str, SourceData] = {}
    for head, payload in zip(parts[::2], parts[1::2], strict=True):
        _add_pair(found, _map(head), payload)
    return found


def _version_1(part: Buffer) -> dict[str, SourceData]:
    found: dict[str, SourceData] = {}
    for source, content in _map(part).items():
        if not isinstance(source, str) or not isinstance(content, dict):
            raise BadMessage("a message of one part that is no karabo-bridge 1.0: {source: {key: value}} is needed")
        about = content.get("metadata")
        data = found[source] = SourceData(about if isinstance(about, dict) else {})
        plain: dict[str, Any] = {}
        for key, value in content.items():
            if not isinstance(key, str) or key == "metadata":
                continue
            if isinstance(value, dict) and b"nd" in value:
                array = _packed_array(value)
                if array.ndim:
                    data.arrays[key] = array
                else:
                    plain[key] = array.item()
            else:
                plain[key] = value
        data.values = plain
    return found


def _packed_array(value: Mapping[Any, Any]) -> Array:
    """An array, or a number of NumPy, as msgpack_numpy writes it: maps whose keys are bytes."""
    kind, data, shape = value.get(b"type"), value.get(b"data"), value.get(b"shape", [])
    if value.get(b"kind", b"") not in (b"", "") or not isinstance(data, bytes):
        raise BadMessage("an array of objects or records: numbers alone are read, and nothing is unpickled")
    return _array(data, kind, shape if value.get(b"nd") else [])


def _add_pair(found: dict[str, SourceData], head: Mapping[Any, Any], payload: Buffer) -> None:
    source, content = head.get("source"), head.get("content")
    if not isinstance(source, str) or (len(found) >= MOST_SOURCES and source not in found):
        raise BadMessage("a header without the name of a source")
    data = found.setdefault(source, SourceData())
    if content == "msgpack":
        about = head.get("metadata")
        data.values = _map(payload)
        data.metadata = about if isinstance(about, dict) else {}
    elif content in ("array", "ImageData"):
        told = head
        if content == "ImageData" and isinstance(head.get("params"), dict):
            told = {**head["params"], **head}
        path = head.get("path")
        if not isinstance(path, str):
            raise BadMessage("the header of an array without its path")
        data.arrays[path] = _array(payload, told.get("dtype"), told.get("shape"))
    else:
        raise BadMessage(f"a payload of content {str(content)[:40]!r}: msgpack, array and ImageData are read")


def _array(data: Buffer, kind: Any, shape: Any) -> Array:
    """A view of the bytes. Raises BadMessage unless they are exactly what type and shape ask for."""
    if not isinstance(kind, str) or PLAIN.fullmatch(kind) is None:
        raise BadMessage(f"an array of type {str(kind)[:40]!r}: numbers alone are read")
    sizes = list(shape) if isinstance(shape, list | tuple) else None
    if sizes is None or len(sizes) > MOST_DIMENSIONS or not all(type(size) is int and size >= 0 for size in sizes):
        raise BadMessage(f"an array of the shape {str(shape)[:60]}")
    dtype, view = np.dtype(kind), memoryview(data)
    if math.prod(sizes) * dtype.itemsize != view.nbytes:
        raise BadMessage(f"{view.nbytes} bytes for an array {tuple(sizes)} of {dtype}")
    found = np.frombuffer(view, dtype) if view.nbytes else np.empty(0, dtype)
    return found.reshape(sizes)


def _map(data: Buffer) -> dict[Any, Any]:
    """A msgpack map. Raises BadMessage. What it asks for is bounded before it is made."""
    items = 0

    def counted(value: Any) -> Any:
        nonlocal items
        items += len(value)
        if items > MOST_ITEMS:
            raise ValueError(f"more than {MOST_ITEMS} items")
        return value

    try:
        found = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            unicode_errors="replace",
            list_hook=counted,
            object_hook=counted,
            max_array_len=MOST_IN_A_LIST,  # a list is made before its items are there, also each within another
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BadMessage(f"a part that should be msgpack is not: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise BadMessage("a msgpack part that is no map")
    return found
