"""The frames of one HDF5 dataset, each as the bytes that the detector's writer stored.

Nothing is decoded here on the fast path. h5py's lock is global, so a finished file is asked once where its chunks lie
(`chunk_iter`, about 1 µs per chunk; `get_chunk_info_by_coord` is a linear search, 150 µs at 20 000 chunks), and each
frame is then one `pread` outside HDF5: 0.5 µs against 2.6 µs for `read_direct_chunk` on small chunks, and no waiting
for the sinks that write through h5py at the same time. A file that grows is read with `read_direct_chunk`.
"""

import math
import os
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters for the decoded path
import numpy as np
from numpy.typing import NDArray

from stream.errors import CorruptPayload
from stream.events import Encoding, Payload
from stream.formats.hdf5.filters import Packing
from stream.formats.hdf5.safe import refuse
from stream.formats.hdf5.virtual import Mapping, Written, mappings, opened, written

MOST_FRAMES = 50_000_000
"""A flipped bit in a header can declare any number; a scan of this length takes half an hour at 25 kHz."""


MOST_CHUNK_BYTES = 2 * 10**9
MOST_OVERHEAD = 65_536
"""Bytes that a packed frame may be longer than twice its pixels."""


class Stack:
    """Frame by frame reader of one dataset (..., rows, columns); leading axes are flattened in C order.

    channel: index on the second axis of a multi-channel dataset (frames, channels, rows, columns).
    live: the file is being written; frames are asked for one by one and `refresh` sees new ones.
    strip: the detector has one row, which the dataset (..., columns) has no axis for.
    """

    def __init__(
        self, dataset: h5py.Dataset, channel: int | None = None, *, live: bool = False, strip: bool = False
    ) -> None:
        self.where = f"{dataset.file.filename}::{dataset.name}"
        self._plane = dataset.shape[-1:] if strip else dataset.shape[-2:]
        if dataset.ndim < 2 or dataset.dtype.kind not in "uifb":
            raise ValueError(f"{self.where} is not a stack of images: shape {dataset.shape}, type {dataset.dtype}")
        if dataset.size // max(1, math.prod(self._plane)) > MOST_FRAMES:
            raise ValueError(f"{self.where} declares {dataset.shape}: more than {MOST_FRAMES} frames, it is damaged")
        self.dtype: np.dtype[Any] = np.dtype("u1") if dataset.dtype.kind == "b" else dataset.dtype
        self.shape: tuple[int, int] = (1 if strip else dataset.shape[-2], dataset.shape[-1])
        self._dataset = dataset
        self._channel = channel
        self._live = live
        self._fd: int | None = None
        self._index: NDArray[np.uint64] | None = None
        self._origin: int | None = None
        self._allocated: set[tuple[int, ...]] | None = None
        self._block: tuple[tuple[int, ...], NDArray[Any]] | None = None
        refuse(dataset)
        self._packing = Packing(dataset)
        self._single = self._one_frame_per_chunk()
        if not self._single and dataset.chunks and math.prod(dataset.chunks) * self.dtype.itemsize > MOST_CHUNK_BYTES:
            raise ValueError(f"{self.where} has chunks of {dataset.chunks}: too large to be decoded as a whole")
        self._written_of: dict[int, Written] = {}
        self._sources = mappings(dataset, len(self._plane)) if dataset.is_virtual else []
        if not live:
            self._prepare()

    @property
    def count(self) -> int:
        """Number of frames that the dataset declares; not all need to have been written."""
        lead = self._dataset.shape[:1] if self._channel is not None else self._lead
        return int(np.prod(lead, dtype=np.int64))

    @property
    def follows(self) -> bool:
        """True if the file says of each single frame whether it has been written: one frame per chunk."""
        return self._single

    def refresh(self) -> int:
        """See what a SWMR writer has flushed since; returns the new `count`.

        Without SWMR nothing is refreshed: H5Drefresh breaks datasets with a version-1 B-tree index ("ref-counted page
        nil", then a crash on closing; HDF5 2.0.0). Such a file has to be opened again.
        """
        if self._dataset.file.swmr_mode:
            self._dataset.refresh()
        return self.count

    def read(self, index: int) -> Payload | None:
        """The frame's bytes, None where it was never written. Raises CorruptPayload."""
        if self._origin is not None:
            return self._raw(self._origin + index * self._frame_nbytes, self._frame_nbytes, Encoding.RAW, index)
        if not (self._single and self._packing.known):
            return self._decoded(index)
        if self._index is not None:
            offset, size, mask = (int(value) for value in self._index[index])
            encoding = self._packing.of(mask)
            if size and encoding is None:
                return self._decoded(index)
            return self._raw(offset, size, encoding, index) if size and encoding is not None else None
        return self._direct(index)

    def close(self) -> None:
        """Free the file descriptor; the dataset belongs to the caller."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def _lead(self) -> tuple[int, ...]:
        return tuple(self._dataset.shape[: -len(self._plane)])

    @property
    def _corner(self) -> tuple[int, ...]:
        return (0,) * len(self._plane)

    def _one_frame_per_chunk(self) -> bool:
        chunks = self._dataset.chunks
        deep = len(self._plane)
        return chunks is not None and chunks[-deep:] == self._plane and all(size == 1 for size in chunks[:-deep])

    @property
    def _frame_nbytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def _prepare(self) -> None:
        """Find out where the bytes lie, if they can be read without HDF5."""
        file = self._dataset.file
        plain = file.driver == "sec2" and not file.userblock_size and not self._dataset.is_virtual
        stored = self._dataset.id.get_type().get_size() == self._dataset.dtype.itemsize
        if not (plain and stored) or self._dataset.external:
            return
        if self._dataset.chunks is None:
            if self._channel is None:
                self._origin = self._dataset.id.get_offset()
        elif self._single and self._packing.known:
            self._index = self._chunk_index()
        if self._origin is not None or self._index is not None:
            self._fd = os.open(file.filename, os.O_RDONLY)

    def _chunk_index(self) -> NDArray[np.uint64]:
        """(count, 3): byte offset, size and filter mask of every frame; size 0 = never written."""
        index = np.zeros((self.count, 3), np.uint64)
        lead = self._lead
        channel = self._channel

        def note(info: Any) -> None:
            place = info.chunk_offset[: len(lead)]
            if channel is not None:
                if place[1] != channel:
                    return
                number = place[0]
            elif len(lead) == 1:
                number = place[0]
            else:
                number = int(np.ravel_multi_index(place, lead)) if lead else 0
            if number < len(index):
                index[number] = info.byte_offset, info.size, info.filter_mask

        self._dataset.id.chunk_iter(note)
        return index

    def _place(self, index: int) -> tuple[int, ...]:
        if self._channel is not None:
            return index, self._channel
        return tuple(int(part) for part in np.unravel_index(index, self._lead))

    def _raw(self, offset: int, size: int, encoding: Encoding, index: int) -> Payload:
        assert self._fd is not None, f"{self.where} is closed"
        if size > 2 * self._frame_nbytes + MOST_OVERHEAD:
            raise CorruptPayload(f"{self.where}: frame {index} has {size} bytes, its index is damaged", index=index)
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise CorruptPayload(
                f"{self.where}: frame {index} is cut off, the file ends after {len(data)} of its {size} bytes",
                index=index,
            )
        return Payload(data, encoding, self.shape, self.dtype)

    def _direct(self, index: int) -> Payload | None:
        try:
            mask, data = self._dataset.id.read_direct_chunk((*self._place(index), *self._corner))
        except RuntimeError:  # "chunk storage is not allocated": not written (yet)
            return None
        except OSError as error:
            raise CorruptPayload(f"{self.where}: frame {index} cannot be read: {error}", index=index) from error
        encoding = self._packing.of(mask)
        return Payload(data, encoding, self.shape, self.dtype) if encoding is not None else self._decoded(index)

    def _decoded(self, index: int) -> Payload | None:
        """Through HDF5's own filters, all frames of a chunk at a time so that none is decoded twice."""
        place = self._place(index)
        if not (self._complete(index) if self._sources else self._written(place)):
            return None
        deep = self._dataset.chunks[len(self._lead) - 1] if self._dataset.chunks is not None and place else 1
        if deep == 1 or self._live:
            image = self._image(place, index)
        else:
            first = place[-1] - place[-1] % deep
            if self._block is None or self._block[0] != (*place[:-1], first):
                block = self._image((*place[:-1], slice(first, first + deep)), index)
                self._block = ((*place[:-1], first), block)
            image = self._block[1][place[-1] - first]
        return Payload(image.reshape(-1).view(np.uint8).data, Encoding.RAW, self.shape, self.dtype)

    def _complete(self, index: int) -> bool:
        """False if no source of a virtual dataset has the frame. Raises CorruptPayload if some have and some do not."""
        there: dict[bool, Mapping] = {}
        for place, source in enumerate(self._sources):
            number = source.source_of(index) if source.count else -1
            if number is not None:
                if self._live or place not in self._written_of:
                    with opened(source.path, source.dataset) as dataset:
                        self._written_of[place] = written(dataset)
                there[self._written_of[place].has(number)] = source
        if len(there) == 2:
            lost = there[False]
            raise CorruptPayload(
                f"{self.where}: frame {index} is not whole, {lost.path}::{lost.dataset} does not have it", index=index
            )
        return True in there

    def _image(self, place: tuple[Any, ...], index: int) -> NDArray[Any]:
        try:
            return np.ascontiguousarray(self._dataset[place]).astype(self.dtype, copy=False)
        except (OSError, RuntimeError) as error:
            raise CorruptPayload(f"{self.where}: frame {index} cannot be decoded: {error}", index=index) from error

    def _written(self, place: tuple[int, ...]) -> bool:
        """False where the chunk with the frame's first pixel does not exist: its pixels would be the fill value."""
        chunks = self._dataset.chunks
        if chunks is None or self._dataset.is_virtual:
            return True
        origin = tuple(part - part % size for part, size in zip((*place, *self._corner), chunks, strict=True))
        if not self._live:
            if self._allocated is None:
                self._allocated = set()
                self._dataset.id.chunk_iter(lambda info: self._allocated.add(info.chunk_offset))
            return origin in self._allocated
        try:
            self._dataset.id.read_direct_chunk(origin)
        except RuntimeError:
            return False
        return True
