"""EDF, CBF, TIFF and the other image formats that fabio reads, also compressed, also with several frames in a file."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fabio
import numpy as np

from stream.errors import BadMessage
from stream.events import Array, Encoding, Payload
from stream.formats.image_header import time_of
from stream.formats.natural import number_in

# fabio logs every attempt at a file that is still being written; ours is the one line that says so in the end
logging.getLogger("fabio").setLevel(logging.CRITICAL)

SUFFIXES = frozenset(
    (".edf", ".cor", ".cbf", ".tif", ".tiff", ".mccd", ".mar2300", ".mar3450", ".img", ".sfrm", ".spe", ".pnm", ".pgm")
)
COMPRESSED = (".gz", ".bz2")
NOT_AN_IMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    AssertionError,
    EOFError,
)
"""What fabio's readers are seen to raise on files that are cut off or are something else."""


@dataclass(frozen=True, slots=True)
class Image:
    """One frame of an image file: pixels (rows, columns), header, its place in the file."""

    pixels: Array
    header: Mapping[str, Any]
    place: int
    frames_in_file: int

    @property
    def time(self) -> float:
        """Start of exposure, Unix seconds, NaN where the header has none."""
        return time_of(self.header)

    def payload(self) -> Payload:
        """The pixels as a payload; no copy is made."""
        pixels = np.ascontiguousarray(self.pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        return Payload(pixels.reshape(-1).view(np.uint8).data, Encoding.RAW, shape, pixels.dtype)


def is_image(name: str) -> bool:
    """True if the name is that of an image file; decided by the name alone, as files are judged before they exist."""
    base = os.path.basename(name).lower()
    for suffix in COMPRESSED:
        base = base.removesuffix(suffix)
    return os.path.splitext(base)[1] in SUFFIXES and not base.startswith(".")


def read(path: str, *, part: bool = False) -> list[Image]:
    """Every frame of an image file. Raises BadMessage if it is damaged, cut off or not an image.

    part: of a file with several frames of which some are damaged, give the others.
    """
    try:
        with fabio.open(path) as opened:
            found = [_frame(path, opened, place, part) for place in range(opened.nframes)]
    except FileNotFoundError as error:
        raise BadMessage(f"{path} is not there") from error
    except NOT_AN_IMAGE as error:
        raise BadMessage(f"{path} is damaged, cut off or not an image: {str(error) or type(error).__name__}") from error
    images = [image for image in found if isinstance(image, Image)]
    problems = [image for image in found if isinstance(image, str)]
    if problems and not (part and images):
        raise BadMessage(problems[0])
    return images


def _frame(path: str, opened: Any, place: int, part: bool) -> Image | str:
    """One frame, or what is wrong with it."""
    several = opened.nframes
    try:
        frame = opened.get_frame(place) if several > 1 else opened
        pixels = frame.data
    except NOT_AN_IMAGE as error:
        if not part:
            raise
        return f"{path}: frame {place} is damaged: {str(error) or type(error).__name__}"
    if pixels is None:
        return f"{path} is damaged, cut off or not an image: it has no pixels that can be read"
    if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "uif":
        return f"{path} holds no image of numbers in two dimensions"
    if getattr(frame, "incomplete_data", False):  # EDF: fabio has filled it up with zeros
        return f"{path} is cut off: frame {place} has fewer pixels than its header says"
    return Image(pixels, dict(frame.header), place, several)


def frame_number(path: str, pattern: str | None) -> int:
    """The number in a file's name. Raises BadMessage if there is none."""
    number = number_in(path, pattern) if pattern else number_in(path)
    if number is None:
        raise BadMessage(f"{path} has no number in its name that matches {pattern or 'digits'}: correct `pattern`")
    return number
