"""Radiographs of a turning sample, from NXtomo, Data Exchange, or folders of images as IMAT and Savu have them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file.advice import foreign
from stream.commands.tomography.images import ByChunks, Images, beside, images_of
from stream.commands.tomography.imat_log import log_of
from stream.errors import ConfigError, InbeamError
from stream.events import EMPTY, Array
from stream.formats.hdf5.opening import open_hdf5
from stream.turning import DEGREES, Key

HDF5 = (".h5", ".hdf5", ".nxs", ".nx", ".hdf")
KEY, ANGLE = "image_key", "sample/rotation_angle"


@dataclass(frozen=True, slots=True)
class Radiographs:
    """keys: of every frame number, `stream.turning.Key`; read(number): its counts, (rows, columns).

    angles: degrees, one per projection, as the file has them; None where it does not say. monitor: one per frame.
    axis: column that the file names, NaN without. half: it says that the axis lies near an edge, and that a full turn
    shows both sides of the sample (NXtomo's field_of_view).
    """

    name: str
    source: str
    kind: str
    shape: tuple[int, int]
    keys: Array
    read: Callable[[int], Array]
    angles: Array | None = None
    monitor: Array | None = None
    axis: float = float("nan")
    half: bool = False
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def numbers(self, key: Key) -> Array:
        """Frame numbers of this kind, rising."""
        return np.flatnonzero(self.keys == key)


@dataclass(frozen=True, slots=True)
class Beside:
    """Flats and darks that the user names: folders or files, in the order in which they were taken. None: look."""

    flats: Sequence[Path] | None = None
    darks: Sequence[Path] | None = None
    suffix: str | None = None


@contextmanager
def opened(path: Path, given: Beside) -> Iterator[Radiographs]:
    """Raises ConfigError for what cannot be read or understood."""
    if path.is_file() and path.suffix.lower() in HDF5:
        try:
            with open_hdf5(str(path)) as file:
                found = _in_file(file, path)
                yield _with(found, given)
        except OSError as error:
            raise InbeamError(foreign(path, "an HDF5 file with radiographs", error)) from error
        return
    yield _with(_in_folder(path, given), given)


def _in_file(file: Any, path: Path) -> Radiographs:
    if "exchange/data" in file:
        return _data_exchange(file, path)
    for entry in (file[name] for name in file if isinstance(file.get(name), h5py.Group)):
        for group in (entry, *(each for each in entry.values() if isinstance(each, h5py.Group))):
            for detector in _detectors(group):
                return _nxtomo(group, detector, path)
    text = "has neither exchange/data (Data Exchange) nor a detector with an image_key (NXtomo)"
    raise ConfigError([("--input-path", f"{path} {text}: convert it, or give a folder of images")])


def _detectors(entry: Any) -> Iterator[Any]:
    """Those that say what their frames are; the one that is called so, else by name: GDA names it as the camera."""
    instrument = entry.get("instrument")
    if not isinstance(instrument, h5py.Group):
        return
    parts = [instrument.get(name) for name in sorted(instrument, key=lambda name: (name != "detector", name))]
    known = [part for part in parts if isinstance(part, h5py.Group) and KEY in part]
    yield from (part for part in known if getattr(part.get("data"), "ndim", 0) == 3)
    yield from (part for part in known if part.get("data") is None)  # to be named: a link that leads nowhere


def _nxtomo(entry: Any, detector: Any, path: Path) -> Radiographs:
    try:
        data = detector["data"]
        keys = np.asarray(detector[KEY][()]).astype(np.int64)
    except (KeyError, OSError) as error:
        raise ConfigError([("--input-path", f"{path}: the frames of {entry.name} cannot be had: {error}")]) from error
    count = min(len(data), len(keys))
    notes = () if len(data) == len(keys) else (f"{len(data)} frames, {len(keys)} image keys: the first {count} count",)
    keys = keys[:count]
    keys[(keys < 0) | (keys > Key.INVALID)] = Key.INVALID
    angles = None
    if ANGLE in entry:
        turned = degrees(entry[ANGLE], path)
        if len(turned) < count:
            text = f"{path}: {len(turned)} rotation angles for {count} frames: give --angles"
            raise ConfigError([("--angles", text)])
        angles = turned[:count][keys == Key.PROJECTION]
    monitor = None
    for place in ("control/data", "control/control"):
        if place in entry and len(entry[place]) >= count:
            monitor = np.asarray(entry[place][()], np.float64)[:count]
            break
    axis, half = float("nan"), False
    if (view := detector.get("field_of_view")) is not None:
        half = (view.asstr()[()] if view.dtype.kind in "SO" else "").lower() == "half"
    if (told := detector.get("x_rotation_axis_pixel_position")) is not None:
        axis = float(np.asarray(told[()])) + (data.shape[2] - 1) / 2
    return Radiographs(
        path.stem, str(path), "NXtomo", data.shape[1:], keys, ByChunks(data), angles, monitor,
        axis, half, notes,
    )  # fmt: skip


def _data_exchange(file: Any, path: Path) -> Radiographs:
    data = file["exchange/data"]
    flats = [file[name] for name in ("exchange/data_white",) if name in file]
    darks = [file[name] for name in ("exchange/data_dark",) if name in file]
    stacks = [(Key.DARK, each) for each in darks] + [(Key.FLAT, each) for each in flats] + [(Key.PROJECTION, data)]
    angles = None
    if "exchange/theta" in file:
        angles = degrees(file["exchange/theta"], path)
        if len(angles) != len(data):
            text = f"{path}: {len(angles)} angles for {len(data)} projections: give --angles"
            raise ConfigError([("--angles", text)])
    notes = ("Data Exchange does not say when flats were taken: they count as taken before",) if flats else ()
    return _joined(path, "Data Exchange", [(key, _of_dataset(each, path)) for key, each in stacks], angles, notes)


def _of_dataset(data: Any, path: Path) -> Images:
    return Images(len(data), data.shape[1:], ByChunks(data), f"{path}::{data.name}")


def _in_folder(path: Path, given: Beside) -> Radiographs:
    sample = images_of("--input-path", path, given.suffix)
    log, told = log_of(path, sample.count)
    notes = [told] if told else []
    stacks: list[tuple[Key, Images]] = [(Key.PROJECTION, sample)]
    readings: list[Array | None] = [None if log is None else log.monitor]
    for key, option, named, word in (
        (Key.FLAT, "--input-path-flat", given.flats, "flat"),
        (Key.DARK, "--input-path-dark", given.darks, "dark"),
    ):
        if named is None:
            found = beside(path, word)
            if found:
                notes.append(f"{word}s from {', '.join(each.name for each in found)}, beside the projections")
            for each in found:
                images = images_of(option, each, given.suffix if each.is_dir() else None)
                place = len(stacks) if "after" in each.name.lower() else 0
                stacks.insert(place, (key, images))
                its, told = log_of(each, images.count)
                notes += [told] if told else []
                none = np.full(images.count, np.nan) if key is Key.DARK else None  # which no beam has met
                readings.insert(place, none if its is None else its.monitor)
    monitor = (
        np.concatenate([each for each in readings if each is not None])
        if all(each is not None for each in readings)
        else None
    )
    angles = None if log is None else log.angles
    return _joined(path, "folder", stacks, angles, tuple(notes), monitor)


def _with(found: Radiographs, given: Beside) -> Radiographs:
    """Flats and darks that the user names take the place of those of the file."""
    stacks: list[tuple[Key, Images]] = []
    keys = found.keys.copy()
    for key, option, named in (
        (Key.FLAT, "--input-path-flat", given.flats),
        (Key.DARK, "--input-path-dark", given.darks),
    ):
        if named is None:
            continue
        keys[keys == key] = Key.INVALID
        stacks += [(key, images_of(option, each, given.suffix if each.is_dir() else None)) for each in named]
    if not stacks:
        return found
    before = [each for each in stacks if "after" not in Path(each[1].source).name.lower()]
    behind = [each for each in stacks if each not in before]
    own = Images(len(keys), found.shape, found.read, found.source)
    made = _joined(Path(found.source), found.kind, [*before, (Key.PROJECTION, own), *behind], found.angles, found.notes)
    first = sum(images.count for _, images in before)
    made.keys[first : first + len(keys)] = keys
    return Radiographs(
        found.name, found.source, found.kind, found.shape, made.keys, made.read, found.angles, None, found.axis,
        found.half, found.notes,
    )  # fmt: skip


def _joined(
    path: Path,
    kind: str,
    stacks: Sequence[tuple[Key, Images]],
    angles: Array | None,
    notes: tuple[str, ...],
    monitor: Array | None = None,
) -> Radiographs:
    """One numbering for all of them, in this order."""
    shape = next(images.shape for key, images in stacks if key is Key.PROJECTION)
    for key, images in stacks:
        if tuple(images.shape) != tuple(shape):
            text = f"{images.source} has images of {images.shape}, the projections have {shape}"
            raise ConfigError([("--input-path-flat" if key is Key.FLAT else "--input-path-dark", text)])
    ends = np.cumsum([images.count for _, images in stacks])
    keys = np.concatenate([np.full(images.count, key, np.int64) for key, images in stacks])

    def read(number: int) -> Array:
        stack = int(np.searchsorted(ends, number, side="right"))
        return stacks[stack][1].read(number - (int(ends[stack - 1]) if stack else 0))

    return Radiographs(path.stem or path.name, str(path), kind, shape, keys, read, angles, monitor, notes=notes)


def degrees(dataset: Any, path: Path) -> Array:
    """float64 (n,). Raises ConfigError for another unit."""
    values = np.asarray(dataset[()], np.float64).ravel()
    told = dataset.attrs.get("units", "")
    unit = (told.decode() if isinstance(told, bytes) else str(told)).lower()
    if unit in ("rad", "radian", "radians"):
        return np.rad2deg(values)
    if unit not in DEGREES:
        raise ConfigError([("--angles", f"{path}: {dataset.name} is in {unit!r}, not in degrees: give --angles")])
    return values
