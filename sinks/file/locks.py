"""Who has a file open. HDF5 gives its own lock back when SWMR starts, so that a second writer would not be refused.

A writer holds a shared `flock` on the file: readers take shared ones and are let in, a writer wants an exclusive one.
"""

import errno
import fcntl
import os
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system says that knows no locks: go on without."""


class Lock:
    """At most one lock on one file, given back by `release` or by the end of the process, however it ends."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def share(self, path: Path) -> None:
        """Keep other writers out, let readers in. Raises BlockingIOError if somebody writes the file."""
        self._take(path, fcntl.LOCK_SH)

    def own(self, path: Path) -> None:
        """Keep everybody out, to repair the file. Raises BlockingIOError if somebody has it open."""
        self._take(path, fcntl.LOCK_EX)

    def release(self) -> None:
        """Give the lock back; does nothing where none is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, path: Path, kind: int) -> None:
        self.release()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
