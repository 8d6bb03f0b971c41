"""FITS, as neutron cameras and astronomers write it, through astropy (`pip install inbeam[fits]`).

Every image extension of two dimensions is a frame, of one of three dimensions each of its images. Rows are in the order
of the file, the first one first. Unsigned integers, which FITS stores with an offset, are what they are.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from stream.errors import BadMessage
from stream.events import Array
from stream.wire.limits import DEFAULT

MAGIC = b"SIMPLE  ="
LAYOUT = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT", "BZERO", "BSCALE", "BLANK", "COMMENT")
"""Words that describe the file, and "HISTORY", "" and the like: of no frame."""
MOST_EXTENSIONS = 100_000


class Fits:
    """One file, opened by astropy, which may raise whatever it pleases."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            from astropy.io import fits
        except ImportError as error:
            raise BadMessage("is a FITS file: install astropy to read it (pip install 'inbeam[fits]')") from error
        self._file = file
        with _quietly():
            self._list = fits.open(file, mode="readonly", memmap=False, lazy_load_hdus=False)
        self._places: list[tuple[int, int | None]] = []
        for number, unit in enumerate(self._list[:MOST_EXTENSIONS]):
            shape: tuple[int, ...] = tuple(unit.shape) if unit.is_image else ()
            if len(shape) in (2, 3) and all(shape):
                if shape[-1] * shape[-2] > DEFAULT.pixels:
                    raise BadMessage(f"holds no image of sensible size: {shape[-2]} rows, {shape[-1]} columns")
                frames = range(shape[0]) if len(shape) == 3 else (None,)
                self._places += [(number, each) for each in frames]
        if not self._places:
            raise BadMessage("holds no image of two or three dimensions")
        self.frames = len(self._places)

    def read(self, place: int) -> tuple[Array, Mapping[str, Any]]:
        """Pixels and header of one frame."""
        number, part = self._places[place]
        unit = self._list[number]
        with _quietly():
            image = np.asarray(unit.data if part is None else unit.data[part])
        return image.astype(image.dtype.newbyteorder("="), copy=False), _words(unit.header)

    def close(self) -> None:
        """Close the file."""
        self._list.close()
        self._file.close()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without astropy's warnings: a file that is cut off is told when its pixels are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _words(header: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in header.items():
        structural = any(name.startswith(word) for word in LAYOUT) or name in ("", "HISTORY")
        if not structural and isinstance(value, str | int | float | bool):
            found[name] = value
    return found
