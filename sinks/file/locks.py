"""Who has a file open. HDF5 gives its own lock back when SWMR starts, so that a second writer would not be refused.

A writer holds a shared `flock` on the file: readers take shared ones and are let in, a writer wants an exclusive one.
That a writer of ours lives, and not only a reader, its other lock tells (see `stream.locks`).
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from sinks.file.holders import holders
from stream import locks
from stream.errors import SinkFailed

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system says that knows no locks: go on without."""


PATIENCE_S = 5.0
"""How long to wait for a reader to close a file: most look and go. The detector waits meanwhile."""
WRITER_PATIENCE_S = 1.0
"""How long for a writer: one that was killed may still be dying."""
PAUSE_S = 0.05


class Held(SinkFailed):
    """Somebody else has the file open for reading, and does not close it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is opened by someone else{_by(path)}: close it there, or choose another `path`")


class Written(SinkFailed):
    """Another process of ours writes this file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is opened by someone else{_by(path)}, who writes it: wait, or choose another `path`")


class Lock:
    """At most one lock on one file, given back by `release` or by the end of the process, however it ends."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def own(self, path: Path, *, readers: bool = False, patience_s: float | None = None) -> None:
        """Keep everybody out (but readers, if so said). Raises Written, Held or OSError.

        patience_s: how long to wait for others to close the file; None: as long as is usual.
        """
        self.release()
        descriptor = self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            longest = WRITER_PATIENCE_S if patience_s is None else patience_s
            _wait(lambda: locks.hold(descriptor, alone=True) is not False, Written, path, longest)
            longest = PATIENCE_S if patience_s is None else patience_s
            if not readers:
                _wait(lambda: _flocked(descriptor, fcntl.LOCK_EX), Held, path, longest)
        except (OSError, SinkFailed):
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


def _wait(taken: Callable[[], bool], error: Callable[[Path], SinkFailed], path: Path, longest_s: float) -> None:
    """Ask again until it is so; raises the error of this path when the time is over.

    The kernel wakes whoever waits for a lock of another process, but such a wait has no end of its own.
    """
    until = time.monotonic() + longest_s
    while not taken():
        if time.monotonic() >= until:
            raise error(path)
        time.sleep(PAUSE_S)


def _by(path: Path) -> str:
    who = holders(path)
    return f" ({who})" if who else ""


def _flocked(descriptor: int, kind: int) -> bool:
    try:
        _flock(descriptor, kind)
    except BlockingIOError:
        return False
    return True


def _flock(descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
