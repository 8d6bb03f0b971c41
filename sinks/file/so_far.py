"""What a growing file has so far, in closed files, for programs that cannot open one that is being written.

Beside FILE.nx there is a folder FILE_so_far: the frames, as many together as the user says, each part written once
under a temporary name and then named; and FILE.nx, a copy of everything but the frames, which it finds in the parts
(an HDF5 virtual dataset). That is made anew with every part, beside the old one, and takes its place: whoever opens it
has a file that no one writes. A part whose frame came late is replaced too, the file after it.

The frames lie on the disk twice until the scan is complete. Then each part becomes a reference into the complete
file, so that whoever still has the old FILE.nx open goes on reading the same frames.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file.advice import reason
from sinks.file.chunk_index import rows_present
from sinks.file.direct_chunk import filter_of
from stream.events import Encoding

IN_PART = "data"
NUMBERS = "/entry/ledger/frame_number"
OWN = ("/entry/ledger", "/entry/changes", "/entry/latency")
"""Of the file itself: a copy that had them would look like one to be gone on with."""


class SoFar:
    """Of the file `path`; frames: in a part; stack: where they are in the file; trouble: is told what cannot be
    written. The scan's own file comes first: nothing here stops it."""

    def __init__(self, path: Path, frames: int, stack: str, trouble: Callable[[str], None]) -> None:
        self._path, self._frames, self._stack, self._trouble = path, frames, stack, trouble
        self._given_up = False
        self.folder = path.with_name(f"{path.stem}_so_far")
        self.file = self.folder / path.name
        self._parts = 0
        self._late: set[int] = set()

    def forget(self) -> None:
        """The scan is a new one: what an earlier one left under this name is not of it."""
        with self._telling():
            for each in (self.file, *self.folder.glob("frames_*.h5")):
                each.unlink(missing_ok=True)

    def written(self, index: int) -> None:
        """A frame has been put into its place."""
        if index // self._frames < self._parts:
            self._late.add(index // self._frames)

    def flushed(self, file: Any, length: int) -> None:
        """file: the h5py.File that grows, flushed; length: how many frame numbers have a place in all its columns."""
        whole = length // self._frames
        if self._given_up or (whole <= self._parts and not self._late):
            return
        with self._telling():
            self._flushed(file, whole)

    def _flushed(self, file: Any, whole: int) -> None:
        self.folder.mkdir(exist_ok=True)
        data = file[self._stack]
        for part in sorted({*self._late, *range(self._parts, whole)}):
            with _made(self.folder / self._name(part)) as target:
                _copy_chunks(data, target, part * self._frames, (part + 1) * self._frames)
        self._parts, self._late = whole, set()
        self._write_file(file, whole * self._frames)

    def complete(self) -> None:
        """The file has been completed and closed."""
        if not self._given_up and self._parts:
            with self._telling():
                self._complete()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            self._given_up = True
            self._trouble(f"{self.folder} has not what comes from now on, it cannot be written: {reason(error)}")

    def _complete(self) -> None:
        with h5py.File(self._path, "r") as file:
            data = file[self._stack]
            for part in range(-(-len(data) // self._frames)):
                first, end = part * self._frames, min((part + 1) * self._frames, len(data))
                layout = h5py.VirtualLayout((end - first, *data.shape[1:]), data.dtype)
                layout[:] = h5py.VirtualSource(f"../{self._path.name}", self._stack, data.shape)[first:end]
                with _made(self.folder / self._name(part)) as target:
                    target.create_virtual_dataset(IN_PART, layout, fillvalue=data.fillvalue)
            self._write_file(file, len(data))

    def _name(self, part: int) -> str:
        return f"frames_{part:06d}.h5"

    def _write_file(self, file: Any, length: int) -> None:
        data = file[self._stack]
        layout = h5py.VirtualLayout((length, *data.shape[1:]), data.dtype)
        for first in range(0, length, self._frames):
            end = min(first + self._frames, length)
            name = self._name(first // self._frames)
            layout[first:end] = h5py.VirtualSource(name, IN_PART, (end - first, *data.shape[1:]))
        known = {}
        with _made(self.file) as target:
            known[_address(data)] = target.create_virtual_dataset(self._stack, layout, fillvalue=data.fillvalue)
            known[_address(data)].attrs.update(data.attrs)
            numbers = file[NUMBERS]  # which the ledger flushes later
            counted = np.arange(length, dtype=numbers.dtype)
            known[_address(numbers)] = target.create_dataset(f"{data.parent.name}/frame_number", data=counted)
            _copy(file, target, length, known)


@contextmanager
def _made(path: Path) -> Iterator[Any]:
    """A closed file of this name, or none."""
    hidden = path.with_name(f".{path.name}.new")
    try:
        with h5py.File(hidden, "w", libver="v110") as target:
            yield target
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _copy_chunks(data: Any, target: Any, first: int, end: int) -> None:
    """Frames as they are packed; those that are not there are fill values."""
    made = target.create_dataset(
        IN_PART,
        (end - first, *data.shape[1:]),
        data.dtype,
        chunks=(1, *data.shape[1:]),
        fillvalue=data.fillvalue,
        **filter_of(Encoding(data.attrs["encoding"])),
    )
    rest = (0,) * (data.ndim - 1)
    for index in (first + np.flatnonzero(rows_present(data, np.arange(first, end)))).tolist():
        mask, packed = data.id.read_direct_chunk((index, *rest))
        made.id.write_direct_chunk((index - first, *rest), packed, mask)


def _copy(source: Any, target: Any, length: int, known: dict[int, Any]) -> None:
    """Groups, attributes, links and datasets, of columns the first `length` rows; what lies in `known`, by its address
    in the old file, is linked; other frames (of further thresholds) are left out."""
    target.attrs.update(source.attrs)
    for name in source:
        link = source.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            target[name] = link
            continue
        item = source[name]
        if item.name in OWN:
            continue
        address = _address(item)
        if address in known:
            if name not in target:
                target[name] = known[address]
        elif isinstance(item, h5py.Group):
            known[address] = target.require_group(name)
            _copy(item, known[address], length, known)
        elif item.ndim < 3:
            grows = bool(item.shape) and item.maxshape[0] is None
            known[address] = target.create_dataset(name, data=item[:length] if grows else item[()], dtype=item.dtype)
            known[address].attrs.update(item.attrs)


def _address(item: Any) -> int:
    return int(h5py.h5o.get_info(item.id).addr)
