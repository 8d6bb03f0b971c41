"""Move the pixels of late frames into their places, once a scan is over.

The pixels of all frames lie one after the other, so a late frame pushes its successors back. The file is written anew
beside itself and replaced in one step: a kill in between leaves the old one, and the next start does it again.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file.advice import failing
from sinks.file.ledger_layout import GROUP, HAS_DATA, states_of
from sinks.file.locks import Lock, Written
from sinks.file.swmr import new_file
from sinks.sparse_frames.layout import ENTRY, FRAMES, LATE
from stream.claim import Taken, replacing

MOVED = ("index", "intensity")
BLOCK = 1 << 22
"""Elements copied at a time: 16 MB."""


def merge_late(path: Path) -> int:
    """Rewrite a closed file, into which nothing more comes, if frames came late. Returns how many. Raises SinkFailed.

    One that another process goes on with, or rewrites, is left to it.
    """
    lock = Lock()
    try:
        with failing(path, "move late frames into their places in"), suppress(Taken, Written):
            if not _waiting(path):
                return 0
            lock.own(path, readers=True)
            if not (late := _waiting(path)):
                return 0
            with h5py.File(path, "r") as file, replacing(path, "merged") as claim:
                with new_file(claim, libver="v110") as target:
                    _copy(file, target)
                    _merge(file, target)
                os.fsync(claim.descriptor)
            return late
    finally:
        lock.release()
    return 0


def _waiting(path: Path) -> int:
    """How many late frames wait to be moved."""
    with h5py.File(path, "r") as file:
        return len(file[f"{LATE}/frame"]) if f"{LATE}/frame" in file else 0


def _copy(file: Any, target: Any) -> None:
    """Everything but the pixels and their pointers; links stay links."""
    target.attrs.update(file.attrs)
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            target[name] = file.get(name, getlink=True)
    entry = target.create_group(ENTRY)
    entry.attrs.update(file[ENTRY].attrs)
    for name in file[ENTRY]:
        path = f"{ENTRY}/{name}"
        if path not in (FRAMES, LATE):
            file.copy(path, entry, name)
    for path in (FRAMES, LATE):
        group = target.create_group(path)
        group.attrs.update(file[path].attrs)
        for name in file[path]:
            if name in MOVED or path == LATE:
                _empty(file[path][name], group)
            elif name not in ("errors", "frame_ptr"):
                file.copy(f"{path}/{name}", group, name)
    target[f"{FRAMES}/errors"] = target[f"{FRAMES}/background_std"]


def _empty(dataset: Any, group: Any) -> Any:
    """A dataset like this one, without a row."""
    created = dataset.id.get_create_plist()
    space = h5py.h5s.create_simple((0,) * dataset.ndim, (h5py.h5s.UNLIMITED,) * dataset.ndim)
    name = dataset.name.rsplit("/", 1)[1]
    made = h5py.Dataset(h5py.h5d.create(group.id, name.encode(), dataset.id.get_type(), space, created))
    made.attrs.update(dataset.attrs)
    return made


def _merge(file: Any, target: Any) -> None:
    source, late = file[FRAMES], file[LATE]
    pointer = source["frame_ptr"][:].astype(np.int64)
    length = np.diff(pointer)
    ends = late["end"][:].astype(np.int64)
    states = states_of(file[f"{GROUP}/status"])
    begins = np.concatenate(([0], ends[:-1]))
    taken: dict[int, tuple[int, int]] = {}
    # a killed writer may have come no further than this
    for number, frame in enumerate(late["frame"][: len(ends)].astype(np.int64)):
        if frame < min(len(length), len(states)) and length[frame] == 0 and HAS_DATA[states[frame]]:
            taken[int(frame)] = (int(begins[number]), int(ends[number]))
    pieces: list[tuple[str, int, int]] = []
    first = 0
    for frame in sorted(taken):
        pieces += [(FRAMES, int(pointer[first]), int(pointer[frame])), (LATE, *taken[frame])]
        length[frame] = taken[frame][1] - taken[frame][0]
        first = frame
    pieces.append((FRAMES, int(pointer[first]), int(pointer[-1])))
    for name in MOVED:
        made = target[f"{FRAMES}/{name}"]
        made.resize((sum(stop - start for _, start, stop in pieces),))
        place = 0
        for path, start, stop in pieces:
            for begin in range(start, stop, BLOCK):
                part = file[f"{path}/{name}"][begin : min(stop, begin + BLOCK)]
                made[place : place + len(part)] = part
                place += len(part)
    moved = _empty(source["frame_ptr"], target[FRAMES])
    moved.resize((len(pointer),))
    moved[:] = np.concatenate(([0], np.cumsum(length)))
