"""Images of a scan in a temporary file, by frame number: any row of all of them is there again when it is asked for.

Memory holds none of it; what was written lately is in the system's own cache.
"""

import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stream.events import Array


class Store:
    """Images (rows, columns) of one type. The file has no name: it is gone with the process. Raises OSError."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], folder: Path | None) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._line = shape[1] * self._dtype.itemsize
        self._size = shape[0] * self._line
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file, name = tempfile.mkstemp(prefix="inbeam-projections-", dir=folder)
        os.unlink(name)
        self.close = weakref.finalize(self, os.close, self._file)
        """Free the disk; also when nobody has it any more."""

    def put(self, index: int, image: Array) -> None:
        """The image of a frame number."""
        data = np.ascontiguousarray(image, self._dtype).reshape(-1).view(np.uint8).data
        at = index * self._size
        while len(data):
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written

    def image(self, index: int) -> Array:
        """(rows, columns)."""
        return self._read(index * self._size, self._size).reshape(self._shape)

    def rows(self, indices: Iterable[int], first: int, end: int) -> Array:
        """(frames, end - first, columns): these rows of these frame numbers."""
        length = (end - first) * self._line
        parts = [self._read(index * self._size + first * self._line, length) for index in indices]
        found: Array = np.array(parts, self._dtype).reshape(len(parts), end - first, self._shape[1])
        return found

    def _read(self, at: int, length: int) -> Array:
        data = os.pread(self._file, length, at)
        if len(data) != length:
            raise OSError("the temporary file of the projections is cut off: is the disk full?")
        return np.frombuffer(data, self._dtype)
