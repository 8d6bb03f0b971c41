"""Values in the groups of an HDF5 file, whoever wrote it: found under one of several names, their units honoured."""

import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import nx_class, text
from stream.formats.hdf5.safe import first_value, may_read
from stream.formats.hdf5.units import factor


def detector_group(file: h5py.File, located: Located) -> h5py.Group | None:
    """The NXdetector that belongs to the frames, None where the file has none."""
    groups = list(_detectors(file, located.entry))
    name = located.path.rsplit("/", 1)[-1]
    sources = {part.dataset for parts in located.channels.values() for part in parts}
    frames = get(file, located.path)
    for group in groups:
        if frames is not None and get(group, "data") == frames:
            return group
    for group in groups:
        if located.path.startswith(f"{group.name}/") or any(source.startswith(f"{group.name}/") for source in sources):
            return group
    for group in groups:
        if group.name.rsplit("/", 1)[-1] in (name, "detector"):
            return group
    for group in groups:
        if group.name.rsplit("/", 1)[-1] in located.path.split("/"):
            return group
    return groups[0] if len(groups) == 1 else None


def get(group: h5py.Group, path: str) -> Any:
    """What lies at a path; None where there is nothing, or a link that leads nowhere."""
    try:
        return group[path]
    except (KeyError, OSError, ValueError):
        return None


def find(places: list[h5py.Group], names: tuple[str, ...]) -> h5py.Dataset | None:
    """The first dataset with a value that may be read, in the first group that has one under any of the names."""
    for place in places:
        for name in names:
            found = get(place, name)
            if isinstance(found, h5py.Dataset) and found.size and may_read(found):
                return found
    return None


def number(places: list[h5py.Group], names: tuple[str, ...], unit: str, *, positive: bool = True) -> float | None:
    """The first number under one of the names, in `unit`. Zeros and NaN count as not given where `positive`, and so do
    values in a unit that is not known."""
    for place in places:
        for name in names:
            found = find([place], (name,))
            if found is None:
                continue
            scale = factor(text(found.attrs.get("units", "")), unit) if unit else 1.0
            try:
                value = float(first_value(found)) * (scale if scale is not None else math.nan)
            except (ValueError, TypeError, OSError):
                continue
            if np.isfinite(value) and (value > 0 or not positive):
                return value
    return None


def string(places: list[h5py.Group], names: tuple[str, ...]) -> str | None:
    """The first text under one of the names; None where there is none, or an empty one."""
    found = find(places, names)
    return text(first_value(found)).strip() or None if found is not None else None


def _detectors(file: h5py.File, entry: str) -> Iterator[h5py.Group]:
    for name in file[entry]:
        group = get(file[entry], name)
        if isinstance(group, h5py.Group) and (nx_class(group) == "NXinstrument" or name == "instrument"):
            for part in group:
                below = get(group, part)
                if isinstance(below, h5py.Group) and (nx_class(below) == "NXdetector" or part == "detector"):
                    yield below
