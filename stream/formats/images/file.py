"""EDF, CBF, TIFF and the other image formats that fabio reads, also compressed, also with several frames in a file."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import xxhash

from stream.errors import BadMessage
from stream.events import Array, Encoding, Payload
from stream.formats.images import cbf, edf, fits, tiff_tags
from stream.formats.images.cbf import Cbf
from stream.formats.images.edf import Edf
from stream.formats.images.fits import Fits
from stream.formats.images.header import time_of
from stream.formats.images.other import Other
from stream.formats.images.tiff import Tiff
from stream.formats.images.unpack import COMPRESSED, opened
from stream.formats.natural import number_in


class Reader(Protocol):
    """An opened image file of one format. It may raise whatever it pleases; a BadMessage says why, without the path."""

    frames: int
    """How many there are, damaged ones included."""

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        """Pixels (rows, columns) and header of one frame."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """One format of image files. suffixes: of their names; begins: whether a file is one, by its first 32 bytes and its
    name in lower case; open: its reader, which may raise whatever it pleases (file, path, whether it was packed)."""

    suffixes: tuple[str, ...]
    begins: Callable[[bytes, str], bool]
    open: Callable[[IO[bytes], str, bool], Reader]


FORMATS = (
    Format((".cbf",), lambda head, name: head.startswith(cbf.MAGIC) or ".cbf" in name, lambda f, path, packed: Cbf(f)),
    Format((".tif", ".tiff"), lambda head, name: head.startswith(tiff_tags.MAGIC), lambda f, path, packed: Tiff(f)),
    Format(
        (".edf", ".cor"), lambda head, name: edf.begins(head), lambda f, path, packed: Edf(f, os.path.dirname(path))
    ),
    Format((".fits", ".fit", ".fts"), lambda head, name: head.startswith(fits.MAGIC), lambda f, path, packed: Fits(f)),
)
"""The first that a file begins as reads it; fabio has the rest."""
SUFFIXES = frozenset((".mccd", ".img", ".sfrm", ".spe", ".pnm", ".pgm"))
MAR345 = re.compile(r"\.mar\d{4}")


@dataclass(frozen=True, slots=True)
class Image:
    """One frame of an image file: pixels (rows, columns), header, its place in the file."""

    pixels: Array
    header: Mapping[str, Any]
    place: int

    @property
    def time(self) -> float:
        """Start of exposure as the header has it, in seconds, NaN where it has none."""
        return time_of(self.header)

    def payload(self) -> Payload:
        """The pixels as a payload; no copy is made."""
        pixels = np.ascontiguousarray(self.pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        return Payload(pixels.reshape(-1).view(np.uint8).data, Encoding.RAW, shape, pixels.dtype)


class Content(NamedTuple):
    """What a file holds: so many frames, and the xxh3 sum of their headers and pixels."""

    frames: int
    digest: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A frame of an image file that cannot be read."""

    place: int
    problem: str


def is_image(name: str) -> bool:
    """True if the name is that of an image file; decided by the name alone, as files are judged before they exist."""
    base = os.path.basename(name).lower()
    for suffix in COMPRESSED:
        base = base.removesuffix(suffix)
    suffix = os.path.splitext(base)[1]
    known = suffix in SUFFIXES or any(suffix in kind.suffixes for kind in FORMATS)
    return (known or MAR345.fullmatch(suffix) is not None) and not base.startswith(".")


class ImageFile:
    """An image file with all its frames, of which one at a time is in memory. Iterate over it once.

    Raises BadMessage if it is damaged, cut off or not an image. Of a file with several frames the last one tells
    whether it is whole; with `part`, one good frame is enough. Single frames that are damaged come as `Damaged`.
    """

    def __init__(self, path: str, *, part: bool = False) -> None:
        self.path = path
        try:
            self._reader = _reader(path)
        except FileNotFoundError as error:
            raise BadMessage(f"{path} is not there") from error
        except Exception as error:  # a reader raises whatever it pleases, also a bare Exception or struct.error
            raise BadMessage(_problem(path, error)) from error
        self.frames = self._reader.frames
        first = self._frame(0)
        last = self._frame(self.frames - 1) if self.frames > 1 else first
        if part:
            good = next((image for image in map(self._frame, range(self.frames)) if isinstance(image, Image)), None)
        else:
            good = first if isinstance(first, Image) and isinstance(last, Image) else None
        if good is None:
            self.close()
            bad = first if isinstance(first, Damaged) else last
            raise BadMessage(bad.problem if isinstance(bad, Damaged) else f"{path} holds no frame")
        self.first: Image = good
        """A frame that is good, the first one if it is."""
        self._given = 0
        self._digest = xxhash.xxh3_64()

    @property
    def content(self) -> Content:
        """Of the frames that have been given out so far."""
        return Content(self._given, self._digest.intdigest())

    def __iter__(self) -> Iterator["Image | Damaged"]:
        """The frames in their order. The file is closed behind the last one."""
        try:
            for place in range(self.frames):
                image = self.first if place == self.first.place else self._frame(place)
                self._given += 1
                if isinstance(image, Image):
                    self._digest.update(f"{image.pixels.shape} {image.pixels.dtype} {dict(image.header)}".encode())
                    self._digest.update(image.payload().data)
                else:
                    self._digest.update(image.problem.encode())
                yield image
        finally:
            self.close()

    def close(self) -> None:
        """Close a file whose frames are not wanted."""
        with contextlib.suppress(Exception):  # nothing that closing says of a file that was only read matters
            self._reader.close()

    def _frame(self, place: int) -> "Image | Damaged":
        try:
            pixels, header = self._reader.read(place)
            if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "uif":
                return Damaged(place, f"{self.path} holds no image of numbers in two dimensions")
            return Image(pixels, header, place)
        except Exception as error:
            return Damaged(place, _problem(self.path, error))


def _reader(path: str) -> Reader:
    """The reader for a file, chosen by its first bytes. Raises whatever it pleases."""
    file, packed = opened(path)
    try:
        return _chosen(file, path, packed=packed)
    except BaseException:
        file.close()
        raise


def _chosen(file: IO[bytes], path: str, *, packed: bool) -> Reader:
    head = file.read(32)
    file.seek(0)
    name = os.path.basename(path).lower()
    found = next((kind for kind in FORMATS if kind.begins(head, name)), None)
    return found.open(file, path, packed) if found is not None else Other(file, path, packed=packed)


def _problem(path: str, error: Exception) -> str:
    if isinstance(error, BadMessage):
        return f"{path} {error}"
    if isinstance(error, PermissionError):
        return f"{path} may not be read: give the user of inbeam the right to read it"
    return f"{path} is damaged, cut off or not an image: {str(error) or type(error).__name__}"


def frame_number(path: str, pattern: str | None) -> int:
    """The number in a file's name. Raises BadMessage if there is none."""
    number = number_in(path, pattern) if pattern else number_in(path)
    if number is None:
        raise BadMessage(f"{path} has no number in its name that matches {pattern or 'digits'}: correct `pattern`")
    return number
