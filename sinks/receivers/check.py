"""Prove a master: every frame that its ledger claims is read from the part that has it, and has the bytes that came."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file.ledger_layout import GROUP as LEDGER
from sinks.file.ledger_layout import HAS_DATA
from sinks.receivers import gathered, mapping
from sinks.receivers.ledgers import NOBODY, Part, column, merge
from sinks.receivers.master import COPIES, RECEIVER, is_per_frame, merged_rows, parts_of
from stream.errors import SinkFailed
from stream.events import Array

COMPARED = ("checksum", "nbytes", "revision", "received_time", "on_disk_time", "absolute_time", "detector_time")


def problems(file: Any, path: Path) -> Iterator[str]:
    """What the master says against what its parts say. That the parts are sound is another question."""
    with ExitStack() as stack:
        parts: list[Part] = []
        for _, part, _ in parts_of(file, path):
            try:
                parts.append(Part.of(part, stack.enter_context(h5py.File(part, "r", locking=False))))
            except (OSError, KeyError, ValueError, RuntimeError) as error:
                yield f"its part {part.name} cannot be read: {' '.join(str(error).split())}"
                return
        uid = str(file[LEDGER].attrs["scan_uid"])
        if foreign := [part.path.name for part in parts if part.uid != uid]:
            yield f"its part {foreign[0]} holds another scan"
            return
        try:
            merged = merge(parts)
        except SinkFailed as error:
            yield str(error)
            return
        states, owner = file[f"{LEDGER}/status"][()], file[RECEIVER][()]
        if not np.array_equal(states, merged.states) or not np.array_equal(owner, merged.owner):
            yield "its ledger is not what those of its parts come to: they were changed since"
            return
        if COPIES in file and not np.array_equal(file[COPIES][()], merged.copies):
            yield "ledger/copies is not what its parts have"
        yield from merged.differing.values()
        yield from gathered.problems(file, parts)
        for name in COMPARED:
            if not np.array_equal(file[f"{LEDGER}/{name}"][()], column(merged, parts, name), equal_nan=True):
                yield f"ledger/{name} is not that of its parts"
        ledger = {h5py.h5o.get_info(each.id).addr for each in file[LEDGER].values()}
        for dataset in _datasets(file):
            if h5py.h5o.get_info(dataset.id).addr in ledger:  # other groups link to its columns
                continue
            if dataset.is_virtual:
                yield from _mapping(dataset, path, parts, owner, states)
            elif is_per_frame(dataset) and parts and dataset.name in parts[0].file:
                found = merged_rows(parts[0].file[dataset.name], parts, merged)
                same = dataset[()] == found
                if found.dtype.kind == "f":
                    same |= np.isnan(found) & np.isnan(dataset[()])
                if not same.all():
                    yield f"{dataset.name} is not that of its parts"


def _mapping(dataset: Any, path: Path, parts: list[Part], owner: Array, states: Array) -> Iterator[str]:
    found = np.full(len(owner), NOBODY, np.uint16)
    places = {(path.parent / part.path.name).resolve(): number for number, part in enumerate(parts)}
    places |= {part.path.resolve(): number for number, part in enumerate(parts)}
    for name, inner, rows in mapping.mapped(dataset):
        number = places.get((path.parent / name).resolve())
        if number is None or (inner != dataset.name and inner not in parts[number].file):
            yield f"{dataset.name} is read from {name}, which is none of its parts"
            return
        found[rows] = number
    wrong = np.flatnonzero((found != owner) & HAS_DATA[states])
    if len(wrong):
        yield f"frame {wrong[0]}: {dataset.name} is not read from the part that has it"


def _datasets(group: Any) -> Iterator[Any]:
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            item = group[name]
            if isinstance(item, h5py.Group):
                yield from _datasets(item)
            else:
                yield item
