"""Images that the configuration names (darks, flats, masks): image files, numpy's, PNG, or a dataset in HDF5.

A file is known by its first bytes, not by its name: a `.mask` of Dioptas is a compressed TIFF.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from processors.correction import datasets
from stream.errors import BadMessage, ConfigError
from stream.events import Array
from stream.formats.images import tiff_tags
from stream.formats.images.file import Damaged, ImageFile
from stream.formats.images.header import describe
from stream.wire.limits import DEFAULT

ANOTHER = "give one that was made with this detector and binning"
HDF5, NPY, ZIP, PNG = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, eq=False)
class Averaged:
    """The mean of all frames of a file, float64 (rows, columns), and their exposure where the file says it, seconds."""

    pixels: NDArray[np.float64]
    exposure_s: float | None = None


def averaged(key: str, name: str) -> Averaged:
    """The mean of all frames in `name`: a file, or `file::part` for a dataset in HDF5 or an array in .npz.

    `key` is the option that named it, for the message. Raises ConfigError.
    """
    path, _, inner = name.partition("::")
    if not Path(path).is_file():
        raise ConfigError([(key, f"no such file: {path} (looked for it in {Path.cwd()})")])
    try:
        frames, exposure = _read(path, inner)
        return Averaged(_mean(frames), exposure)
    except BadMessage as error:
        raise ConfigError([(key, f"cannot read {name}: it {str(error).removeprefix(path).strip()}")]) from error
    except Exception as error:  # readers of other people's formats raise whatever they please
        raise ConfigError([(key, f"cannot read {name}: {error}")]) from error


def same_shape(key: str, name: str, image: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """`image`, if it has the shape of the scan's frames. Raises ConfigError with both shapes."""
    if image.shape != shape:
        raise ConfigError(
            [(key, f"{name} has the shape {image.shape}, but the frames of this scan have {shape}: {ANOTHER}")]
        )
    return image


def _read(path: str, inner: str) -> tuple[Iterable[Array], float | None]:
    """Frames, each (rows, columns), and their exposure."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head == HDF5:
        return datasets.frames(path, inner)
    if head.startswith(ZIP):
        return _stack(_of_archive(path, inner)), None
    if inner:
        raise BadMessage("has no parts: only HDF5 and .npz files have; leave out what follows `::`")
    if head.startswith(NPY):
        return _stack(np.load(path, allow_pickle=False)), None
    if head == PNG or (head.startswith(tiff_tags.MAGIC) and _of_bits(path)):
        return [_by_pillow(path)], None
    image = ImageFile(path)
    return _of_file(image), describe(image.first.header).count_time_s


def _of_file(image: ImageFile) -> Iterator[Array]:
    for frame in image:
        if isinstance(frame, Damaged):
            raise BadMessage(frame.problem)
        yield frame.pixels


def _of_archive(path: str, inner: str) -> Array:
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        if not inner and len(names) != 1:
            raise BadMessage(f"has {len(names)} arrays ({', '.join(names)}): name one, {path}::{names[0]}")
        if inner and inner.strip("/") not in names:
            raise BadMessage(f"has no array {inner.strip('/')}, only {', '.join(names)}")
        return np.asarray(archive[inner.strip("/") or names[0]])


def _stack(array: Array) -> Array:
    if array.ndim < 2 or not array.size or array.dtype.kind not in "buif":
        raise BadMessage(f"holds an array of shape {array.shape}, {array.dtype}, not an image")
    return array.reshape(-1, *array.shape[-2:])


def _of_bits(path: str) -> bool:
    """True for a TIFF of single bits, which is no detector's frame, but a mask."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode == "1"
    except (OSError, ValueError):
        return False


def _by_pillow(path: str) -> Array:
    """Grey values of a picture; a picture in colour is one if its three colours are the same."""
    from PIL import Image

    with Image.open(path) as image:
        if image.width * image.height > DEFAULT.pixels:
            raise BadMessage(f"is a picture of {image.width} x {image.height} pixels: too large for a detector")
        grey = image if image.mode in ("1", "L", "I", "I;16", "F") else image.convert("RGB")
        values = np.asarray(grey)
    if values.ndim == 2:
        return values
    if (values != values[..., :1]).any():
        raise BadMessage("is a picture in colour: save it in grey, 0 for good pixels")
    return np.asarray(values[..., 0])


def _mean(frames: Iterable[Array]) -> NDArray[np.float64]:
    total, number = np.zeros((0, 0)), 0
    for frame in frames:
        total = frame.astype(np.float64) if not number else total + frame
        number += 1
    if not number:
        raise BadMessage("holds no frame")
    return total / number
