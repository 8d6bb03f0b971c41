"""The sources of virtual datasets that are read through HDF5: whether they can be, and which frames they have.

HDF5 follows a virtual dataset that leads back to itself until the process is out of stack, and gives fill values where
a source is not there or a frame was never written. Neither is left to it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import h5py

from stream.errors import BadMessage

DEEPEST = 8
"""Virtual datasets of virtual datasets; every level costs HDF5 stack."""
MOST_SOURCES = 20_000
"""Sources looked at below one dataset, all levels together."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Frames `first`, `first + step` ... of a virtual dataset are those from `source_first` on of a dataset.

    A mapping that is not made of whole runs of frames has count 0: which frames it is needed for is not known.
    """

    path: str
    dataset: str
    first: int = 0
    step: int = 1
    count: int = 0
    source_first: int = 0
    source_step: int = 1

    def source_of(self, index: int) -> int | None:
        """The frame of the source that belongs to a frame, None if it has none here."""
        place, rest = divmod(index - self.first, self.step)
        return None if rest or not 0 <= place < self.count else self.source_first + place * self.source_step


def refuse_cycles(dataset: h5py.Dataset) -> None:
    """Raises BadMessage if reading the dataset could lead HDF5 back to itself, or too deep."""
    if dataset.is_virtual:
        _follow(dataset, (), f"{dataset.file.filename}::{dataset.name}", [0])


def _follow(dataset: h5py.Dataset, above: tuple[h5py.Dataset, ...], where: str, seen: list[int]) -> None:
    if any(_same(dataset, other) for other in above):
        raise BadMessage(f"{where} is a virtual dataset that leads back to itself")
    if len(above) > DEEPEST:
        raise BadMessage(f"{where} is more than {DEEPEST} virtual datasets deep")
    for path, name in _sources(dataset):
        seen[0] += 1
        if seen[0] > MOST_SOURCES:
            raise BadMessage(f"{where} has more than {MOST_SOURCES} sources")
        with opened(path, name) as source:
            if source is not None and source.is_virtual:
                _follow(source, (*above, dataset), where, seen)


def mappings(dataset: h5py.Dataset, deep: int) -> list[Mapping]:
    """What each source of a virtual dataset is needed for; deep: dimensions of one frame."""
    return [_mapping(dataset, source, deep) for source in dataset.virtual_sources()]


@dataclass(frozen=True, slots=True)
class Written:
    """Which frames of a source have been written: those below `count`, and of these the ones whose chunk is there.

    chunks: first frames of the chunks that exist, None if the source has no chunks that could be missing.
    """

    count: int
    depth: int = 1
    chunks: frozenset[int] | None = None

    def has(self, index: int) -> bool:
        """True if a frame has been written; index -1 for any."""
        if index < 0:
            return self.count > 0
        return index < self.count and (self.chunks is None or index - index % self.depth in self.chunks)


def written(source: h5py.Dataset | None) -> Written:
    """What a source has, as far as it is there."""
    if source is None or not source.ndim:
        return Written(0)
    if source.is_virtual or source.chunks is None:
        return Written(source.shape[0])
    found: set[int] = set()
    source.id.chunk_iter(lambda info: found.add(info.chunk_offset[0]))
    return Written(source.shape[0], source.chunks[0], frozenset(found))


@contextmanager
def opened(path: str, name: str) -> Iterator[h5py.Dataset | None]:
    """A source, None if it is not there."""
    file = None
    for swmr, locking in ((False, False), (False, None), (True, None)):
        with suppress(OSError):  # HDF5 opens no file twice in different ways
            file = file or h5py.File(path, "r", swmr=swmr, locking=locking)
    if file is None:
        yield None
        return
    try:
        found = file.get(name)
        yield found if isinstance(found, h5py.Dataset) else None
    finally:
        file.close()


def _same(one: h5py.Dataset, other: h5py.Dataset) -> bool:
    return bool(one == other) or (
        one.name == other.name and os.path.realpath(one.file.filename) == os.path.realpath(other.file.filename)
    )


def _sources(dataset: h5py.Dataset) -> Iterator[tuple[str, str]]:
    for source in dataset.virtual_sources():
        path = _path(dataset, source)
        numbers = range(MOST_SOURCES) if "%b" in path + source.dset_name else range(1)
        for number in numbers:
            place = path.replace("%b", str(number)), source.dset_name.replace("%b", str(number))
            if number and not os.path.exists(place[0]):
                break
            yield place
            if number and "%b" not in path:
                break  # blocks in one file: one of them tells whether it is this very dataset


def _path(dataset: h5py.Dataset, source: Any) -> str:
    own = str(dataset.file.filename)
    return own if source.file_name == "." else os.path.join(os.path.dirname(os.path.abspath(own)), source.file_name)


def _mapping(dataset: h5py.Dataset, source: Any, deep: int) -> Mapping:
    path = _path(dataset, source)
    unknown = Mapping(path, source.dset_name)
    if len(dataset.shape) != deep + 1 or "%" in path + source.dset_name:
        return unknown
    target, origin = _run(source.vspace, deep), _run(source.src_space, deep)
    if target is None or (origin is None and source.src_space.get_select_type() != h5py.h5s.SEL_ALL):
        return unknown
    first, step, count = target
    source_first, source_step, source_count = origin or (0, 1, count)
    return Mapping(path, source.dset_name, first, step, min(count, source_count), source_first, source_step)


def _run(space: h5py.h5s.SpaceID, deep: int) -> tuple[int, int, int] | None:
    """(first, step, count) of the frames of a selection, None if it is not a regular one or has no end."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return (0, 1, int(space.shape[0])) if len(space.shape) == deep + 1 else None
    if not space.is_regular_hyperslab() or len(space.shape) != deep + 1:
        return None
    start, stride, count, block = (int(part[0]) for part in space.get_regular_hyperslab())
    if h5py.h5s.UNLIMITED in (count, block) or count < 0 or block < 0:
        return None
    if block == 1:
        return start, stride, count
    return (start, 1, block) if count == 1 else (start, 1, count * block) if stride == block else None
