"""Data Exchange (F. De Carlo et al., J. Synchrotron Rad. 21 (2014) 1224): the darks and flats of a tomography lie
beside the projections. One scan is made of them, in the order in which they are mostly taken: darks, flats,
projections; the readings image_key and rotation_angle say what each is, as NXtomo does.
"""

from collections.abc import Mapping
from dataclasses import replace

import h5py
import numpy as np

from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import is_stack, peek, text
from stream.formats.hdf5.readings import Column
from stream.formats.hdf5.safe import all_values, refuse
from stream.formats.hdf5.segments import Segment, follow

PROJECTIONS, ANGLES = "/exchange/data", "/exchange/theta"
BEFORE = {"/exchange/data_dark": 2, "/exchange/data_white": 1}
"""Dataset -> image_key of NXtomo."""


def completed(file: h5py.File, located: Located) -> Located:
    """With the darks and flats before the projections, where the frames are those of a Data Exchange file."""
    channel, parts = next(iter(located.channels.items()))
    if located.path != PROJECTIONS or len(located.channels) != 1:
        return located
    found: list[Segment] = []
    count, used, notes = 0, [], list(located.notes)
    for path in BEFORE:
        dataset = peek(file, path)
        if dataset is None or not is_stack(dataset, flat=True):
            continue
        if dataset.shape[-2:] != located.shape or dataset.dtype != located.dtype:
            notes.append(f"{file.filename}::{path} are {dataset.shape[-2:]} {dataset.dtype}, unlike the projections")
            continue
        refuse(dataset)
        here, lost = follow(dataset)
        found += [replace(part, first=part.first + count) for part in here]
        count += len(dataset)
        used.append(path)
        notes += lost
    if not used:
        return located
    notes = [note for note in notes if not _of_others(note, used)]
    found += [replace(part, first=part.first + count) for part in parts]
    return replace(located, channels={channel: tuple(found)}, declared=located.declared + count, notes=tuple(notes))


def columns(file: h5py.File, located: Located) -> Mapping[str, Column]:
    """image_key, and rotation_angle where there is one for each projection; none for another kind of file."""
    if located.path != PROJECTIONS or len(located.channels) != 1:
        return {}
    names = {f"/{part.dataset.strip('/')}" for part in next(iter(located.channels.values()))}
    lengths = {path: len(file[path]) for path in BEFORE if path in names}
    before = sum(lengths.values())
    if not before:
        return {}
    keys = [np.full(count, float(BEFORE[path])) for path, count in lengths.items()]
    found = {"image_key": Column("", "", values=np.concatenate([*keys, np.zeros(located.declared - before)]))}
    theta = peek(file, ANGLES)
    if isinstance(theta, h5py.Dataset) and theta.size == located.declared - before:
        values = np.concatenate([np.full(before, np.nan), np.asarray(all_values(theta), np.float64).ravel()])
        found["rotation_angle"] = Column("", text(theta.attrs.get("units", "")).strip(), values=values)
    return found


def _of_others(note: str, used: list[str]) -> bool:
    """True for the note that names other stacks of the file, if they are all used."""
    told = note.partition("also holds ")[2].partition(": choose")[0]
    return bool(told) and set(told.split(", ")) <= set(used)
