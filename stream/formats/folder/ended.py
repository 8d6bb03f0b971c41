"""HDF5 files whose scans have ended: another scan may follow in the same file (BLISS), or it may grow against all
expectation. Polling names only new files, so the latest of these are looked at again."""

import os
from dataclasses import dataclass, field

RECENT = 16
"""Files that are kept in mind."""


@dataclass(slots=True)
class _File:
    size: int
    changed: float
    whole: bool
    names: set[str] = field(default_factory=set)


class Ended:
    """The latest files with an ended scan, by path."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def add(self, path: str, name: str, *, whole: bool) -> None:
        """The scan `name` in a file has ended; whole: with all its frames."""
        size, changed = size_and_time(path)
        before = self._files.pop(path, None)
        file = self._files[path] = _File(size, changed, whole, before.names if before else set())
        file.names.add(name)
        while len(self._files) > RECENT:
            self._files.pop(next(iter(self._files)))

    def names(self, path: str) -> frozenset[str]:
        """The scans of a file that have ended."""
        return frozenset(self._files[path].names)

    def changed(self) -> list[str]:
        """Files that have changed since this was last asked."""
        found = []
        for path, file in self._files.items():
            changed = size_and_time(path)[1]
            if changed != file.changed:
                file.changed = changed
                found.append(path)
        return found

    def lost_frames(self, path: str) -> bool:
        """True, once per file, if it has grown after its scan was ended without all its frames."""
        file = self._files[path]
        if file.whole or size_and_time(path)[0] <= file.size:
            return False
        file.whole = True
        return True


def size_and_time(path: str) -> tuple[int, float]:
    """Size and modification time of a file, zeros if it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0.0
    return status.st_size, status.st_mtime
