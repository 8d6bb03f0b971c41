"""karabo-bridge 2.2 messages: pairs of parts, a msgpack header and its payload, for each source and each of its arrays.

https://github.com/European-XFEL/karabo-bridge-py (`karabo_bridge/serializer.py` reads them).
"""

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

ATTOSECONDS_PER_MICROSECOND = 10**12
"""Unix times as floats are good to a quarter of a microsecond."""


def timestamp(seconds: float, number: int) -> dict[str, Any]:
    """The metadata of one source: Unix time `seconds`, and a number (train id there, frame number here)."""
    whole, microseconds = divmod(round(math.floor(seconds) * 10**6 + seconds % 1 * 1e6), 10**6)
    return {
        "timestamp": seconds,
        "timestamp.sec": str(whole),
        "timestamp.frac": f"{microseconds * ATTOSECONDS_PER_MICROSECOND:018d}",
        "timestamp.tid": number,
    }


def message(data: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """The parts of one message: source -> key -> value (array, number, text, bool, None or a list of them).

    `metadata`: source -> `timestamp`. Arrays travel as they lie in memory, without a copy if they are C-contiguous; an
    empty one as an empty list, because clients cannot read a part without bytes.
    """
    parts: list[Any] = []
    for source in sorted(data):
        plain: dict[str, Any] = {}
        arrays: list[tuple[str, Any]] = []
        for key, value in data[source].items():
            if isinstance(value, np.ndarray) and value.ndim and value.size:
                arrays.append((key, np.ascontiguousarray(value)))
            elif isinstance(value, np.ndarray | np.generic):
                plain[key] = value.tolist()
            else:
                plain[key] = value
        about = {"source": source, "content": "msgpack", "metadata": {"source": source, **metadata[source]}}
        parts += [msgpack.packb(about), msgpack.packb(plain)]
        for key, array in arrays:
            head = {"source": source, "content": "array", "path": key, "dtype": str(array.dtype), "shape": array.shape}
            parts += [msgpack.packb(head), array.data.cast("B") if array.dtype.isnative else array.tobytes()]
    return parts
