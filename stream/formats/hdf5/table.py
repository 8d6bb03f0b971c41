"""The values of columns by frame number, read many rows at a time."""

from collections.abc import Iterator, Mapping

import h5py
import numpy as np
from numpy.typing import NDArray

from stream.errors import BadMessage
from stream.formats.hdf5.opening import DAMAGED, open_hdf5
from stream.formats.hdf5.readings import Column
from stream.formats.hdf5.safe import first_value

BLOCK_VALUES = 1_000_000
"""Values read at a time, all columns together: 8 MB."""


class Table:
    """float64 values of one scan, NaN where there are none (yet). `path`: the file of the columns."""

    def __init__(self, path: str, columns: Mapping[str, Column]) -> None:
        self.names = tuple(columns)
        self.problems: list[str] = []
        """Columns that cannot be read, one line each."""
        self._path = path
        self._columns = list(columns.values())
        self._first = 0
        self._rows: NDArray[np.float64] = np.empty((0, len(columns)))
        self._lengths = [0] * len(columns)
        self._broken: set[int] = set()
        self._file: h5py.File | None = None

    def covers(self, index: int) -> bool:
        """True if the frame is among those that have been loaded."""
        return self._first <= index < self._first + len(self._rows)

    def at(self, index: int) -> dict[str, float]:
        """The values of one frame, without those that are not there."""
        if not self.covers(index):
            return {}
        row = index - self._first
        return {name: value for name, value in zip(self.names, self._rows[row].tolist(), strict=True) if value == value}

    def recorded(self, index: int) -> dict[str, float]:
        """As `at`, for a file that nobody writes to: what is needed is read."""
        if self.names and not self.covers(index):
            try:
                if self._file is None:
                    self._file = open_hdf5(self._path)
                self.load(self._file, index, index + max(1, BLOCK_VALUES // len(self.names)))
            except BadMessage as error:
                self.problems.append(str(error))
                self.names = ()
        return self.at(index)

    def load(self, file: h5py.File, first: int, after: int) -> None:
        """Take what the file has for the frames `first` ... `after - 1`."""
        self._first = first
        self._rows = np.full((max(0, after - first), len(self.names)), np.nan)
        for place, column in enumerate(self._columns):
            if place not in self._broken:
                try:
                    values, self._lengths[place] = _values(file, column, first, after)
                    self._rows[: len(values), place] = values
                except DAMAGED as error:
                    self._broken.add(place)
                    self.problems.append(f"the reading {self.names[place]} of {self._path} cannot be read: {error}")

    def behind(self, index: int) -> list[str]:
        """Columns that may still grow and have no value for this frame yet."""
        return [
            name
            for place, (name, column) in enumerate(zip(self.names, self._columns, strict=True))
            if column.growing and self._lengths[place] <= index and place not in self._broken
        ]

    def lengths(self) -> Iterator[tuple[str, int]]:
        """Columns that may still grow and do not go by point, with how many values each has."""
        for place, (name, column) in enumerate(zip(self.names, self._columns, strict=True)):
            if column.growing and not column.by_point and place not in self._broken:
                yield name, self._lengths[place]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def whole(path: str, column: Column, frames: int) -> NDArray[np.float64] | None:
    """The values of all frames of a file that nobody writes to, float64 (frames,), NaN where there is none; None if
    they cannot be read."""
    found = np.full(frames, np.nan)
    try:
        with open_hdf5(path) as file:
            values, _ = _values(file, column, 0, frames)
    except (BadMessage, *DAMAGED):
        return None
    found[: len(values)] = values[:frames]
    return found


def _values(file: h5py.File, column: Column, first: int, after: int) -> tuple[NDArray[np.float64], int]:
    """The values of the frames from `first` on, as many as there are, and how many there are in all."""
    if column.values is not None:
        return column.values[first:after], len(column.values)
    dataset = file[column.path]
    if column.constant:
        return np.full(after - first, float(first_value(dataset))), after
    if column.axes:
        frames = int(np.prod(column.shape, dtype=np.int64))
        places = np.unravel_index(np.arange(first, min(after, frames)), column.shape)
        return np.asarray(dataset[()], np.float64)[tuple(places[axis] for axis in column.axes)], frames
    if dataset.ndim == 1:
        return np.asarray(dataset[first:after], np.float64), len(dataset)
    return np.asarray(dataset[()], np.float64).reshape(-1)[first:after], int(dataset.size)
