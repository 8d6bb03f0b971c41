"""Rows of one dataset, written below h5py's selections: these took three quarters of the time of a flush, which writes
a few rows to each of twenty datasets."""

from typing import Any

import numpy as np
from h5py import h5s

from stream.events import Array


class Column:
    """A chunked dataset (rows, ...) that grows by rows. Raises what h5py raises."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        # h5py asks the library each time: these cost more than the write of a small chunk
        self.inner: tuple[int, ...] = dataset.shape[1:]
        self.dtype: np.dtype[Any] = dataset.dtype
        self.length: int = dataset.shape[0]
        self._id = dataset.id
        self._corner, self._ones = (0,) * len(self.inner), (1,) * len(self.inner)

    def extend(self, length: int) -> bool:
        """Make it at least that long; new rows read as the fill value. False if it was already."""
        if length <= self.length:
            return False
        self._id.set_extent((length, *self.inner))
        self.length = length
        return True

    def write(self, first: int, rows: Array, step: int = 1) -> None:
        """Write `rows`, (n, *inner), from row `first` on, each so far from the one before, where rows are already."""
        packed = np.ascontiguousarray(rows, self.dtype)
        if packed.shape[1:] != self.inner:
            raise ValueError(f"rows of shape {packed.shape[1:]} for {self.dataset.name}, which has {self.inner}")
        place = self._id.get_space()
        place.select_hyperslab((first, *self._corner), packed.shape, (step, *self._ones))
        self._id.write(h5s.create_simple(packed.shape), place, packed)

    def write_chunk(self, index: int, packed: Any, filter_mask: int) -> None:
        """Write row `index`, one chunk, from bytes that are encoded already."""
        self._id.write_direct_chunk((index, *self._corner), packed, filter_mask)

    def flush(self) -> None:
        """Make what was written visible to readers, and safe from a kill of this process."""
        self._id.flush()
