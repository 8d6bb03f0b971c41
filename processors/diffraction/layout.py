"""How a tomogram's slices lie in the file, and the volume of all radial bins."""

from collections.abc import Iterable

import numpy as np

from processors.diffraction.options import Config
from processors.mapping.layout import RADIAL_CHUNK
from processors.shared.grid import Direction
from processors.tomography import half
from stream.products import Axis, Field, Product

WORDS_BYTES = 400
ABSORPTION = "absorption"
CHUNK_BYTES = 1 << 20


def quantities(config: Config) -> tuple[str, ...]:
    """Of which there are slices."""
    regions = [f"{place}_{each}" for place in config.places() for each in ("sum", "net")]
    return ("total", *regions, *((ABSORPTION,) if config.centre_from is not None else ()))


def size_of(config: Config, translations: int) -> int:
    """Pixels along a side of a slice: as many as translations; of half-acquisition: the whole sample."""
    if not config.half_acquisition or config.centre is None:
        return translations
    return half.size_of(translations, config.centre)


def slices(
    config: Config, names: Iterable[str], unit: str, size: int, translation: Direction, projections: int | None
) -> Product:
    """Per quantity NAME: the slice; NAME_sinogram, as it was reconstructed; NAME_marks: what was done to its points."""
    fields = []
    columns = translation.points or 0
    for name in names:
        given = "" if name == ABSORPTION else unit
        text = f"slice: {name}"
        fields += [
            Field(name, (size, size), np.dtype("f4"), given, text, "scan", _whole(size, 4), "image", compressed=False),
            _sinogram(f"{name}_sinogram", projections, columns, "f8", given, f"sinogram: {name}"),
            _sinogram(
                f"{name}_marks",
                projections,
                columns,
                "u1",
                "",
                f"{name}: 0 measured, 1 interpolated, 2 outlier that was replaced, 3 in a projection that is left out",
            ),
        ]
    row = (projections,)
    fields += [
        Field("angle", row, np.dtype("f8"), "deg", "angle of each projection", "scan"),
        Field("weight", row, np.dtype("f8"), "deg", "what it stands for; 0: left out", "scan"),
        Field("centre", (), np.dtype("f8"), "", "column of the rotation axis, from 0", "scan"),
        Field("centre_uncertainty", (), np.dtype("f8"), "", "one standard deviation, columns", "scan"),
        Field("centre_mirror", (), np.dtype("f8"), "", "column by opposite projections; NaN: there are none", "scan"),
        Field("covered", (), np.dtype("f8"), "deg", "of 180 degrees", "scan"),
        Field("largest_gap", (), np.dtype("f8"), "deg", "between two neighbouring angles", "scan"),
        Field("summary", (), np.dtype(f"S{WORDS_BYTES}"), "", "the same in words", "scan"),
    ]
    return Product(f"{config.name}_slices", tuple(fields), "total", axes(size, translation))


def volume(config: Config, source: Product, size: int, translation: Direction) -> Product:
    """(y, x, radial): a slice for every radial bin."""
    signal = next(field for field in source.fields if field.name == source.signal)
    bins = int(signal.shape[-1] or 0)
    radial = min(RADIAL_CHUNK, bins)
    chunk = (1, min(size, max(1, CHUNK_BYTES // (4 * radial))), radial)
    fields = (
        Field("I", (size, size, bins), np.dtype("f4"), signal.unit, "reconstructed", "scan", chunk, "spectrum"),
        Field("replaced", (bins,), np.dtype("i4"), "", "outliers replaced in the sinogram of each bin", "scan"),
    )
    return Product(f"{config.name}_volume", fields, "I", (*axes(size, translation), *source.axes[-1:]))


def axes(size: int, translation: Direction) -> tuple[Axis, Axis]:
    """y and x of a slice: the rotation axis is at 0; in the unit of the translation, where its positions are known."""
    step, unit = (translation.step, translation.unit) if translation.known else (1.0, "")
    place = (np.arange(size) - (size - 1) / 2) * step
    return Axis("y", place, unit, "y"), Axis("x", place, unit, "x")


def _sinogram(name: str, projections: int | None, columns: int, kind: str, unit: str, text: str) -> Field:
    return Field(name, (projections, columns), np.dtype(kind), unit, text, "scan", (1, columns), "image")


def _whole(size: int, item: int) -> tuple[int, int]:
    """A chunk of whole rows."""
    return max(1, min(size, CHUNK_BYTES // (item * size))), size
