"""Where the frames are in an HDF5 file: DECTRIS masters, Lima, BLISS, NeXus, Odin, or a path that the user gives.

Links and virtual datasets are followed to the datasets that really hold the chunks, so that these can be read as they
were written; a source file that is not there leaves its frames missing at their own numbers, and is named.
"""

import os
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from stream.errors import BadMessage
from stream.formats.hdf5.candidates import broken_link, every_stack, stacks
from stream.formats.hdf5.chunks import MOST_FRAMES
from stream.formats.hdf5.located import DECTRIS_CHANNEL, ONE_CHANNEL, Found, Located
from stream.formats.hdf5.nexus import is_stack, is_strip, is_thin, nx_class, peek, signal_of, some, text
from stream.formats.hdf5.safe import all_values, refuse
from stream.formats.hdf5.segments import Segment, follow, sequence
from stream.formats.natural import natural

DATA_FILE = re.compile(r"data_\d+$")
OF_BLISS = re.compile(r"\d+\.\d+$")
SAYS_NOTHING = re.compile(r"(entry(_?0*)?1?|scan)?$")
"""Names of an entry that every file has. BLISS's `1.1` is none."""


def locate(file: h5py.File, dataset: str | None = None, skip: Collection[str] = ()) -> Found:
    """Every scan in a file, in natural order. Raises BadMessage if there is none.

    dataset: where the frames are; without a leading slash in each entry that has it, else from the root.
    skip: names of entries that are known already; then it may be that none is found.
    """
    names = [name for name in _entries(file) if name.strip("/") not in skip]
    if dataset is not None:
        within = [] if dataset.startswith("/") else [name for name in names if _has(file, name, dataset)]
        if not within:
            place = dataset.strip("/")
            return Found(tuple(_identified(one, place, _telling(one.entry)) for one in _explicit(file, dataset)))
        names = within
    found: list[Located] = []
    lost: list[str] = []
    for name in names:
        try:
            inside = _explicit(file, f"{name}/{dataset}") if dataset is not None else _in_entry(file[name])
        except KeyError:
            lost.append(broken_link(file, name))
        except BadMessage as error:
            lost.append(str(error))
        else:
            for located in inside:
                if not any(located.channels == other.channels and _somewhere(located) for other in found):
                    found.append(replace(located, name=name.strip("/")))
    if not found and not skip:
        found = _anywhere(file)
    if not found and not skip:
        hint = some(lost) or "no dataset of frames with several rows and columns: give its path with `dataset`"
        raise BadMessage(f"{file.filename} holds no frames that can be found: {hint}")
    telling = [_telling(one.name) if one.name == found[0].name and not skip else one.name for one in found]
    return Found(tuple(_identified(one, name, name) for one, name in zip(found, telling, strict=True)), tuple(lost))


def located_again(file: h5py.File, located: Located) -> Located:
    """The same scan in its own file, opened again, with what has been added to it. Raises BadMessage."""
    if isinstance(file[located.path], h5py.Group):
        fresh = _data_files(file[located.entry])
    else:
        fresh = _scan(file, located.path, located.entry, flat=True)
    if fresh is None or (fresh.shape, fresh.dtype) != (located.shape, located.dtype):
        raise BadMessage(f"{located.file}::{located.path} is not what it was when its scan began")
    return replace(located, channels=fresh.channels, declared=fresh.declared, lost=fresh.lost)


def _has(file: h5py.File, name: str, dataset: str) -> bool:
    entry = peek(file, name) if name != "/" else None
    return isinstance(entry, h5py.Group) and dataset in entry


def _identified(located: Located, identity: str, suffix: str) -> Located:
    inside = (located.detector,)
    return replace(
        located,
        identity="/".join(part for part in (identity, *inside) if part),
        suffix="_".join(part.replace("/", "_") for part in (suffix, *inside) if part),
    )


def _telling(entry: str) -> str:
    """The name of an entry, "" if every file has one of that name."""
    return "" if SAYS_NOTHING.match(entry.strip("/")) else entry.strip("/")


def _somewhere(located: Located) -> bool:
    return any(located.channels.values())


def _anywhere(file: h5py.File) -> list[Located]:
    """The first stack of a file that follows no convention; others are named."""
    found = [f"/{path}" for path in every_stack(file)]
    return [_named_others(_scan(file, found[0], "/"), file, found[1:])] if found else []


def _entries(file: h5py.File) -> list[str]:
    """Paths of the groups that hold a scan each, each once; the root itself where there are none."""
    names: dict[str, Any] = {}
    for name in natural(file):
        try:
            entry = file[name]
        except (KeyError, OSError):
            if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
                names[f"/{name}"] = None
            continue
        by_name = name.startswith("entry") or OF_BLISS.match(name)
        if isinstance(entry, h5py.Group) and (nx_class(entry) == "NXentry" or by_name):
            names[f"/{name}"] = entry
    alias = [
        name
        for name, entry in names.items()
        if isinstance(file.get(name, getlink=True), h5py.SoftLink)
        and any(entry == other for another, other in names.items() if another != name)
    ]
    return [name for name in names if name not in alias] or ["/"]


def _in_entry(entry: Any) -> list[Located]:
    """The frames of one entry, a scan for each of its detectors; none if there are none."""
    if not isinstance(entry, h5py.Group):
        return []
    parts = _data_files(entry)
    if parts is not None:
        return [parts]
    found, broken = stacks(entry)
    if not found:
        if broken:
            raise BadMessage(some(broken))
        return []
    first, *rest = found
    chosen = [first, *(stack for stack in rest if stack.detector)]
    located = [_scan(entry.file, stack.path, entry.name) for stack in chosen]
    if len(chosen) > 1:
        located = [replace(one, detector=stack.label) for one, stack in zip(located, chosen, strict=True)]
    known = {part.dataset for one in located for parts in one.channels.values() for part in parts}
    others = [stack.path for stack in rest if not stack.detector and entry.file[stack.path].name not in known]
    return [_named_others(located[0], entry.file, others), *located[1:]]


def _named_others(located: Located, file: h5py.File, others: list[str]) -> Located:
    if not others:
        return located
    note = f"{file.filename} also holds {some(dict.fromkeys(others), ', ')}: choose with `dataset`"
    return replace(located, notes=(*located.notes, note))


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
                channels = {DECTRIS_CHANNEL: parts}
                located = _located(group.file, group.name, entry.name, channels, like, declared, notes)
                return replace(located, by_files=True)
    return None


def _explicit(file: h5py.File, path: str) -> list[Located]:
    try:
        thing = file[path]
    except (KeyError, OSError) as error:
        raise BadMessage(f"{broken_link(file, path)}: correct `dataset`") from error
    entry = path.strip("/").split("/")[0]
    if isinstance(thing, h5py.Group):
        if nx_class(thing) != "NXdata":
            found = _in_entry(thing)
            if not found:
                raise BadMessage(f"{file.filename} holds no frames in the group {path}: correct `dataset`")
            return found
        path = f"{path.rstrip('/')}/{signal_of(thing)}"
    return [_scan(file, path, f"/{entry}" if isinstance(file[entry], h5py.Group) else "/", flat=True)]


def _scan(file: h5py.File, path: str, entry: str, *, flat: bool = False) -> Located:
    """One scan from the dataset at `path`, with the other channels that its NXdata group declares."""
    dataset = file[path]
    strip = is_strip(dataset)
    if not (is_stack(dataset, flat=flat) or strip or is_thin(dataset)):
        raise BadMessage(f"{file.filename}::{path} is not a stack of images: shape {dataset.shape}, {dataset.dtype}")
    refuse(dataset)
    group = file[os.path.dirname(path) or "/"]
    axes = [text(axis) for axis in np.atleast_1d(group.attrs.get("axes", ()))]
    notes: list[str] = []
    channels: dict[str, tuple[Segment, ...]] = {}
    if dataset.ndim == 4 and len(axes) > 1 and axes[1] == "channel":
        names = [text(name) for name in np.atleast_1d(all_values(group["channel"]))] if "channel" in group else []
        for number in range(dataset.shape[1]):
            name = names[number] if number < len(names) else f"channel_{number}"
            channels[name], _ = follow(dataset, channel=number)
        return _located(file, path, entry, channels, dataset, dataset.shape[0])
    auxiliary = [text(name) for name in np.atleast_1d(group.attrs.get("auxiliary_signals", ()))]
    others = [name for name in auxiliary if getattr(peek(group, name), "shape", None) == dataset.shape]
    ours = text(file.attrs.get("creator")) == "inbeam"
    own = os.path.basename(path) if others else ONE_CHANNEL
    for name, part in [(own, dataset), *((other, group[other]) for other in others)]:
        refuse(part)
        channel = text(part.attrs.get("long_name")) if ours else ""
        channels[channel or name], lost = follow(part, strip=strip)
        notes += lost
    declared = int(np.prod(dataset.shape[: -1 if strip else -2], dtype=np.int64))
    return _located(file, path, entry, channels, dataset, declared, tuple(notes))


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
    shape = (1 if is_strip(like) else like.shape[-2], like.shape[-1])
    if declared > MOST_FRAMES:
        raise BadMessage(f"{file.filename}::{path} declares {declared} frames, more than {MOST_FRAMES}: it is damaged")
    return Located(file.filename, path, entry, channels, shape, dtype, declared, lost)
