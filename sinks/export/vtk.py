"""A volume out of a results file as VTK image data (.vti), which ParaView opens: every voxel a cell, NaN for none.

Written by pyevtk, which needs NumPy alone (0.02 MB; VTK's own wheel has 140 MB, and meshio cannot write image data).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.export.results import open_results
from sinks.file.advice import foreign
from stream.errors import InbeamError
from stream.events import Array

EQUAL = 1e-6
"""Of a step: distances of a voxel from the next are equal to this."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One product of three dimensions. fields: float32 or integer (x, y, z). origin: corner of the first voxel, pitch:
    size of a voxel, in units of the axes; names: of the axes, with their units."""

    scan: str
    product: str
    fields: Mapping[str, Array]
    origin: tuple[float, float, float]
    pitch: tuple[float, float, float]
    names: tuple[str, ...]


def read(path: Path, product: str | None) -> Volume:
    """The product called so, or the only volume (of several: the only one called so). Raises InbeamError."""
    with open_results(path) as file:
        try:
            entry = file["entry"]
            groups = {name: entry[name] for name in entry if isinstance(entry[name], h5py.Group)}
            volumes = {name: group for name, group in groups.items() if _is_volume(group)}
            likely = [each for each in volumes if each.endswith("_volume")] or list(volumes)
            name = product or (likely[0] if len(likely) == 1 else "")
            if name not in volumes:
                have = ", ".join(volumes) or "none"
                raise InbeamError(f"{path}: choose --product among its volumes (there is: {have})")
            return _volume(path, entry, name, volumes[name])
        except (KeyError, OSError) as error:
            raise InbeamError(foreign(path, "a results file of inbeam", error)) from error


def content(volume: Volume) -> bytes:
    """The file. Raises InbeamError where pyevtk is not installed."""
    try:
        from pyevtk.hl import imageToVTK
    except ImportError as error:
        raise InbeamError("--vtk needs pyevtk: pip install 'inbeam[vtk]'") from error
    with tempfile.TemporaryDirectory() as folder:
        fields = {name: np.asfortranarray(values) for name, values in volume.fields.items()}
        made = imageToVTK(str(Path(folder) / "volume"), volume.origin, volume.pitch, cellData=fields)
        return Path(made).read_bytes()


def _is_volume(group: Any) -> bool:
    signal = group.attrs.get("signal")
    axes = list(group.attrs.get("axes", ()))
    return (
        isinstance(signal, str) and signal in group and group[signal].ndim == 3 and "." not in axes and len(axes) == 3
    )


def _volume(path: Path, entry: Any, name: str, group: Any) -> Volume:
    shape = group[group.attrs["signal"]].shape
    origin, pitch, names = [], [], []
    for axis in (str(each) for each in group.attrs["axes"]):
        values = np.asarray(group[axis][()], np.float64)
        step = float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0
        if not step > 0 or np.abs(np.diff(values) - step).max(initial=0) > EQUAL * step * len(values):
            raise InbeamError(f"{path}: {axis} of {name} has no equal, ascending steps: it is no image of voxels")
        origin.append(float(values[0]) - step / 2)
        pitch.append(step)
        unit = group[axis].attrs.get("units", "")
        names.append(f"{axis} ({unit})" if unit else axis)
    fields = {
        each: dataset[()]
        for each, dataset in group.items()
        if isinstance(dataset, h5py.Dataset) and dataset.shape == shape and dataset.dtype.kind in "fiu"
    }
    title = entry["title"].asstr()[()] if "title" in entry else path.stem
    corner, size = (origin[0], origin[1], origin[2]), (pitch[0], pitch[1], pitch[2])
    return Volume(str(title), name, fields, corner, size, tuple(names))
