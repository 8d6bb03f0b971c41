"""What grows in a scan's file: rows per frame, flat elements, single values; and when they are flushed."""

import math
import time
from collections import deque
from typing import Any

import numpy as np

from sinks.file.chunk_index import rows_from
from sinks.file.column import Column
from stream.codec.native import bslz4_compress
from stream.events import Array

COSTS_TO_NEXT = 30
"""Flushing takes some 3 % of the time of a file's thread, unless `flush_ms` asks for more."""
COSTS_REMEMBERED = 4
SOONEST_S = 0.05
"""No viewer sees the difference, and no flush is so cheap that it could not be spared."""

MOST_APART = 64
"""Rows further from each other are written one by one."""


class Rows:
    """One array per frame, written in blocks: 200 000 rows/s in blocks of 32 against 15 000 one by one."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._column = Column(dataset)
        self.shape, self.dtype = self._column.inner, self._column.dtype
        size = max(1, self.dtype.itemsize * math.prod(self.shape))
        self._block = np.empty((max(1, min(64, 131_072 // size)), *self.shape), self.dtype)
        self._first = 0
        self._step = 1
        """Rows that follow each other at one distance are a block: one of several receivers has every n-th frame."""
        self._held = 0
        self._dirty = False

    @property
    def length(self) -> int:
        """Rows that the dataset has."""
        return self._column.length

    def put(self, index: int, row: Any) -> None:
        """Set the row of frame number `index`; kept in memory until the block is full, or `flush`."""
        if self._held == 1 and len(self._block) > 1 and 0 < index - self._first <= MOST_APART:
            self._step = index - self._first
        elif self._held and (index != self._first + self._held * self._step or self._held == len(self._block)):
            self._write_block()
        if not self._held:
            self._first, self._step = index, 1
        self._block[self._held] = row
        self._held += 1

    def put_block(self, index: int, rows: Array) -> None:
        """Set the rows from frame number `index` on."""
        self._write_block()
        self.extend(index + len(rows))
        self.dataset[index : index + len(rows)] = rows
        self._dirty = True

    def put_chunk(self, index: int, packed: Any, filter_mask: int = 0) -> None:
        """Set the row of frame number `index` to bytes that are encoded already, where one chunk is one row."""
        self._column.extend(index + 1)
        self._column.write_chunk(index, packed, filter_mask)
        self._dirty = True

    def clear(self, first: int) -> None:
        """Rows from frame number `first` on read as the fill value again. SWMR does not allow to cut them off."""
        self._write_block()
        fill = self.dataset.fillvalue
        for index in rows_from(self.dataset, first).tolist():
            self.put(index, fill)
        self.flush()

    def extend(self, length: int) -> None:
        """Make the dataset at least that long; new rows read as the fill value."""
        self._dirty |= self._column.extend(length)

    def flush(self) -> None:
        """Make every row visible to readers, and safe from a kill of this process."""
        self._write_block()
        if self._dirty:
            self._column.flush()
            self._dirty = False

    def _write_block(self) -> None:
        if self._held:
            held, self._held = self._held, 0
            self.extend(self._first + (held - 1) * self._step + 1)
            self._column.write(self._first, self._block[:held], self._step)
            self._dirty = True


class Flat:
    """Elements of any number per frame, one after the other.

    The last, half-filled chunk is written uncompressed at each flush, in place, and compressed once it is full: a
    flush costs at most one uncompressed chunk in all, not one more copy of the chunk each time.

    Not to be read through the file that writes it: HDF5 2.0 goes on with the filter mask that a chunk had before.

    length: go on behind this element; what lies there is written over, but not cut off, which SWMR does not allow.
    """

    def __init__(self, dataset: Any, length: int | None = None) -> None:
        self.dataset = dataset
        self._chunk: int = dataset.chunks[0]
        self.length: int = dataset.shape[0] if length is None else length
        self._tail = np.zeros(self._chunk, dataset.dtype)
        held = self.length % self._chunk
        self._tail[:held] = dataset[self.length - held : self.length]
        self._stored: int = dataset.shape[0]
        self._dirty = False

    def append(self, values: Array) -> int:
        """Add elements; returns where they begin. Full chunks go to the file at once."""
        first = self.length
        taken = 0
        while taken < len(values):
            held = self.length % self._chunk
            part = values[taken : taken + self._chunk - held]
            self._tail[held : held + len(part)] = part
            taken += len(part)
            self.length += len(part)
            self._dirty = True
            if self.length % self._chunk == 0:
                self._extend()
                self.dataset.id.write_direct_chunk((self.length - self._chunk,), bslz4_compress(self._tail), 0)
                self._tail[:] = 0
        return first

    def flush(self) -> None:
        """Make every element visible to readers, and safe from a kill of this process."""
        if not self._dirty:
            return
        self._extend()
        held = self.length % self._chunk
        if held:
            self.dataset.id.write_direct_chunk((self.length - held,), self._tail.tobytes(), 1)
        self.dataset.id.flush()
        self._dirty = False

    def _extend(self) -> None:
        if self.length > self._stored:
            self.dataset.id.set_extent((self.length,))
            self._stored = self.length


class Cell:
    """One value that changes while the file grows."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._column = Column(dataset)

    def get(self) -> Any:
        """The value as it is now."""
        return self.dataset[0]

    def set(self, value: Any) -> None:
        """Change the value and make it visible."""
        self._column.write(0, np.array([value], self._column.dtype))
        self._column.flush()


class FlushPolicy:
    """When to flush: after `frames` frames (0: never by number), and when the oldest is `milliseconds` old.

    Sooner where that costs little: where a flush takes 2 ms it is repeated after 60 ms, so that viewers are hardly
    behind; where each takes 50 ms, on a file system far away, it is not. The quickest of the latest few says what one
    costs: any may have waited for the other threads.
    """

    def __init__(self, frames: int, milliseconds: float) -> None:
        self._frames = frames
        self._seconds = milliseconds / 1000
        self._soon = min(self._seconds, SOONEST_S)
        self._costs: deque[float] = deque(maxlen=COSTS_REMEMBERED)
        self._held = 0
        self._oldest = 0.0

    @property
    def held(self) -> int:
        """Number of frames at risk."""
        return self._held

    def add(self) -> None:
        """One more frame is at risk."""
        if not self._held:
            self._oldest = time.monotonic()
        self._held += 1

    def due(self) -> bool:
        """True if what is at risk should be flushed now."""
        if not self._held:
            return False
        return 0 < self._frames <= self._held or time.monotonic() - self._oldest >= self._soon

    def done(self, cost_s: float) -> None:
        """Everything was flushed, which took so long."""
        self._held = 0
        self._costs.append(cost_s)
        self._soon = min(self._seconds, max(SOONEST_S, COSTS_TO_NEXT * min(self._costs)))
