"""What an HDF5 file says of the grid that its scan went over: the shape of a map, its axes, and the title of the scan.

It goes into `Detector.metadata`: `title`, and `grid` with the directions `slow` and `fast` (points, motor, first and
step, as the configuration of `map` has them) and `from`, where it was said.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from stream.events import ScanStart
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import peek, text
from stream.formats.hdf5.opening import DAMAGED
from stream.formats.hdf5.readings import Column
from stream.formats.hdf5.safe import all_values, first_value, may_read

SHAPES = ("scan_shape", "diamond_scan/scan_shape", "scan/scan_shape", "scan_parameters/scan_shape")
EVEN = 0.05
"""Of a step: positions that differ by no more than this from equal steps are those of a regular axis."""


def with_grid(start: ScanStart, file: h5py.File, located: Located, found: Mapping[str, Column]) -> ScanStart:
    """The start of a scan with what `told` finds in the file of its readings."""
    more = told(file, located, found)
    detector = start.detector
    return replace(start, detector=replace(detector, metadata={**detector.metadata, **more})) if more else start


def told(file: h5py.File, located: Located, found: Mapping[str, Column]) -> dict[str, Any]:
    """title and grid, as far as the file has them. found: the readings of its frames."""
    made: dict[str, Any] = {}
    entry = located.entry.rstrip("/")
    title = peek(file, f"{entry}/title")
    if isinstance(title, h5py.Dataset) and title.dtype.kind in "SO" and may_read(title):
        made["title"] = text(first_value(title))
    try:
        grid = _of_shape(file, located, found) or _of_scan_shape(file, located)
    except DAMAGED:
        grid = {}
    return made | ({"grid": grid} if grid else {})


def _of_shape(file: h5py.File, located: Located, found: Mapping[str, Column]) -> dict[str, Any]:
    """Of frames that lie in a dataset (slow, fast, rows, columns)."""
    thing = peek(file, located.path)
    if not isinstance(thing, h5py.Dataset) or thing.ndim != 4 or len(located.channels) != 1:
        return {}
    lead = tuple(int(size) for size in thing.shape[:2])
    sides = [_axis(file, found, place, lead[place]) for place in (0, 1)]
    return {"slow": sides[0], "fast": sides[1], "from": f"the shape of {located.path}"}


def _axis(file: h5py.File, found: Mapping[str, Column], place: int, points: int) -> dict[str, Any]:
    made: dict[str, Any] = {"points": points}
    of_axis = [(name, column) for name, column in found.items() if column.axes == (place,)]
    for name, column in of_axis[:1]:
        made |= {"motor": name} | ({"unit": column.unit} if column.unit else {})
        positions = np.asarray(file[column.path][()], np.float64)
        steps = np.diff(positions)
        if len(steps) and np.isfinite(steps).all() and steps.mean():
            expected = positions[0] + np.arange(points) * steps.mean()
            if np.abs(positions - expected).max() <= EVEN * abs(steps.mean()):
                made |= {"first": float(positions[0]), "step": float(steps.mean())}
    return made


def _of_scan_shape(file: h5py.File, located: Located) -> dict[str, Any]:
    """Of a dataset `scan_shape` of two numbers, if there are as many frames."""
    entry = located.entry.rstrip("/")
    for name in SHAPES:
        path = posixpath.join(entry or "/", name)
        thing = peek(file, path)
        if isinstance(thing, h5py.Dataset) and thing.dtype.kind in "iu" and thing.size == 2 and may_read(thing):
            slow, fast = (int(size) for size in np.ravel(all_values(thing)))
            if slow > 0 and fast > 0 and slow * fast >= located.declared:
                return {"slow": {"points": slow}, "fast": {"points": fast}, "from": path}
    return {}
