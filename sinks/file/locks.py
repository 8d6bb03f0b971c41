"""Who has a file open. HDF5 gives its own lock back when SWMR starts, so that a second writer would not be refused.

A writer holds a shared `flock` on the file: readers take shared ones and are let in, a writer wants an exclusive one.
That a writer of ours lives, and not only a reader, its other lock tells (see `stream.locks`).
"""

import errno
import fcntl
import os
from pathlib import Path

from stream import locks
from stream.errors import SinkFailed

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system says that knows no locks: go on without."""


class Written(SinkFailed):
    """Another process of ours writes this file."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is opened by someone else, who writes it: wait for that run, or choose another `path`"
        )


class Lock:
    """At most one lock on one file, given back by `release` or by the end of the process, however it ends."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def own(self, path: Path, *, readers: bool = False) -> None:
        """Keep everybody out (but readers, if so said). Raises Written, or BlockingIOError if it is read."""
        self.release()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if locks.hold(self._descriptor, alone=True) is False:
                raise Written(path)
            if not readers:
                _flock(self._descriptor, fcntl.LOCK_EX)
        except (OSError, Written):
            self.release()
            raise

    def hand_over(self) -> None:
        """HDF5 opens the file now, with its own lock; other writers of ours are still kept out."""
        if self._descriptor is not None:
            _flock(self._descriptor, fcntl.LOCK_UN)

    def share(self, path: Path, descriptor: int | None = None) -> None:
        """Keep other writers out, let readers in. descriptor: of a file that nobody else knows yet, taken over.

        Raises Written, or BlockingIOError if somebody else has locked it.
        """
        if descriptor is not None:
            self.release()
            self._descriptor = os.dup(descriptor)
        elif self._descriptor is None:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if locks.hold(self._descriptor, alone=False) is False:
                raise Written(path)
            _flock(self._descriptor, fcntl.LOCK_SH)
        except (OSError, Written):
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; does nothing where none is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_written(path: Path) -> bool:
    """True if another process of ours writes or repairs this file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return locks.held(descriptor)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
