"""Where the frames are in an HDF5 file: DECTRIS masters, Lima, BLISS, NeXus, Odin, or a path that the user gives.

Links and virtual datasets are followed to the datasets that really hold the chunks, so that these can be read as they
were written; a source file that is not there leaves its frames missing at their own numbers, and is named.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from stream.errors import BadMessage
from stream.formats.hdf5.chunks import MOST_FRAMES
from stream.formats.hdf5.nexus import (
    broken_link,
    default_signal,
    is_stack,
    nx_class,
    peek,
    same_dataset,
    signal_of,
    some,
    text,
)
from stream.formats.hdf5.segments import Segment, follow, sequence
from stream.formats.natural import natural, stem

DATA_FILE = re.compile(r"data_\d+$")
ONE_CHANNEL, DECTRIS_CHANNEL = "default", "threshold_1"
"""Names of the only channel: for any camera, and what the DECTRIS streams call it."""


@dataclass(frozen=True, slots=True)
class Located:
    """One scan in a file. path: where its frames were found; entry: the NXentry (or "/") that it belongs to.

    file: the file that holds both, another than the one asked for where that only links to it; name: the entry's name
    in the file asked for.
    channels: channel -> where its frames lie, by frame number; shape: (rows, columns).
    declared: number of frames that the dataset has room for, whether they were written or not.
    lost: the source files that are not there, one line each; notes: what else was odd.
    monitor: path of the readings that an archive of ours has for each frame.
    """

    file: str
    path: str
    entry: str
    channels: dict[str, tuple[Segment, ...]]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    declared: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    monitor: str | None = None


def locate(file: h5py.File, dataset: str | None = None) -> list[Located]:
    """Every scan in a file, in natural order. Raises BadMessage if there is none."""
    if dataset is not None:
        return [_explicit(file, dataset)]
    found: list[Located] = []
    lost: list[str] = []
    for name in _entries(file):
        try:
            located = _in_entry(file, file[name])
        except KeyError:
            lost.append(broken_link(file, name))
        except BadMessage as error:
            lost.append(str(error))
        else:
            found += [replace(located, name=name.strip("/"))] if located else []
    if not found:
        found = [_scan(file, path, "/") for path in _walk(file)][:1]
    if not found:
        hint = some(lost) or "no dataset of three or more dimensions: give its path with `dataset`"
        raise BadMessage(f"{file.filename} holds no frames that can be found: {hint}")
    return found


def _entries(file: h5py.File) -> list[str]:
    """Paths of the groups that hold a scan each; the root itself where there are none."""
    names = []
    for name in natural(file):
        try:
            is_entry = isinstance(file[name], h5py.Group) and (
                nx_class(file[name]) == "NXentry" or name.startswith("entry")
            )
        except (KeyError, OSError):
            is_entry = isinstance(file.get(name, getlink=True), h5py.ExternalLink)
        if is_entry:
            names.append(f"/{name}")
    return names or ["/"]


def _in_entry(file: h5py.File, entry: h5py.Group) -> Located | None:
    """The frames of one entry, looked for from the surest place to the least sure; None if there are none."""
    parts = _data_files(entry)
    if parts is not None:
        return parts
    broken: list[str] = []
    first: str | None = None
    others: list[str] = []
    for path in _candidates(entry):
        try:
            dataset = entry.file[path]
        except (KeyError, OSError):
            broken.append(broken_link(entry.file, path))
            continue
        if not is_stack(dataset):
            continue
        if first is None:
            first = path
        elif entry.file[first] != dataset and os.path.basename(os.path.dirname(path)) != "plot":
            others.append(path)
    if first is None:
        if broken:
            raise BadMessage(some(broken))
        return None
    located = _scan(entry.file, first, entry.name)
    known = {part.dataset for parts in located.channels.values() for part in parts}
    others = [
        path for path in others if entry.file[path].name not in known and not same_dataset(entry.file, first, path)
    ]
    note = (f"{entry.file.filename} also holds {some(dict.fromkeys(others), ', ')}: choose with `dataset`",)
    return replace(located, notes=located.notes + note) if others else located


def _candidates(entry: h5py.Group) -> Iterator[str]:
    """Paths where frames may be, the surest first."""
    default = default_signal(entry)
    if default:
        yield default
    groups = [name for name in natural(entry) if isinstance(peek(entry, name), h5py.Group)]
    for name in sorted(groups, key=lambda name: name != "data"):
        if nx_class(entry[name]) == "NXdata" or name == "data":
            yield f"{entry[name].name}/{signal_of(entry[name])}"
    if "measurement" in groups:
        for name in natural(entry["measurement"]):
            yield f"{entry['measurement'].name}/{name}"
    for name in groups:
        if nx_class(entry[name]) == "NXinstrument" or name == "instrument":
            for part in natural(entry[name]):
                detector = peek(entry[name], part)
                if isinstance(detector, h5py.Group) and "data" in detector:
                    yield f"{detector.name}/data"
    for name in sorted(natural(entry), key=lambda name: name != "data"):
        if isinstance(peek(entry, name), h5py.Dataset):
            yield f"{entry.name.rstrip('/')}/{name}"


def _data_files(entry: h5py.Group) -> Located | None:
    """A DECTRIS master: `data/data_000001` and so on, each a link to a file of its own that may be missing."""
    for name in ("data", *natural(entry)):
        group = peek(entry, name)
        if isinstance(group, h5py.Group):
            members = [member for member in natural(group) if DATA_FILE.match(member)]
            if members:
                parts, notes = sequence(group, members)
                if not parts:
                    raise BadMessage(some(notes))
                like = peek(group, next(member for member in members if peek(group, member) is not None))
                declared = parts[-1].first + parts[-1].count
                return _located(group.file, group.name, entry.name, {DECTRIS_CHANNEL: parts}, like, declared, notes)
    return None


def _explicit(file: h5py.File, path: str) -> Located:
    try:
        thing = file[path]
    except (KeyError, OSError) as error:
        raise BadMessage(f"{broken_link(file, path)}: correct `dataset`") from error
    entry = path.strip("/").split("/")[0]
    if isinstance(thing, h5py.Group):
        if nx_class(thing) != "NXdata":
            found = _in_entry(file, thing)
            if found is None:
                raise BadMessage(f"{file.filename} holds no frames in the group {path}: correct `dataset`")
            return found
        path = f"{path.rstrip('/')}/{signal_of(thing)}"
    return _scan(file, path, f"/{entry}" if isinstance(file[entry], h5py.Group) else "/", flat=True)


def _scan(file: h5py.File, path: str, entry: str, *, flat: bool = False) -> Located:
    """One scan from the dataset at `path`, with the other channels that its NXdata group declares."""
    dataset = file[path]
    if not is_stack(dataset, flat=flat):
        raise BadMessage(f"{file.filename}::{path} is not a stack of images: shape {dataset.shape}, {dataset.dtype}")
    group = file[os.path.dirname(path) or "/"]
    axes = [text(axis) for axis in np.atleast_1d(group.attrs.get("axes", ()))]
    notes: list[str] = []
    channels: dict[str, tuple[Segment, ...]] = {}
    if dataset.ndim == 4 and len(axes) > 1 and axes[1] == "channel":
        names = [text(name) for name in np.atleast_1d(group["channel"][()])] if "channel" in group else []
        for number in range(dataset.shape[1]):
            name = names[number] if number < len(names) else f"channel_{number}"
            channels[name], _ = follow(dataset, channel=number)
        return _located(file, path, entry, channels, dataset, dataset.shape[0])
    auxiliary = [text(name) for name in np.atleast_1d(group.attrs.get("auxiliary_signals", ()))]
    others = [name for name in auxiliary if getattr(peek(group, name), "shape", None) == dataset.shape]
    ours = text(file.attrs.get("creator")) == "inbeam"
    own = os.path.basename(path) if others else ONE_CHANNEL
    for name, part in [(own, dataset), *((other, group[other]) for other in others)]:
        channel = text(part.attrs.get("long_name")) if ours else ""
        channels[channel or name], lost = follow(part)
        notes += lost
    return _located(
        file, path, entry, channels, dataset, int(np.prod(dataset.shape[:-2], dtype=np.int64)), tuple(notes)
    )


def _located(
    file: h5py.File,
    path: str,
    entry: str,
    channels: dict[str, tuple[Segment, ...]],
    like: h5py.Dataset,
    declared: int,
    lost: tuple[str, ...] = (),
) -> Located:
    dtype = np.dtype("u1") if like.dtype.kind == "b" else like.dtype
    shape = (like.shape[-2], like.shape[-1])
    if declared > MOST_FRAMES:
        raise BadMessage(f"{file.filename}::{path} declares {declared} frames, more than {MOST_FRAMES}: it is damaged")
    monitor = "/entry/monitor/data"
    ours = text(file.attrs.get("creator")) == "inbeam" and isinstance(peek(file, monitor), h5py.Dataset)
    place = file.filename, path, entry
    return Located(*place, channels, shape, dtype, declared, lost, monitor=monitor if ours else None)


def _walk(group: h5py.Group, depth: int = 6) -> Iterator[str]:
    """Paths of all stacks below a group, for files that follow no convention."""
    for name in natural(group):
        thing = peek(group, name)
        if is_stack(thing):
            yield thing.name
        elif isinstance(thing, h5py.Group) and depth:
            yield from _walk(thing, depth - 1)


def scan_name(path: str, located: Located, several: bool) -> str:
    """What the user calls the scan: the stem of the file, with the entry where the file holds several."""
    return f"{stem(path)}_{located.name or located.entry.strip('/')}" if several else stem(path)
