"""Which datasets of an HDF5 file have one value for each frame, beside the frames: motors, counters, temperatures.

Looked for where BLISS, NeXus (positioners, sample, goniometer, monitors, axes of the NXdata), areaDetector, the DECTRIS
FileWriter and inbeam itself put them. BLISS has one value per point of its scan in `positioners` and `measurement`,
also where a scan was stopped. Elsewhere a dataset counts if it has exactly as many values as there are frames, or
belongs to one of the axes of a map.
"""

import fnmatch
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from stream.events import MONITOR, Array
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import nx_class, peek, text
from stream.formats.hdf5.safe import may_read

MOST = 1000
"""Readings of one scan."""
BY_POINT = ("instrument/positioners", "positioners", "measurement")
OF_SAMPLE = (
    *("sample", "sample/transformations", "sample/goniometer", "sample/environment"),
    *("instrument/detector/transformations", "instrument/detector/goniometer", "instrument/goniometer"),
)
ATTRIBUTES = ("instrument/NDAttributes", "instrument/detector/NDAttributes", "NDAttributes")
IMAGE_KEY = "image_key"
VALUES = ("value", "data", "values")


@dataclass(frozen=True, slots=True)
class Column:
    """One reading. path: of its dataset in the file of the scan's entry; unit: as the file says it, "" if not.

    axes: the dimensions of the map that the values belong to, () if they go by frame number.
    shape: (rows, columns ...) of the map. by_point: it may be shorter or longer than the frames.
    growing: it may still get values. constant: one value holds for every frame.
    values: float64, one per frame, where no dataset has them.
    """

    path: str
    unit: str
    axes: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    by_point: bool = False
    growing: bool = False
    constant: bool = False
    values: Array | None = None


def columns(
    file: h5py.File, located: Located, wanted: Sequence[str] | None = None, *, growing: bool = False
) -> dict[str, Column]:
    """Name -> column, in the order in which the file has them.

    wanted: names (patterns); a reading named so may also be a single number; None: all with a value per frame.
    growing: the file is being written, so that lengths say nothing: what goes by point counts, and what can still grow.
    """
    lead = _lead(file, located)
    found: dict[str, Column] = {}
    known: dict[str, h5py.Dataset] = {}
    for name, path, by_point in _candidates(file, located):
        dataset = file[path]
        if name in known and known[name] == dataset:
            continue
        if name in known:
            name = f"{posixpath.basename(posixpath.dirname(path))}/{name}"
        asked = wanted is not None and any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
        if wanted is not None and not asked:
            continue
        column = _column(path, dataset, lead, by_point=by_point, growing=growing, asked=asked)
        if column is not None and name not in found:
            known[name], found[name] = dataset, column
        if len(found) == MOST:
            break
    _name_the_monitor(file, located, found)
    return found


def _column(
    path: str, dataset: h5py.Dataset, lead: tuple[int, ...], *, by_point: bool, growing: bool, asked: bool
) -> Column | None:
    frames = int(np.prod(lead, dtype=np.int64))
    unit = text(dataset.attrs.get("units", "")).strip()
    may_grow = growing and dataset.ndim > 0 and dataset.maxshape[0] is None
    if dataset.ndim and dataset.size == frames > 0 and not (growing and by_point):
        return Column(path, unit, growing=may_grow)
    if by_point and dataset.ndim == 1 and (growing or dataset.shape[0] > 1):
        return Column(path, unit, by_point=True, growing=may_grow)
    if dataset.ndim and len(lead) > 1 and (axes := _axes(dataset, lead)):
        return Column(path, unit, axes=axes, shape=lead)
    if may_grow and dataset.ndim == 1 and len(lead) == 1:
        return Column(path, unit, growing=True)
    return Column(path, unit, constant=True) if asked and dataset.size == 1 else None


def _axes(dataset: h5py.Dataset, lead: tuple[int, ...]) -> tuple[int, ...]:
    """Which dimensions of the map a dataset in its NXdata group belongs to, () if that is not said or does not fit."""
    group, name = dataset.parent, posixpath.basename(dataset.name)
    told = group.attrs.get(f"{name}_indices")
    if told is None:
        names = [text(axis) for axis in np.atleast_1d(group.attrs.get("axes", ()))]
        told = [place for place, axis in enumerate(names) if axis == name]
    try:
        axes = tuple(int(text(place)) for place in np.atleast_1d(told))
    except ValueError:
        return ()
    fits = all(axis < len(lead) for axis in axes) and tuple(lead[axis] for axis in axes if axis < len(lead))
    return axes if fits == dataset.shape else ()


def _lead(file: h5py.File, located: Located) -> tuple[int, ...]:
    """The shape of the scan: (frames,), or (rows, columns) of a map."""
    thing = peek(file, located.path)
    if isinstance(thing, h5py.Dataset) and thing.ndim > 3 and len(located.channels) == 1:
        return tuple(thing.shape[:-2])
    return (located.declared,)


def _candidates(file: h5py.File, located: Located) -> Iterator[tuple[str, str, bool]]:
    """(name, path, whether it goes by point) of what may be a reading."""
    entry = located.entry.rstrip("/")
    own = peek(file, f"{entry}/readings")
    if isinstance(own, h5py.Group) and "names" in own.attrs:  # an archive of ours
        for _, path in _numbers(file, f"{entry}/readings"):
            yield text(file[path].attrs.get("long_name", posixpath.basename(path))), path, False
        return
    for place in BY_POINT:
        yield from ((name, path, True) for name, path in _numbers(file, f"{entry}/{place}"))
    is_group = isinstance(peek(file, located.path), h5py.Group)
    frames = located.path if is_group else posixpath.dirname(located.path)
    for place in (frames, *(f"{entry}/{place}" for place in OF_SAMPLE)):
        yield from ((name, path, False) for name, path in _numbers(file, place))
    detector = f"{entry}/instrument/{posixpath.basename(frames)}"  # where GDA links to its data from the NXdata
    yield from ((name, path, False) for name, path in _numbers(file, detector) if name == IMAGE_KEY)
    for name in _members(file, entry or "/"):
        group = peek(file, f"{entry}/{name}")
        if isinstance(group, h5py.Group) and nx_class(group) == "NXmonitor":
            yield from ((name, path, False) for part, path in _numbers(file, f"{entry}/{name}") if part in VALUES)
    for name in _members(file, f"{entry}/instrument"):
        inside = _numbers(file, f"{entry}/instrument/{name}") if name != "positioners" else ()
        yield from ((name, path, False) for part, path in inside if part in (*VALUES, name))
    for place in ATTRIBUTES:
        yield from ((name, path, False) for name, path in _numbers(file, f"{entry}/{place}"))


def _numbers(file: h5py.File, place: str) -> Iterator[tuple[str, str]]:
    """Name and path of the datasets of numbers in a group that are no images."""
    for name in _members(file, place):
        path = f"{place.rstrip('/')}/{name}"
        thing = peek(file, path)
        numbers = isinstance(thing, h5py.Dataset) and thing.dtype.kind in "iufb" and thing.ndim < 4
        if numbers and thing.size is not None and may_read(thing):
            yield name, path


def _members(file: h5py.File, place: str) -> list[str]:
    group = peek(file, place) if place else file
    return list(group) if isinstance(group, h5py.Group) else []


def _name_the_monitor(file: h5py.File, located: Located, found: dict[str, Column]) -> None:
    """If there is one NXmonitor and nothing is called so, its reading is the monitor."""
    groups = {name: peek(file, posixpath.dirname(column.path)) for name, column in found.items()}
    monitors = [name for name, group in groups.items() if group is not None and nx_class(group) == "NXmonitor"]
    if len(monitors) == 1 and MONITOR not in found:
        found[MONITOR] = found[monitors[0]]
