"""What belongs to each frame of an HDF5 scan beside its pixels: its readings and its times."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py

from stream.events import EMPTY, MONITOR
from stream.formats.hdf5.clock import Clock, clock
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.monitor import Beam
from stream.formats.hdf5.readings import Column, columns
from stream.formats.hdf5.table import Table


class Beside:
    """The fields of `Frame` that come from other datasets than the frames.

    beam: the monitor that the user has chosen, instead of what the file may call so.
    """

    def __init__(self, path: str, found: Mapping[str, Column], times: Clock, beam: Beam | None = None) -> None:
        self.columns = found
        """The readings, by name."""
        chosen = (name for name in found if beam is None or name != MONITOR)
        self._readings = Table(path, {name: found[name] for name in chosen})
        self._clock = times
        self._beam = beam
        nothing = self.empty and beam is None
        self._always = {"readings": EMPTY, **times.fields({})} if nothing else None
        """The fields of every frame where the file has nothing beside them."""
        self.units = {name: column.unit for name, column in found.items()}
        """Name -> unit of every reading."""
        if beam is not None:
            self.units[MONITOR] = beam.unit

    def recorded(self, index: int) -> dict[str, Any]:
        """The fields of one frame in a file that nobody writes to."""
        if self._always is not None:
            return self._always
        return self._fields(index, self._readings.recorded(index), self._clock.table.recorded(index))

    def load(self, file: h5py.File, first: int, after: int) -> None:
        """Take what a growing file has for these frames."""
        self._readings.load(file, first, after)
        self._clock.table.load(file, first, after)

    def grown(self, index: int) -> dict[str, Any]:
        """The fields of one frame of those that have been loaded."""
        return self._fields(index, self._readings.at(index), self._clock.table.at(index))

    @property
    def empty(self) -> bool:
        """True if there is nothing to load."""
        return not (self._readings.names or self._clock.table.names)

    def covers(self, index: int) -> bool:
        """True if the frame is among those that have been loaded."""
        return all(not table.names or table.covers(index) for table in (self._readings, self._clock.table))

    def behind(self, index: int) -> list[str]:
        """Readings of this frame that may still come."""
        return self._readings.behind(index)

    def lengths(self) -> Iterator[tuple[str, int]]:
        """The readings that had to be taken for one per frame before all of them were there, and how many there are."""
        return self._readings.lengths()

    @property
    def problems(self) -> list[str]:
        """What cannot be read, one line each."""
        return [*self._readings.problems, *self._clock.table.problems]

    def close(self) -> None:
        """Close the files."""
        self._readings.close()
        self._clock.table.close()

    def _fields(self, index: int, readings: dict[str, float], times: dict[str, float]) -> dict[str, Any]:
        if self._beam is not None:
            readings[MONITOR] = self._beam.at(index)
        return {"readings": readings, **self._clock.fields(times)}


def beside_growing(
    file: h5py.File,
    located: Located,
    exposure_s: float | None,
    wanted: Sequence[str] | None = None,
) -> Beside:
    """What a scan's file has while it is written. exposure_s: of every frame, where the detector has one for all;
    wanted: see `columns`."""
    found = columns(file, located, wanted, growing=True)
    return Beside(located.file, found, clock(file, located, exposure_s, growing=True))
