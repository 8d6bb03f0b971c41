"""A map in a results file, seen as the sinograms of a turning sample."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from processors.diffraction.options import DEGREES
from processors.mapping.pictures import patterns_of
from sinks.export.results import open_results
from sinks.file.advice import foreign
from stream.errors import ConfigError, InbeamError
from stream.events import Array


@dataclass(frozen=True, slots=True)
class Line:
    """An axis in the file. edges: None where there are none."""

    values: Array
    unit: str
    name: str
    long_name: str = ""
    edges: Array | None = None


@dataclass(frozen=True, slots=True)
class Turned:
    """The cube of one map. read(first, end): sinograms (angles, translations, bins) of these radial bins.

    angles: degrees as the file has them, None where it does not say. centre, uncertainty: those of the live slices,
    NaN without. options: of `diffraction_tomography` where it was one. step, unit: of the translation, 1 and "" where
    its positions are not known.
    """

    name: str
    title: str
    read: Callable[[int, int], Array]
    projections: int
    translations: int
    angles: Array | None
    radial: Line
    step: float
    unit: str
    signal_unit: str
    centre: float
    uncertainty: float
    options: Mapping[str, Any]
    reading: Callable[[str], Array]
    """Name of a reading -> float64 (angles, translations). Raises ConfigError."""


@contextmanager
def opened(path: Path, name: str | None, rotation: Literal["slow", "fast"] | None) -> Iterator[Turned]:
    """The map called `name`, or the only one. Raises InbeamError and ConfigError."""
    with open_results(path) as file:
        try:
            entry = file["entry"]
            yield _turned(entry, _name(entry, path, name), rotation)
        except (KeyError, OSError) as error:
            raise InbeamError(foreign(path, "a results file of inbeam", error)) from error


def _name(entry: Any, path: Path, wanted: str | None) -> str:
    groups = {name: entry[name] for name in entry if name != "data"}
    maps = [name for name, group in groups.items() if isinstance(group, h5py.Group) and "frame_index" in group]
    if wanted is None and len(maps) == 1:
        return str(maps[0])
    if wanted in maps:
        return str(wanted)
    have = ", ".join(maps) or "none"
    what = "has several maps" if wanted is None and maps else "has no such map"
    raise ConfigError([("--map", f"{path} {what} (there is: {have}): name one, or map it first (docs/maps.md)")])


def _turned(entry: Any, name: str, rotation: Literal["slow", "fast"] | None) -> Turned:
    group = entry[name]
    cube, pointers = group["I"], group["frame_index"]
    parameters = entry.get(f"provenance/parameters_{name}")
    options = json.loads(parameters[()])["configuration"] if parameters is not None else {}
    is_tomogram = options.get("type") == "diffraction_tomography"
    slow = (rotation or options.get("rotation", "slow")) == "slow"
    plot = group if "axes" in group.attrs else group[group.attrs["default"]]  # beside the patterns it is set apart
    axes = [str(axis) for axis in plot.attrs["axes"]]
    turning, moving = (axes[0], axes[1]) if slow else (axes[1], axes[0])
    translations = cube.shape[1 if slow else 0]
    live = entry.get(f"{name}_slices") if is_tomogram and rotation in (None, options["rotation"]) else None
    if live is not None and not slow:
        translations = live["total_sinogram"].shape[1]

    def turned(values: Array) -> Array:
        return values if slow else values[:translations].swapaxes(0, 1)

    def read(first: int, end: int) -> Array:
        if cube.ndim == 3:
            return turned(np.asarray(cube[:, :, first:end], np.float64))
        found = np.empty((*cube.shape[:2], end - first))
        for row in range(cube.shape[0]):
            found[row] = patterns_of(cube[row, :, :, first:end])
        return turned(found)

    def reading(wanted: str) -> Array:
        return turned(_reading(entry, wanted, pointers[()], group["frames"][()], options.get("normalize_by")))

    place, unit = group[moving][()], _unit(group[moving])
    step = float(place[1] - place[0]) if unit and len(place) > 1 else 1.0
    return Turned(
        name=name,
        title=_text(entry["title"][()]),
        read=read,
        projections=cube.shape[0 if slow else 1],
        translations=translations,
        angles=_angles(group[turning], live),
        radial=_radial(group, axes[-1]),
        step=step,
        unit=unit,
        signal_unit=_unit(cube),
        centre=float(live["centre"][()]) if live is not None else float("nan"),
        uncertainty=float(live["centre_uncertainty"][()]) if live is not None else float("nan"),
        options=options if is_tomogram else {},
        reading=reading,
    )


def _angles(axis: Any, live: Any) -> Array | None:
    if live is not None:
        found: Array = live["angle"][()]
        return found
    known = _unit(axis)
    return np.asarray(axis[()], np.float64) if known and known.lower() in DEGREES else None


def _radial(group: Any, name: str) -> Line:
    axis, edges = group[name], group.get(f"{name}_edges")
    values = np.asarray(axis[()], np.float64)
    long_name = _text(axis.attrs.get("long_name", name))
    return Line(values, _unit(axis), name, long_name, None if edges is None else np.asarray(edges[()], np.float64))


def _reading(entry: Any, name: str, pointers: Array, frames: Array, monitor: str | None) -> Array:
    """At each point, over the monitor where the map is. Raises ConfigError where a point has several frames."""
    columns = entry.get("readings", {})
    have = [str(each) for each in columns.attrs["names"]] if columns else []
    if name not in have:
        raise ConfigError(
            [("--centre-from", f"no reading is called {name!r} (there are: {', '.join(have) or 'none'})")]
        )
    if (frames > 1).any():
        text = "there are points with several frames, whose mean reading is not in the file: give --centre instead"
        raise ConfigError([("--centre-from", text)])
    values = np.asarray(columns[name][()], np.float64)
    if monitor is not None:
        values = values / np.asarray(columns[monitor][()], np.float64)
    known = (pointers >= 0) & (pointers < len(values))
    found: Array = np.where(known, values[np.where(known, pointers, 0)], np.nan)
    return found


def _unit(dataset: Any) -> str:
    return _text(dataset.attrs.get("units", ""))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
