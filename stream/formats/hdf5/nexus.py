"""NeXus conventions and links in HDF5 files, as far as they lead to frames."""

from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np

STRIP_COLUMNS = 256
"""A detector of one row has at least as many columns: MYTHEN has 640 and 1280."""


def is_stack(thing: Any, *, flat: bool = False) -> bool:
    """True for a numeric dataset of at least three dimensions, or two where `flat`; thin ones are not images."""
    least = 2 if flat else 3
    return (
        isinstance(thing, h5py.Dataset)
        and thing.dtype.kind in "uifb"
        and thing.ndim >= least
        and (flat or min(thing.shape[-2:]) > 1)
    )


def is_strip(thing: Any) -> bool:
    """True for a dataset (frames, columns) of a detector with one row, if it says that its rows are frames: they are
    called spectra, stored one by one, or more of them may come. Anything else of two dimensions is an image."""
    if not isinstance(thing, h5py.Dataset) or thing.dtype.kind not in "uif" or thing.ndim != 2:
        return False
    told = text(thing.attrs.get("interpretation", "")) == "spectrum"
    one_by_one = thing.chunks is not None and thing.chunks[0] == 1 < thing.shape[0]
    return thing.shape[1] >= STRIP_COLUMNS and (told or one_by_one or thing.maxshape[0] is None)


def is_thin(thing: Any) -> bool:
    """True for a dataset (..., 1, columns) of such a detector."""
    numbers = isinstance(thing, h5py.Dataset) and thing.dtype.kind in "uif" and thing.ndim > 2
    return numbers and thing.shape[-2] == 1 and thing.shape[-1] >= STRIP_COLUMNS


def nx_class(group: h5py.Group) -> str:
    """The NeXus class of a group, "" without."""
    return text(group.attrs.get("NX_class", ""))


def signal_of(group: h5py.Group) -> str:
    """Name of the signal of an NXdata group, `data` where it does not say."""
    return text(group.attrs.get("signal", "")) or "data"


def text(value: Any) -> str:
    """A string attribute or scalar dataset value, however it was stored."""
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value if value is not None else "")


def some(lines: Iterable[str], join: str = "; ") -> str:
    """The first three of many lines, and how many more there are."""
    every = list(lines)
    return join.join(every[:3]) + (f"{join}and {len(every) - 3} more" if len(every) > 3 else "")


def peek(group: h5py.Group, path: str) -> Any:
    """The object at a path, None where its link is broken."""
    try:
        return group[path]
    except (KeyError, OSError, ValueError):
        return None


def default_signal(group: h5py.Group) -> str | None:
    """Follow the chain of NeXus `@default` attributes to the signal of an NXdata."""
    for _ in range(8):
        if nx_class(group) == "NXdata":
            return f"{group.name}/{signal_of(group)}"
        default = text(group.attrs.get("default"))
        below = peek(group, default) if default else None
        if not isinstance(below, h5py.Group):
            return None
        group = below
    return None
