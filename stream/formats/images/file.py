"""EDF, CBF, TIFF and the other image formats that fabio reads, also compressed, also with several frames in a file."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fabio
import numpy as np

from stream.errors import BadMessage
from stream.events import Array, Encoding, Payload
from stream.formats.images.header import time_of
from stream.formats.natural import number_in

# fabio logs every attempt at a file that is still being written; ours is the one line that says so in the end
logging.getLogger("fabio").setLevel(logging.CRITICAL)

SUFFIXES = frozenset(
    (".edf", ".cor", ".cbf", ".tif", ".tiff", ".mccd", ".mar2300", ".mar3450", ".img", ".sfrm", ".spe", ".pnm", ".pgm")
)
COMPRESSED = (".gz", ".bz2")


@dataclass(frozen=True, slots=True)
class Image:
    """One frame of an image file: pixels (rows, columns), header, its place in the file."""

    pixels: Array
    header: Mapping[str, Any]
    place: int

    @property
    def time(self) -> float:
        """Start of exposure, Unix seconds, NaN where the header has none."""
        return time_of(self.header)

    def payload(self) -> Payload:
        """The pixels as a payload; no copy is made."""
        pixels = np.ascontiguousarray(self.pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        return Payload(pixels.reshape(-1).view(np.uint8).data, Encoding.RAW, shape, pixels.dtype)


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
    return os.path.splitext(base)[1] in SUFFIXES and not base.startswith(".")


class ImageFile:
    """An image file with all its frames, of which one at a time is in memory. Iterate over it once.

    Raises BadMessage if it is damaged, cut off or not an image. Of a file with several frames the last one tells
    whether it is whole; with `part`, one good frame is enough. Single frames that are damaged come as `Damaged`.
    """

    def __init__(self, path: str, *, part: bool = False) -> None:
        self.path = path
        try:
            self._opened = fabio.open(path)
            self.frames = int(self._opened.nframes)
        except FileNotFoundError as error:
            raise BadMessage(f"{path} is not there") from error
        except Exception as error:  # fabio's readers raise whatever they please, also a bare Exception or zlib.error
            raise BadMessage(f"{path} is damaged, cut off or not an image: {_why(error)}") from error
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

    def __iter__(self) -> Iterator["Image | Damaged"]:
        """The frames in their order. The file is closed behind the last one."""
        try:
            for place in range(self.frames):
                yield self.first if place == self.first.place else self._frame(place)
        finally:
            self.close()

    def close(self) -> None:
        """Close a file whose frames are not wanted."""
        with contextlib.suppress(Exception):  # nothing that closing says of a file that was only read matters
            self._opened.close()

    def _frame(self, place: int) -> "Image | Damaged":
        try:
            frame = self._opened.get_frame(place) if self.frames > 1 else self._opened
            pixels = frame.data
            if pixels is None:
                raise BadMessage("it has no pixels that can be read")
            if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "uif":
                return Damaged(place, f"{self.path} holds no image of numbers in two dimensions")
            if getattr(frame, "incomplete_data", False):  # EDF: fabio has filled it up with zeros
                return Damaged(place, f"{self.path} is cut off: frame {place} has fewer pixels than its header says")
            return Image(pixels, dict(frame.header), place)
        except Exception as error:
            return Damaged(place, f"{self.path} is damaged, cut off or not an image: {_why(error)}")


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__


def frame_number(path: str, pattern: str | None) -> int:
    """The number in a file's name. Raises BadMessage if there is none."""
    number = number_in(path, pattern) if pattern else number_in(path)
    if number is None:
        raise BadMessage(f"{path} has no number in its name that matches {pattern or 'digits'}: correct `pattern`")
    return number
