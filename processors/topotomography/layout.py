"""How the volume lies in the file: [x, y, z] in micrometres; and its three middle slices, which are seen live."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from processors.moments.positions import Motor
from processors.topotomography.geometry import Grid
from processors.topotomography.options import Config
from stream.products import Axis, Field, Product

F4 = np.dtype("f4")
WORDS_BYTES = 600
CHUNK_BYTES = 1 << 20
NAMES = "xyz"
RESERVED = ("density", "completeness", *NAMES, "theta", "used", "omega_range", "summary", "omega")


def volume(
    config: Config, grid: Grid, motors: Mapping[str, Motor], omegas: int, parameters: Mapping[str, Any]
) -> Product:
    """Density, tilts and completeness of every voxel, and of what they are made."""
    x, y, z = grid.steps
    chunk = (max(1, min(x, CHUNK_BYTES // (4 * y * z))), y, max(1, min(z, CHUNK_BYTES // (4 * y))))
    fields = [
        *(Field(name, grid.steps, F4, unit, text, "scan", chunk, "image") for name, unit, text in _said(motors)),
        Field("used", (omegas,), np.dtype("u1"), "", "1: the projection at this omega is part of the volume", "scan"),
        Field("theta", (), np.dtype("f8"), "deg", "Bragg angle", "scan"),
        Field("omega_range", (), np.dtype("f8"), "deg", "that the projections cover", "scan"),
        Field("summary", (), np.dtype(f"S{WORDS_BYTES}"), "", "what the volume is made of, in words", "scan"),
    ]
    axes = tuple(_axis(grid, number) for number in range(3))
    return Product(config.gives()[0], tuple(fields), "density", axes, {}, parameters)


def slices(config: Config, grid: Grid, motors: Mapping[str, Motor]) -> tuple[Product, ...]:
    """Through the middle of the volume, across x, y and z."""
    made = []
    for number, name in enumerate(config.gives()[1:]):
        rest = [each for each in range(3) if each != number]
        shape = tuple(grid.steps[each] for each in rest)
        fields = tuple(
            Field(field, shape, F4, unit, text, "scan", shape, "image", compressed=False)
            for field, unit, text in _said(motors)
        )
        made.append(Product(name, fields, "density", tuple(_axis(grid, each) for each in rest)))
    return tuple(made)


def _said(motors: Mapping[str, Motor]) -> list[tuple[str, str, str]]:
    """Name, unit and meaning of what every voxel has."""
    found = [("density", "counts", "signal of a voxel in one projection, over all tilts")]
    found += [(name, motor.direction.unit, f"{motor.reading} of the voxel") for name, motor in motors.items()]
    return [*found, ("completeness", "", "share of the projections in which its pixel has signal")]


def _axis(grid: Grid, number: int) -> Axis:
    return Axis(NAMES[number], grid.axis(number), "um", NAMES[number])
