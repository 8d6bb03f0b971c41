"""How the slices, planes and sinograms of a tomogram lie in the file, and the volume."""

import numpy as np

from processors.reconstruction.options import Config
from processors.reconstruction.width import Width
from stream.products import Axis, Field, Product

WORDS_BYTES = 600
CHUNK_BYTES = 1 << 20


def slices(config: Config, width: Width, frames: int | None, plane: tuple[int, int]) -> Product:
    """plane: of a vertical plane. Row i of a sinogram is frame number i, NaN where that is no
    projection."""
    columns, size, fields = width.columns, width.size, []
    for place in range(1, config.most + 1):
        text = f"slice {place}"
        fields += [
            _picture(f"slice_{place}", (size, size), text),
            Field(
                f"sinogram_{place}",
                (frames, columns),
                np.dtype("f4"),
                "",
                f"sinogram {place}: -ln of the transmission, by frame number",
                "scan",
                (1, columns),
                "image",
            ),
        ]
    if config.vertical:
        fields += [_picture(f"vertical_{axis}", plane, f"vertical plane along {axis}") for axis in "xy"]
    per_frame = (frames,)
    fields += [
        Field("row", (config.most,), np.dtype("i4"), "", "detector row of each slice, -1: none", "scan"),
        Field("ring_projections", (config.most,), np.dtype("i4"), "", "that rings were told by; 0: left in", "scan"),
        Field("angle", per_frame, np.dtype("f8"), "deg", "angle of each projection, by frame number", "scan"),
        Field("weight", per_frame, np.dtype("f8"), "deg", "what it stands for; 0: left out", "scan"),
        Field("projections", (), np.dtype("i8"), "", "that the slices are made of", "scan"),
        Field("flats", (), np.dtype("i8"), "", "flat fields that have come", "scan"),
        Field("darks", (), np.dtype("i8"), "", "darks that have come", "scan"),
        Field("unusable_pixels", (), np.dtype("i8"), "", "whose flat is not above the dark: interpolated", "scan"),
        Field("centre", (), np.dtype("f8"), "", "column of the rotation axis, from 0", "scan"),
        Field("centre_uncertainty", (), np.dtype("f8"), "", "one standard deviation, columns", "scan"),
        Field("centre_pairs", (), np.dtype("i8"), "", "projections half a turn apart that tell it", "scan"),
        Field("centre_searched", (), np.dtype("f8"), "", "column by search, at the end; NaN: none", "scan"),
        Field("covered", (), np.dtype("f8"), "deg", "of 180 degrees", "scan"),
        Field("largest_gap", (), np.dtype("f8"), "deg", "between two neighbouring angles", "scan"),
        Field("summary", (), np.dtype(f"S{WORDS_BYTES}"), "", "the same in words", "scan"),
    ]
    return Product(config.name, tuple(fields), "slice_1", _axes(size))


def volume(config: Config, rows: int, size: int) -> Product:
    """(z, y, x): a slice for every row of the detector."""
    chunk = (1, max(1, min(size, CHUNK_BYTES // (4 * size))), size)
    field = Field("I", (rows, size, size), np.dtype("f4"), "", "per column", "scan", chunk, "image")
    z = Axis("z", np.arange(rows, dtype=np.float64), "", "detector row")
    return Product(f"{config.name}_volume", (field,), "I", (z, *_axes(size)))


def _axes(size: int) -> tuple[Axis, Axis]:
    """The rotation axis is at 0; in columns."""
    place = np.arange(size) - (size - 1) / 2
    return Axis("y", place, "", "y"), Axis("x", place, "", "x")


def _picture(name: str, shape: tuple[int, int], text: str) -> Field:
    chunk = (max(1, min(shape[0], CHUNK_BYTES // (4 * shape[1]))), shape[1])
    return Field(name, shape, np.dtype("f4"), "", text, "scan", chunk, "image", compressed=False)
