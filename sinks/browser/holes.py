"""Which frame numbers have no data, or not the usual one, as ranges: read from the ledger of a file of the scan."""

from pathlib import Path
from typing import Any

import numpy as np

from stream.events import FrameStatus

MOST_RANGES = 200


def ranges(states: Any, most: int = MOST_RANGES) -> dict[str, Any]:
    """`ranges`: [status, first, last] of each run of frame numbers that were not just received, in their order.

    states: uint8 (n,), FrameStatus of each number. `more`: how many runs there are beyond the first `most`.
    """
    states = np.asarray(states)
    edges = np.flatnonzero(np.diff(states)) + 1
    first = np.concatenate([[0], edges]).astype(np.int64) if len(states) else np.zeros(0, np.int64)
    last = np.concatenate([edges, [len(states)]])[: len(first)].astype(np.int64) - 1
    odd = states[first] != FrameStatus.RECEIVED
    found = [
        [FrameStatus(int(states[start])).name.lower(), int(start), int(end)]
        for start, end in zip(first[odd][:most], last[odd][:most], strict=True)
    ]
    return {"ranges": found, "more": int(odd.sum()) - len(found)}


def read(path: Path, identity: str) -> dict[str, Any] | None:
    """Those of the scan `identity`; None if the file is not one of it, or cannot be read now."""
    from sinks.file import ledger_reader  # h5py: only where somebody looks
    from sinks.file.ledger_layout import GROUP
    from sinks.file.repair import looked_into

    try:
        with looked_into(path) as file:
            if str(file[GROUP].attrs["scan_uid"]) != identity:
                return None
            record = ledger_reader.read(file)
    except Exception:  # a file can be damaged, or be another one, in any way: the page goes on without this
        return None
    states = record.all_states
    seen = np.flatnonzero(states)
    length = int(seen[-1]) + 1 if len(seen) else 0
    if record.finished:
        length = max(length, record.expected)
    padded = np.zeros(length, np.uint8)
    padded[: min(length, len(states))] = states[:length]
    return ranges(padded)
