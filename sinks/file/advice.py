"""What can go wrong with a file, told so that the reader knows what to do."""

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from stream.errors import SinkFailed

ADVICE: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOSPC: "the disk is full: free space and start again, the scan goes on where this file ends",
        errno.EDQUOT: "the quota is used up: free space and start again, the scan goes on where this file ends",
        errno.EFBIG: "the file size limit is reached: raise it and start again, the scan goes on where this file ends",
        errno.EROFS: "the file system is read-only: choose another `path`",
        errno.EACCES: "no permission to write here: choose another `path` or correct the permissions",
        errno.EPERM: "no permission to write here: choose another `path` or correct the permissions",
        errno.ENOENT: "the folder is gone: was it moved, deleted or unmounted?",
        errno.EAGAIN: "the file is opened by someone else: close it there, or choose another `path`",
        errno.EIO: "the disk reports an input/output error: look at the machine's log",
        errno.ESTALE: "the network file system lost the file: is it still mounted?",
    }
)


def absent(path: Path) -> str:
    """Why there is no file of this name to be read, in words; "" where there is one."""
    if path.is_dir():
        return f"{path} is a folder, not a file"
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {path.readlink()}, which is not there"
    return "" if path.exists() else f"{path} is not there (looked from {Path.cwd()}): correct the path"


def foreign(path: Path, wanted: str, error: Exception) -> str:
    """What to say of a file that lacks what it should have. wanted: what it should be, such as "a file of inbeam"."""
    text = " ".join(str(error).split())
    if lacks := re.search(r"object '([^']+)' doesn't exist|can't locate attribute: '([^']+)'", text):
        text = f"it has no {lacks[1] or lacks[2]!r}"
    elif isinstance(error, KeyError) or "name parameter cannot be an empty string" in text:
        text = "it lacks what such a file has"
    return f"{path} is not {wanted}: {text}"


@contextlib.contextmanager
def failing(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn what h5py and the system raise into SinkFailed that names the file and says what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise SinkFailed(f"cannot {doing} {path}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """The cause of an h5py or system error in one line, with advice where there is one."""
    number = getattr(error, "errno", None)
    found = re.search(r"errno = (\d+)", str(error))
    if found:
        number = int(found[1])
    if number is None and ("unable to lock" in str(error) or "already open" in str(error)):
        number = errno.EAGAIN
    return ADVICE.get(number or 0) or str(error).replace("\n", " ")
