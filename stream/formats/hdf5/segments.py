"""Runs of consecutive frames, each in one dataset of one file: what links and virtual datasets come down to."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames `first` ... `first + count - 1` of a scan lie in `dataset` of the file `path`, from its frame `offset`.

    channel: index on the second axis, where the channels share one dataset (frames, channels, rows, columns).
    strip: the dataset is (frames, columns), of a detector with one row.
    """

    path: str
    dataset: str
    first: int
    count: int
    offset: int = 0
    channel: int | None = None
    strip: bool = False


def follow(
    dataset: h5py.Dataset, channel: int | None = None, *, strip: bool = False
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Where the frames of an opened dataset really lie, and a note for each source file that is not there.

    A virtual dataset whose sources are whole frames is resolved to them; any other is read through HDF5.
    """
    deep = 1 if strip else 2
    lead = dataset.shape[:1] if channel is not None else dataset.shape[:-deep]
    count = int(np.prod(lead, dtype=np.int64))
    whole = (Segment(dataset.file.filename, dataset.name, 0, count, channel=channel, strip=strip),)
    if not dataset.is_virtual:
        return whole, ()
    parts: list[Segment] = []
    lost: list[str] = []
    simple = dataset.ndim == deep + 1
    folder = os.path.dirname(os.path.abspath(dataset.file.filename))
    for source in dataset.virtual_sources():
        path = dataset.file.filename if source.file_name == "." else os.path.join(folder, source.file_name)
        if not os.path.exists(path):
            lost.append(f"{dataset.file.filename}::{dataset.name} needs {source.file_name}, which is not in {folder}")
        part = _source(dataset, source, path, deep)
        if part is None:
            simple = False
        elif os.path.exists(path):
            parts.append(part)
    return (tuple(sorted(parts, key=lambda part: part.first)) if simple else whole), tuple(lost)


def _source(dataset: h5py.Dataset, source: Any, path: str, deep: int) -> Segment | None:
    """The segment that one mapping of a virtual dataset stands for, None unless it maps whole, consecutive frames."""
    try:
        low, high = _bounds(source.vspace)
        chosen = source.vspace.get_select_npoints(), source.src_space.get_select_npoints()
        if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:  # the whole source, of a shape that is not stored
            source_low, source_high = (
                (0,) * len(low),
                tuple(int(last - first) for first, last in zip(low, high, strict=True)),
            )
            chosen = chosen[0], chosen[0]
        else:
            source_low, source_high = _bounds(source.src_space)
    except (ValueError, RuntimeError):  # unlimited selections
        return None
    count = high[0] - low[0] + 1
    frame = math.prod(dataset.shape[-deep:])
    planes = low[1:] == source_low[1:] == (0,) * deep and high[1:] == source_high[1:]
    whole = planes and len(source_low) == deep + 1 and chosen == (count * frame, count * frame)
    if not whole or source_high[0] - source_low[0] + 1 != count or "%" in source.file_name + source.dset_name:
        return None
    return Segment(path, source.dset_name, int(low[0]), int(count), int(source_low[0]), strip=deep == 1)


def _bounds(space: h5py.h5s.SpaceID) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First and last element of a selection."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return (0,) * len(space.shape), tuple(size - 1 for size in space.shape)
    low, high = space.get_select_bounds()
    return tuple(int(part) for part in low), tuple(int(part) for part in high)


def sequence(group: h5py.Group, members: Sequence[str]) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """The data files of a DECTRIS master, in order, each at its own frame numbers.

    The numbers are those of `image_nr_low` (from 1); without it, the files are counted on, and a missing one is
    taken to hold as many frames as the first that is there (only the last file of a series may be shorter).
    """
    opened = {member: dataset for member in members if (dataset := opened_link(group, member)) is not None}
    notes = []
    per_file = len(next(iter(opened.values()))) if opened else 0
    parts: list[Segment] = []
    following = 0
    for member in members:
        if member in opened:
            part = data_file(opened[member], following)
            parts.append(part)
            following = part.first + part.count
        else:
            target = getattr(group.get(member, getlink=True), "filename", "nothing")
            notes.append(f"{group.file.filename}: {group.name}/{member} links to {target}, which is not there")
            following += per_file
    return tuple(parts), tuple(notes)


def data_file(dataset: h5py.Dataset, following: int) -> Segment:
    """The segment that one data file of a DECTRIS master is; `following`: its first frame if it does not say."""
    low, high = (int(dataset.attrs.get(key, 0)) for key in ("image_nr_low", "image_nr_high"))
    first = low - 1 if 0 < low <= high else following
    return Segment(dataset.file.filename, dataset.name, first, len(dataset))


def opened_link(group: h5py.Group, member: str) -> h5py.Dataset | None:
    """The dataset behind a link, None where its file is not there (yet)."""
    try:
        found = group[member]
    except (KeyError, OSError):
        return None
    return found if isinstance(found, h5py.Dataset) else None
