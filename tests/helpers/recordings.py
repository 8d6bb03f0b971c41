"""Recorded files as the source `files` reads them, and small ones to read."""

from pathlib import Path

import fabio
import numpy as np

from stream.codec.payload import decode
from stream.events import Event, Frame, Note
from stream.sources import files

IMAGES = np.random.default_rng(11).integers(0, 90, (9, 12, 16)).astype("u2")


def events(*paths: Path | str, **options: object) -> list[Event]:
    source = files.create(files.Config(files=tuple(str(path) for path in paths), **options))
    return list(source.events())


def frames_of(found: list[Event]) -> list[Frame]:
    return [event for event in found if isinstance(event, Frame)]


def texts_of(found: list[Event]) -> list[str]:
    return [event.text for event in found if isinstance(event, Note)]


def only(payloads: object) -> np.ndarray:
    (payload,) = payloads.values()  # type: ignore[attr-defined]
    return decode(payload)


def tiffs(folder: Path, numbers: list[int], name: str = "img_{}.tif") -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / name.format(number) for number in numbers]
    for path, number in zip(paths, numbers, strict=True):
        fabio.tifimage.TifImage(data=IMAGES[number % len(IMAGES)]).write(str(path))
    return paths
