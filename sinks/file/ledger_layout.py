"""The ledger in a scan's file, /entry/ledger: one row per frame number, and the reconciliation at the end.

    frame_number    uint64 (n,)
    status          uint8 (n,)      stream.FrameStatus; 0, the fill value, is MISSING
    detector_time   float64 (n,)    s, start of exposure by the detector's own clock
    stop_time       float64 (n,)    s, end of exposure by the same clock
    absolute_time   float64 (n,)    s, start of exposure, Unix time (UTC)
    exposure        float64 (n,)    s, how long the detector was counting
    received_time   float64 (n,)    s, Unix time
    on_disk_time    float64 (n,)    s, Unix time after which a kill of the writer cannot lose the frame
    checksum        uint64 (n, channels)   xxh3_64 of the payload as it came, before anything is done to it
    nbytes          uint64 (n, channels)   length of the payload as it came
    revision        uint32 (n,)     of the options that the frame was processed with: see /entry/changes
    problem         bytes (n,)      why a frame is corrupt, failed or dropped
    committed       uint64 (1,)     rows that are on disk: data first, then the row, then its status, then this
    expected, announced (-1: not said), repeats, finished, end_status, counts (in the order of `status_names`), notes

Columns are not compressed, so that a row is patched in place.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sinks.file.chunk_index import chunks
from sinks.file.swmr import SwmrFile
from stream.events import FrameStatus, ScanStart
from stream.ledger import States

GROUP = "/entry/ledger"
PROBLEM_BYTES = 80
NOTES_BYTES = 4096
CHUNK_ROWS = 1024
HAS_DATA = np.array([status.has_data for status in FrameStatus])
PER_CHANNEL = ("checksum", "nbytes")

COLUMNS: Mapping[str, tuple[str, Any, str]] = {
    "frame_number": ("u8", 0, ""),
    "detector_time": ("f8", np.nan, "s"),
    "stop_time": ("f8", np.nan, "s"),
    "absolute_time": ("f8", np.nan, "s"),
    "exposure": ("f8", np.nan, "s"),
    "received_time": ("f8", np.nan, "s"),
    "on_disk_time": ("f8", np.nan, "s"),
    "checksum": ("u8", 0, ""),
    "nbytes": ("u8", 0, "bytes"),
    "revision": ("u4", 0, ""),
    "problem": (f"S{PROBLEM_BYTES}", b"", ""),
    "status": ("u1", 0, ""),
}
"""name -> (dtype, fill, unit); `status` last, because it says that the others are there."""


def identity_of(scan: ScanStart) -> str:
    """The scan's uid as an attribute can hold it: NUL and lone surrogates, which HDF5 refuses, are spelt out."""
    return scan.uid.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def states_of(status: Any) -> States:
    """The states in a file up to the last one that is not MISSING, or some more."""
    written = int(chunks(status).first.max(initial=-CHUNK_ROWS)) + CHUNK_ROWS
    states: States = status[:written]
    return states


def declare(file: SwmrFile, channels: tuple[str, ...]) -> None:
    group = file.layout.require_group(GROUP)
    group.attrs["NX_class"] = "NXcollection"
    group.attrs["channels"] = list(channels)
    group.attrs["status_names"] = [status.name.lower() for status in FrameStatus]
    for name, (kind, fill, unit) in COLUMNS.items():
        inner = (len(channels),) if name in PER_CHANNEL else ()
        chunk = 64 if name == "problem" else CHUNK_ROWS
        column = group.create_dataset(
            name, shape=(0, *inner), maxshape=(None, *inner), chunks=(chunk, *inner), dtype=kind, fillvalue=fill
        )
        if unit:
            column.attrs["units"] = unit
    for name, value in (("committed", 0), ("expected", 0), ("announced", -1), ("repeats", 0)):
        file.cell(f"{GROUP}/{name}", value, np.int64)
    file.cell(f"{GROUP}/finished", 0, np.uint8)
    file.cell(f"{GROUP}/end_status", b"", "S16")
    file.cell(f"{GROUP}/notes", b"", f"S{NOTES_BYTES}")
    group.create_dataset("counts", data=np.zeros(len(FrameStatus), np.uint64), chunks=(len(FrameStatus),))
