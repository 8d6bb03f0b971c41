"""What `check` verifies of sparse frames: frame_ptr, and the pixels that it points at."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sinks.sparse_frames.layout import COUNTS, LATE
from stream.events import Array

BLOCK = 1 << 22
"""Pixels read at a time: 16 MB."""


def pointers(file: Any, name: str, group: Any, held: Array) -> Iterator[str]:
    """Problems of the group `name`. The pixels of frame i are frame_ptr[i] to frame_ptr[i + 1] of index and intensity.

    held: the frame numbers that the ledger calls received, ascending.
    """
    pointer = group["frame_ptr"][:].astype(np.int64)
    frames = len(pointer) - 1
    picked = np.diff(pointer)
    for frame in held[held >= frames].tolist():
        yield f"frame {frame}: {name}/frame_ptr does not reach it, though the frame was received"
    for frame in np.flatnonzero(picked < 0).tolist():
        yield f"frame {frame}: {name}/frame_ptr goes back"
    waiting = len(file[f"{LATE}/frame"]) if f"{LATE}/frame" in file else 0
    if waiting:
        yield f"{waiting} late frames wait to be moved into their places: start inbeam again on this scan"
    if f"{COUNTS}/picked" in file and not waiting:
        held = held[held < min(frames, file[f"{COUNTS}/picked"].shape[0])]
        counted = file[f"{COUNTS}/picked"][: int(held[-1]) + 1 if len(held) else 0].astype(np.int64)
        for frame in held[(picked[held] != counted[held]) & (picked[held] >= 0)].tolist():
            yield f"frame {frame}: {name}/frame_ptr gives it {picked[frame]} pixels, counts/picked {counted[frame]}"
    for field in ("index", "intensity"):
        if len(pointer) and pointer.max() > group[field].shape[0]:
            yield f"{name}/frame_ptr reaches {pointer.max()}, {field} has only {group[field].shape[0]} elements"
        yield from _pixels(f"{name}/{field}", group[field], pointer, group["mask"].size if field == "index" else None)


def _pixels(name: str, dataset: Any, pointer: Array, size: int | None) -> Iterator[str]:
    """Every chunk decodes; flat indices are below `size`."""
    for first in range(0, min(dataset.shape[0], int(pointer.max(initial=0))), BLOCK):
        try:
            values = dataset[first : first + BLOCK]
        except OSError as error:
            yield f"{name} does not decode, elements {first} to {first + BLOCK - 1}: {' '.join(str(error).split())}"
            continue
        outside = np.flatnonzero(values >= size) + first if size is not None else ()
        for frame in np.unique(np.searchsorted(pointer, outside, side="right") - 1).tolist():
            yield f"frame {frame}: {name} has a pixel outside of the image"
