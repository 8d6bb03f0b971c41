"""The two products of a map: the cube with what belongs to each point, and the images made of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from processors.mapping.rois import QUANTITIES
from processors.shared.grid import Direction, Grid
from stream.products import Axis, Field, Product

RADIAL_CHUNK = 50
CHUNK_BYTES = 1 << 20
IMAGE_CHUNK = 4096
NAME_BYTES = 64
RESERVED = ("I", "I_errors", "frame_index", "frames", "total", "roi_names", "roi_ranges")


def cube(name: str, source: Product, grid: Grid, errors: bool, parameters: Mapping[str, Any]) -> Product:
    """(slow, fast, [azimuthal,] radial), with frame pointers and the number of frames in each mean."""
    signal = next(field for field in source.fields if field.name == source.signal)
    bins = tuple(int(size or 0) for size in signal.shape)
    shape, chunk = (grid.slow.points, grid.columns, *bins), _chunk(grid.columns, bins)
    points = (grid.slow.points, grid.columns)
    fields = [Field("I", shape, np.dtype("f4"), signal.unit, "mean of the frames", "scan", chunk, "spectrum")]
    if errors:
        text = "standard error of I"
        fields.append(Field("I_errors", shape, np.dtype("f4"), signal.unit, text, "scan", chunk, "spectrum"))
    small = _image_chunk(grid.columns)
    fields += [
        Field("frame_index", points, np.dtype("i8"), "", "lowest frame number, -1: none", "scan", small, "image"),
        Field("frames", points, np.dtype("i4"), "", "frames in the mean", "scan", small, "image"),
        slow_field(grid),
    ]
    return Product(name, tuple(fields), "I", (*axes(grid), *source.axes), parameters=parameters, of=source.name)


def images(name: str, source: Product, grid: Grid, slots: Sequence[str], ratios: Sequence[str]) -> Product:
    """(slow, fast): the total intensity, and each quantity of each region."""
    unit = next(field.unit for field in source.fields if field.name == source.signal)
    radial = source.axes[-1].unit if source.axes else ""
    units = {"sum": unit, "net": unit, "position": radial, "width": radial}
    texts = {"sum": "sum", "net": "sum above background", "position": "peak position", "width": "peak width (FWHM)"}
    fields = [_image("total", grid, unit, "sum of all bins")]
    for slot in slots:
        fields += [_image(f"{slot}_{each}", grid, units[each], f"{slot}: {texts[each]}") for each in QUANTITIES]
    fields += [_image(each, grid, "", f"ratio {each}") for each in ratios]
    if slots:
        fields += [
            Field("roi_names", (len(slots),), np.dtype(f"S{NAME_BYTES}"), "", "name of each region", "scan"),
            Field("roi_ranges", (len(slots), 2), np.dtype("f8"), radial, "limits of each region", "scan"),
        ]
    return Product(f"{name}_images", (*fields, slow_field(grid)), "total", axes(grid))


def slow_field(grid: Grid) -> Field:
    """The positions of the lines, which grow with them."""
    name, unit = names(grid)[0], _unit(grid.slow)
    return Field(name, (grid.slow.points,), np.dtype("f8"), unit, grid.motors[0] or grid.slow.name, "scan")


def axes(grid: Grid) -> tuple[Axis, Axis]:
    """Of the slow and the fast direction."""
    slow, fast = names(grid)
    here = grid.slow.positions(grid.slow.points or 0)
    there = grid.fast.positions(grid.columns)
    return (
        Axis(slow, here, _unit(grid.slow), grid.motors[0] or slow),
        Axis(fast, there, _unit(grid.fast), grid.motors[1] or fast),
    )


def names(grid: Grid) -> tuple[str, str]:
    """Of the axes in the file: the motors', if they do not mean something else there."""
    slow, fast = (f"{each.name}_axis" if each.name in RESERVED else each.name for each in (grid.slow, grid.fast))
    return slow, fast


def _unit(direction: Direction) -> str:
    return direction.unit if direction.known else ""


def _image(name: str, grid: Grid, unit: str, text: str) -> Field:
    shape = (grid.slow.points, grid.columns)
    return Field(name, shape, np.dtype("f8"), unit, text, "scan", _image_chunk(grid.columns), "image")


def _image_chunk(columns: int) -> tuple[int, int]:
    return max(1, IMAGE_CHUNK // columns), columns


def _chunk(columns: int, bins: tuple[int, ...]) -> tuple[int, ...]:
    """A line of the map, 50 radial bins wide: one image and one pattern are both read fast; a megabyte at most."""
    radial = min(RADIAL_CHUNK, bins[-1])
    room = max(CHUNK_BYTES // (4 * radial), 1)
    fast = min(columns, room)
    return (1, fast, *(max(1, min(size, room // fast)) for size in bins[:-1]), radial)
