"""The changes of options in a scan's file, /entry/changes: one row each, written before any frame that it holds for.

frame       uint64 (n,)    the first frame number that it holds for
revision    uint32 (n,)    as in /entry/ledger/revision
made        float64 (n,)   s, Unix time
path, who   bytes (n,)     the option; who changed it
value       bytes (n,)     JSON
"""

import json
from typing import Any

from sinks.file.columns import Rows
from sinks.file.swmr import SwmrFile
from stream.events import Change
from stream.pipeline.control import MOST_BYTES
from stream.pipeline.recorded import COLUMNS, GROUP

KINDS = {"frame": "u8", "revision": "u4", "made": "f8", "path": "S256", "value": f"S{MOST_BYTES}", "who": "S64"}


class ChangesTable:
    """Used by the thread of its sink."""

    def __init__(self, file: SwmrFile, *, reopened: bool = False) -> None:
        if reopened:
            self._rows = {name: Rows(file.layout[f"{GROUP}/{name}"]) for name in COLUMNS}
        else:
            self._rows = {name: file.rows(f"{GROUP}/{name}", (), KINDS[name]) for name in COLUMNS}
            file.layout[GROUP].attrs["NX_class"] = "NXcollection"
        revisions = self._rows["revision"].dataset
        self._last = int(revisions[-1]) if len(revisions) else 0

    def add(self, change: Change) -> None:
        """One more, unless the file has it already; visible and safe when this returns."""
        if change.revision <= self._last:
            return
        self._last = change.revision
        values: dict[str, Any] = {
            "frame": change.frame,
            "revision": change.revision,
            "made": change.made,
            "path": change.path.encode("utf-8", "replace")[:256],
            "value": json.dumps(change.value, default=str).encode(),
            "who": change.who.encode("utf-8", "replace")[:64],
        }
        for name, rows in self._rows.items():  # the revision last: it says that the others are there
            if name != "revision":
                rows.put(rows.length, values[name])
                rows.flush()
        self._rows["revision"].put(self._rows["revision"].length, values["revision"])
        self._rows["revision"].flush()
