"""A turning sample as radiographs: three rows of different slices, flats and darks among the frames."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from phantoms import phantom, sinogram

from processors import tomogram
from stream import Context
from stream.codec.native import bslz4_compress
from stream.events import Detector, Encoding, Frame, Payload, ScanStart
from stream.testing import examples
from stream.testing.gathered import Gathered

SIZE, ROWS = 48, 6
ANGLES = np.arange(0, 180, 3.0)
CENTRE = 22.7
SHAPE = (ROWS, SIZE)
OPEN, DARK = 40_000.0, 90.0
STRENGTH = 0.03
"""Absorption of the phantom's value 1 in one pixel."""
SCALE = np.linspace(0.4, 1.0, ROWS)
"""Every row is the same slice, of another strength."""


def gains() -> np.ndarray:
    """(rows, columns): what the open beam gives."""
    return OPEN * (1 + 0.2 * np.sin(np.arange(SIZE) / 5))[None, :] * np.linspace(0.9, 1.1, ROWS)[:, None]


def lines(angles: Any = ANGLES, centre: float = CENTRE, size: int = SIZE) -> np.ndarray:
    """(angles, rows, columns): true line integrals."""
    one = STRENGTH * sinogram(SIZE, np.asarray(angles, float), centre, size)
    return one[:, None, :] * SCALE[:, None]


def counts(of: np.ndarray) -> np.ndarray:
    """uint16, of line integrals (n, rows, columns)."""
    return np.round(DARK + gains() * np.exp(-of)).astype("u2")


def truth(row: int) -> np.ndarray:
    """(size, size): per column."""
    return STRENGTH * SCALE[row] * phantom(SIZE)


def start(uid: str = examples.UID, expected: int | None = None, **changes: Any) -> ScanStart:
    return examples.scan(
        uid,
        expected,
        **{
            "shape": SHAPE,
            "dtype": np.dtype("u2"),
            "detector": Detector(),
            "readings": {"image_key": "", "rotation_angle": "deg"},
            **changes,
        },
    )


def frame(index: int, image: np.ndarray, key: int = 0, angle: float | None = None, **changes: Any) -> Frame:
    shape = (image.shape[0], image.shape[1])
    packed = Payload(bslz4_compress(image), Encoding.BSLZ4, shape, image.dtype)
    readings = {"image_key": float(key), **({} if angle is None else {"rotation_angle": float(angle)})}
    return Frame(examples.UID, index, {examples.CHANNEL: packed}, 1.7e9 + index, readings=readings, **changes)


def scan(angles: Any = ANGLES, *, darks: int = 2, flats: int = 3, after: int = 0, images: Any = None) -> list[Frame]:
    """All frames: darks, flats, projections, flats after them."""
    angles = np.asarray(angles, float)
    projections = counts(lines(angles)) if images is None else images
    dark, flat = np.full(SHAPE, DARK, "u2"), np.round(DARK + gains()).astype("u2")
    parts = [(dark, 2, 0.0)] * darks + [(flat, 1, 0.0)] * flats
    parts += [(image, 0, angle) for image, angle in zip(projections, angles, strict=True)]
    parts += [(flat, 1, float(angles[-1]))] * after
    return [frame(index, image, key, angle) for index, (image, key, angle) in enumerate(parts)]


def begun(
    told: list[str] | None = None, given: ScanStart | None = None, earlier: Sequence[Any] = (), **options: Any
) -> Gathered:
    config = tomogram.Config(**options)
    context = Context(trouble=(told if told is not None else []).append)
    return Gathered(tomogram.create(config, context), earlier, given or start())


def gathered(frames: Iterable[Frame], told: list[str] | None = None, **options: Any) -> Gathered:
    """The gatherer after the whole scan."""
    found = begun(told, **options)
    given = list(frames)
    for each in given:
        found.take(each)
    found.finish(len(given))
    return found
