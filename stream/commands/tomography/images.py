"""Images of one folder, or of one file, by their number; read when they are asked for."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import BadMessage, ConfigError
from stream.events import Array
from stream.formats.images.file import Damaged, ImageFile
from stream.formats.natural import natural

SUFFIXES = (".tif", ".tiff", ".fits", ".fit", ".edf", ".png")
FITS = (".fits", ".fit")
MOST_BYTES = 1 << 27
"""Of frames that are read at a time."""
SUMMED = "_SummedImg."
"""Of the detector at IMAT: the sum of all energies, beside the images themselves."""


@dataclass(frozen=True, slots=True)
class Images:
    """shape: (rows, columns). read(number): pixels of one image, native byte order. source: for messages."""

    count: int
    shape: tuple[int, int]
    read: Callable[[int], Array]
    source: str


class ByChunks:
    """Frames of a dataset. Chunks of several frames are unpacked once, not once for each of them; from any thread."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        frame = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))
        deep = dataset.chunks[0] if dataset.chunks else 1
        self._deep = max(1, min(deep, MOST_BYTES // max(frame, 1)))
        self._blocks: dict[int, Array] = {}
        self._lock = threading.Lock()

    def __call__(self, number: int) -> Array:
        if self._deep == 1:
            return np.asarray(self._dataset[number])
        place = number // self._deep
        with self._lock:
            block = self._blocks.get(place)
            if block is None:
                while len(self._blocks) > 1:  # two threads may be at the end of one and the beginning of the next
                    self._blocks.pop(next(iter(self._blocks)))
                first = place * self._deep
                block = self._blocks[place] = np.asarray(self._dataset[first : first + self._deep])
        return np.asarray(block[number - place * self._deep])


def images_of(option: str, path: Path, suffix: str | None = None) -> Images:
    """All images of a folder in natural order, or of a file. suffix: only files of this kind, "fits".

    Raises ConfigError, with the option that named it, where there is none or they differ in shape.
    """
    if path.is_file():
        stack = _read(option, path)
        return Images(len(stack), (stack.shape[1], stack.shape[2]), lambda number: stack[number], str(path))
    if not path.is_dir():
        raise ConfigError([(option, f"{path} is neither a folder nor a file (looked from {Path.cwd()})")])
    wanted: tuple[str, ...] = SUFFIXES if suffix is None else (f".{suffix.lower().lstrip('.')}",)
    if suffix is not None and wanted[0] in FITS:
        wanted = FITS
    if suffix is not None and wanted[0] in (".tif", ".tiff"):
        wanted = (".tif", ".tiff")
    names = [each.name for each in path.iterdir() if each.is_file() and each.suffix.lower() in wanted]
    files = [path / name for name in natural(names) if SUMMED not in name]
    if not files:
        raise ConfigError([(option, f"{path} holds no image ({', '.join(wanted)}): name the folder of the images")])
    kinds = {each.suffix.lower() for each in files}
    if len({".tif" if kind == ".tiff" else ".fits" if kind == ".fit" else kind for kind in kinds}) > 1:
        text = f"{path} holds images of several kinds ({', '.join(sorted(kinds))}): say which with --in-img-format"
        raise ConfigError([(option, text)])
    first = _read(option, files[0])
    if len(first) != 1 and len(files) > 1:
        raise ConfigError([(option, f"{files[0]} holds {len(first)} images, beside {len(files) - 1} other files")])
    shape = (first.shape[1], first.shape[2])
    if len(files) == 1:
        return Images(len(first), shape, lambda number: first[number], str(files[0]))

    def read(number: int) -> Array:
        stack = _read(option, files[number])
        if stack.shape != (1, *shape):
            raise ConfigError(
                [(option, f"{files[number]} has the shape {stack.shape}, not {(1, *shape)} as the first")]
            )
        return np.asarray(stack[0])

    return Images(len(files), shape, read, str(path))


def beside(folder: Path, beginning: str) -> Sequence[Path]:
    """Folders beside this one, and images, whose names begin so, in whatever case."""
    found = [
        each
        for each in folder.parent.iterdir()
        if each != folder
        and each.name.lower().startswith(beginning)
        and (each.is_dir() or each.suffix.lower() in SUFFIXES)
    ]
    return sorted(found)


def _read(option: str, path: Path) -> Array:
    """(n, rows, columns)."""
    try:
        if path.suffix.lower() == ".png":
            return _grey(path)
        found = []
        for each in ImageFile(str(path)):
            if isinstance(each, Damaged):
                raise BadMessage(each.problem)
            found.append(each.pixels)
        stack = np.stack(found)
    except Exception as error:  # readers of other people's formats raise whatever they please
        raise ConfigError([(option, f"cannot read {path}: {error}")]) from error
    return stack


def _grey(path: Path) -> Array:
    """A picture; one in colour is refused."""
    from PIL import Image

    with Image.open(path) as picture:
        if picture.mode not in ("L", "I", "I;16", "F"):
            raise BadMessage(f"it is a picture in colour or with a palette ({picture.mode}): save it in grey")
        return np.asarray(picture)[None]
