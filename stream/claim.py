"""A new file beside its final name, which is ours alone until it is whole.

`.<name>.new` is made exclusively, never through a symbolic link, and held by a lock. Whoever wants the same name finds
it held, and leaves it; one that nobody holds was left by a killed process, and is removed.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from stream.locks import hold

ATTEMPTS = 20


class Taken(FileExistsError):
    """The name is being made by another process, or something that is not ours to remove is in its place."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EEXIST, "another process makes this file just now: choose another name, or wait", path)


class Claim:
    """path: the final name; temporary: the file's name until `publish`; descriptor: of the file, read and write."""

    def __init__(self, path: Path, temporary: Path, descriptor: int) -> None:
        self.path, self.temporary, self.descriptor = path, temporary, descriptor
        self.published = False

    @classmethod
    def take(cls, path: Path, purpose: str = "new") -> "Claim":
        """Make `.<name>.<purpose>`, an empty file, in a folder that is there. Raises Taken, or another OSError."""
        temporary = path.with_name(f".{path.name.removeprefix('.')}.{purpose}")
        for _ in range(ATTEMPTS):
            try:
                descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, 0o666)
            except FileExistsError:
                _remove_if_left(path, temporary)
                continue
            # between the two lines above another process may have taken it for one that was left, and removed it
            if hold(descriptor, alone=True) is not False and _is(temporary, descriptor):
                return cls(path, temporary, descriptor)
            os.close(descriptor)
        raise Taken(path)

    @property
    def reachable(self) -> str:
        """A name that opens this very file, whatever has become of `temporary`."""
        own = f"/proc/self/fd/{self.descriptor}"
        return own if os.path.exists(own) else str(self.temporary)

    def publish(self, *, overwrite: bool) -> None:
        """Give the file its final name. Raises FileExistsError if there is one and it is not to be overwritten."""
        if overwrite:
            os.replace(self.temporary, self.path)
        else:
            _link(self.temporary, self.path)
        self.published = True

    def release(self) -> None:
        """Close the descriptor; a file that was not published is deleted. Safe to call again."""
        if self.descriptor < 0:
            return
        if not self.published and _is(self.temporary, self.descriptor):
            self.temporary.unlink(missing_ok=True)
        os.close(self.descriptor)
        self.descriptor = -1


@contextlib.contextmanager
def replacing(path: Path, purpose: str = "new") -> Iterator[Claim]:
    """A new file that has its final name, also another's, when the block is left without an error; else there is none.

    Raises Taken, or another OSError.
    """
    claim = Claim.take(path, purpose)
    try:
        yield claim
        claim.publish(overwrite=True)
    finally:
        claim.release()


_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC


def _remove_if_left(path: Path, temporary: Path) -> None:
    """Remove what a killed process left under a temporary name. Raises Taken if somebody holds it, or may do so."""
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_NONBLOCK | _SAFELY)
    except FileNotFoundError:
        return
    except OSError as error:
        if not temporary.is_symlink():
            raise Taken(path) from error
        temporary.unlink(missing_ok=True)  # the link itself: whatever it names is not ours
        return
    try:
        if not hold(descriptor, alone=True):
            raise Taken(path)
        if _is(temporary, descriptor):
            temporary.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """True if this name still belongs to the open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "a file of this name was made meanwhile", str(target)) from None
        os.replace(source, target)
    else:
        source.unlink()
