"""The image files that have been taken, and which of them have been written again since.

Natively every change of a file is named. Where changes are found by polling, a file that is overwritten in place shows
nothing in its folder: the latest files are looked at at every turn, the older ones by and by, and from one that has
changed on to those behind it, as a series that is recorded again is written in its old order.
"""

import os
import time
from typing import NamedTuple

from stream.formats.images.file import Content

LATEST = 16
"""Files looked at at every turn; of the older ones four times as many."""
RACY_S = 0.1
"""A file read so soon after its last change may have been written again with the same time stamp."""


class State(NamedTuple):
    """Size, and modification time in ns."""

    size: int
    modified: int


GONE = State(0, 0)


class _File(NamedTuple):
    state: State
    content: Content | None
    scan: str
    racy: bool


def state_of(path: str) -> State:
    """The state of a file now."""
    try:
        status = os.stat(path)
    except OSError:
        return GONE
    return State(status.st_size, status.st_mtime_ns)


class Taken:
    """Files by path, in the order in which they were taken."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._turn = 0

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def add(self, path: str, state: State, content: Content | None = None, scan: str = "") -> None:
        """A file has been taken into a scan. state: before it was read; content: None if nobody knows what it held."""
        self._files.pop(path, None)
        racy = time.time_ns() - state.modified < RACY_S * 1e9
        self._files[path] = _File(state, content, scan, racy)

    def scan(self, path: str) -> str:
        """The scan that a file was taken into."""
        file = self._files.get(path)
        return file.scan if file is not None else ""

    def content(self, path: str) -> Content | None:
        """What a file held when it was taken."""
        file = self._files.get(path)
        return file.content if file is not None else None

    def changed(self, path: str) -> bool:
        """True if a file has to be read to know whether it holds something else, after somebody saw it change."""
        file = self._files[path]
        state = state_of(path)
        return state != GONE and (file.racy or state != file.state)

    def look(self) -> list[str]:
        """Files that have another state than when they were taken."""
        paths = list(self._files)
        older = len(paths) - LATEST
        found = [path for path in paths[max(0, older) :] if self._other(path)]
        if older <= 0:
            return found
        self._turn %= older
        left = min(4 * LATEST, older)
        while left > 0 and self._turn < older:
            if self._other(paths[self._turn]):
                found.append(paths[self._turn])
                left = 4 * LATEST
            self._turn += 1
            left -= 1
        return found

    def _other(self, path: str) -> bool:
        state = state_of(path)
        return state != GONE and state != self._files[path].state
