"""The five-dimensional array of a topo-tomography scan: frames by the steps of tilt1, tilt2 and omega; NaN: no frame.

In HDF5 it is written and read by region; as Recon3D has it, .npy beside the positions of the axes.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file import nexus
from sinks.file.storage import BITSHUFFLE
from sinks.file.whole import Made, told
from stream.errors import ConfigError, InbeamError
from stream.events import Array
from stream.room import take_room

ARRAYS = ("dataarray_final.npy", "dataarray.npy", "dataarray.h5")
"""What `opened` looks for, in this order."""
PAIRS = (("mu", "gamma"), ("alpha", "beta"))
"""Names of the tilts' axes: of Recon3D's program at last, and of its README."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """data: (tilt1, tilt2, omega, rows, columns), to be indexed; axes: name -> positions, in that order."""

    path: Path
    data: Any
    axes: Mapping[str, Array]

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Of the data."""
        first, second, omega, rows, columns = self.data.shape
        return first, second, omega, rows, columns

    def projection(self, omega: int) -> Array:
        """float64 (tilt1, tilt2, rows, columns) at one omega."""
        return np.asarray(self.data[:, :, omega], np.float64)


@contextmanager
def opened(folder: Path, name: str | None) -> Iterator[Stack]:
    """The array called `name` in the folder, or the first of ARRAYS that is there. Raises ConfigError, InbeamError."""
    names = ARRAYS if name is None else (name,)
    path = next((folder / each for each in names if (folder / each).is_file()), None)
    if path is None:
        text = f"none of {', '.join(names)} is there: make one with `inbeam recon3d-getdata`"
        raise ConfigError([(str(folder), text)])
    with ExitStack() as stack:
        try:
            if path.suffix == ".npy":
                data: Any = np.load(path, mmap_mode="r", allow_pickle=False)
                axes = _axes_beside(folder)
            else:
                file = stack.enter_context(h5py.File(path, "r"))
                group = file["entry/dataarray"]
                data = group["data"]
                axes = {str(each): group[each][()] for each in list(group.attrs["axes"])[:3]}
        except (OSError, ValueError, KeyError) as error:
            raise InbeamError(f"{path} is no array of Recon3D: {error}") from error
        lengths = tuple(len(values) for values in axes.values())
        if data.ndim != 5 or data.shape[:3] != lengths or data.dtype.kind not in "uif":
            text = f"{path}: {data.dtype} {data.shape} does not fit {', '.join(axes)} of {lengths} positions"
            raise InbeamError(f"{text}: it must be (tilt1, tilt2, omega, rows, columns)")
        yield Stack(path, data, axes)


def _axes_beside(folder: Path) -> dict[str, Array]:
    for pair in PAIRS:
        paths = [folder / f"{name}.npy" for name in (*pair, "omega")]
        if all(path.is_file() for path in paths):
            return {
                path.stem: np.load(path, allow_pickle=False).astype(np.float64, casting="same_kind") for path in paths
            }
    raise ConfigError([(str(folder), "neither mu.npy, gamma.npy nor alpha.npy, beta.npy lie beside omega.npy there")])


class Writer:
    """Writes one; a file that was broken off never looks like a whole one. data: float32, NaN where nothing is put."""

    def __init__(self, folder: Path, axes: Mapping[str, Array], frame: tuple[int, int], *, npy: bool) -> None:
        self._axes, self._folder = axes, folder
        shape = (*(len(values) for values in axes.values()), *frame)
        self.path = folder / ("dataarray.npy" if npy else "dataarray.h5")
        self._part = folder / f".{self.path.name}.part"
        self._file: Made | None = None
        try:
            with told(self.path):
                self.data: Any = self._taken(shape) if npy else self._laid_out(shape)
        except BaseException:
            self.give_up()
            raise

    def finish(self, about: Mapping[str, str]) -> None:
        """Give it its name, and write the axes as Recon3D has them."""
        with told(self.path):
            self._finish(about)

    def _finish(self, about: Mapping[str, str]) -> None:
        if self._file is None:
            self.data.flush()
            del self.data
        else:
            process = nexus.group(self._file.file["entry"], "process", "NXprocess")
            texts = {"program": "inbeam", "version": version("inbeam"), "date": nexus.iso_time(time.time())}
            for name, text in {**texts, **about}.items():
                nexus.text(process, name, text)
            self._file.close()
        os.replace(self._part, self.path)
        for name, values in self._axes.items():
            np.save(self._folder / f"{name}.npy", values)

    def give_up(self) -> None:
        """Leave nothing, where `finish` has not been called."""
        if self._file is not None:
            self._file.let_go()
        self._part.unlink(missing_ok=True)

    def _taken(self, shape: tuple[int, ...]) -> Any:
        """All room at once: a full disk would end the process when the array is written to."""
        data = np.lib.format.open_memmap(self._part, "w+", np.dtype("f4"), shape)
        with open(self._part, "r+b") as file:
            take_room(file.fileno(), self._part.stat().st_size)
        data[...] = np.nan
        return data

    def _laid_out(self, shape: tuple[int, ...]) -> Any:
        self._file = Made(self._part)
        file = self._file.file
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "inbeam"})
        entry = nexus.group(file, "entry", "NXentry")
        entry.attrs["default"] = "dataarray"
        group = nexus.group(entry, "dataarray", "NXdata")
        chunk = (1, 1, 1, *shape[3:])
        data = group.create_dataset("data", shape, "f4", chunks=chunk, fillvalue=np.nan, **BITSHUFFLE)
        data.attrs.update({"interpretation": "image", "long_name": "signal, NaN: no frame", "units": "counts"})
        names = [*self._axes, "y", "x"]
        for name, values in self._axes.items():
            nexus.array(group, name, values, "deg")
        for name, count in zip("yx", shape[3:], strict=True):
            nexus.array(group, name, np.arange(count), "px")
        group.attrs["signal"], group.attrs["axes"] = "data", names
        for number, name in enumerate(names):
            group.attrs[f"{name}_indices"] = number
        return data
