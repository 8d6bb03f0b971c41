"""Where the chunks of a dataset lie in its file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Chunks:
    """One row per stored chunk. first: its first index along the frames; address and size in bytes."""

    first: NDArray[np.int64]
    address: NDArray[np.int64]
    size: NDArray[np.int64]

    @property
    def end(self) -> int:
        """The first byte behind the last chunk; 0 without chunks."""
        return int((self.address + self.size).max()) if len(self.address) else 0


def chunks(dataset: Any) -> Chunks:
    """All chunks of a chunked h5py dataset, about one microsecond each."""
    found: list[tuple[int, int, int]] = []
    if dataset.shape[0]:
        dataset.id.chunk_iter(lambda info: found.append((info.chunk_offset[0], info.byte_offset, info.size)))
    table = np.array(found, np.int64).reshape(-1, 3)
    return Chunks(table[:, 0], table[:, 1], table[:, 2])


def rows_present(dataset: Any, indices: NDArray[Any]) -> NDArray[np.bool_]:
    """bool (n,): these rows of a dataset lie in a chunk that is in the file."""
    rows, length = dataset.chunks[0], dataset.shape[0]
    # after a kill the index may know chunks that the dataset's own length does not reach yet
    held = np.unique(chunks(dataset).first)
    indices = np.asarray(indices, np.int64)
    # no table of all rows: there may be 10^9, nearly all of them missing
    place = np.minimum(np.searchsorted(held, indices // rows * rows), max(0, len(held) - 1))
    found: NDArray[np.bool_] = (indices < length) & (len(held) > 0)
    if len(held):
        found &= held[place] == indices // rows * rows
    return found


def rows_from(dataset: Any, first: int) -> NDArray[np.int64]:
    """The rows from `first` on that lie in a chunk that is in the file, ascending."""
    rows, length = dataset.chunks[0], dataset.shape[0]
    begins = np.unique(chunks(dataset).first)
    parts = [np.arange(max(begin, first), min(begin + rows, length)) for begin in begins.tolist()]
    return np.concatenate([np.zeros(0, np.int64), *parts])
