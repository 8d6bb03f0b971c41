"""The readings of frames in a file that grows: BLISS writes them behind the frames, which wait for them for a while."""

from collections.abc import Iterator
from typing import Any

from stream.formats.hdf5.beside import Beside
from stream.formats.hdf5.flags import writes_swmr
from stream.formats.hdf5.opening import open_hdf5

WAIT_S = 5.0
"""How long a frame that is there waits for its readings; those that are later still are not waited for any more."""
WINDOW = 4096
"""Frames whose readings are looked at together."""


class Readings:
    """What belongs to each frame beside its pixels, as far as it is there."""

    def __init__(self, path: str, more: Beside) -> None:
        self._path = path
        self._more = more
        self._since: float | None = None
        self._slow: set[str] = set()
        self._missed: dict[str, tuple[int, int]] = {}
        """Name -> the first frame that was given without it, and how many."""

    def look(self, first: int, after: int) -> None:
        """Take what the file has now for the frames from `first` on. Raises what HDF5 raises."""
        if not self._more.empty:
            with open_hdf5(self._path, swmr=writes_swmr(self._path)) as file:
                self._more.load(file, first, min(after, first + WINDOW))

    def ready(self, index: int, after: int, now: float) -> bool:
        """False while the frame, which is there itself, waits for readings that may still come."""
        if not self._more.covers(index):
            self.look(index, after)
        behind = set(self._more.behind(index))
        self._slow &= behind
        behind -= self._slow
        if not behind:
            self._since = None
            return True
        self._since = now if self._since is None else self._since
        if now - self._since < WAIT_S:
            return False
        self._slow |= behind
        self._since = None
        return True

    def take(self, index: int, after: int) -> dict[str, Any]:
        """The fields of `Frame` for a frame that is given now."""
        if not self._more.covers(index):
            self.look(index, after)
        for name in self._more.behind(index):
            first, count = self._missed.get(name, (index, 0))
            self._missed[name] = min(first, index), count + 1
        return self._more.grown(index)

    def told(self, frames: int) -> Iterator[str]:
        """At the end: which readings came after their frames had been given, or are no readings of frames after all."""
        yield from self._more.problems
        for name, length in self._more.lengths():
            if length > 1 and length != frames:
                yield (
                    f"{self._path}: the reading {name} has {length} values for {frames} frames, so that those that "
                    "were given may not be right: leave it out with `readings`"
                )
        for name, (first, count) in self._missed.items():
            self.look(first, first + 1)
            if name not in self._more.behind(first):
                yield (
                    f"{self._path}: the reading {name} came more than {WAIT_S:g} s after its frames, so that {count} "
                    f"of them are without it, first frame {first}: process the file again to have it"
                )
