"""Which process of ours has a file in hand: a lock that readers neither see nor meet, gone with the process.

It lies on one byte far behind the end of any file and belongs to the open file (Linux: F_OFD_SETLK), so that closing
another descriptor of the same file does not lose it. `flock`, with which HDF5 lets its readers in, is another lock.
"""

import errno
import fcntl
import struct
import sys

BYTE = 1 << 62
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What a file system says that knows no locks."""
_LAYOUT = "hhqqi4x"
"""struct flock: type, whence, start, length, pid."""


def hold(descriptor: int, *, alone: bool) -> bool | None:
    """Take a file in hand, or change how. alone: nobody of ours besides (needs a descriptor open for writing).

    False if another process has it; None where that cannot be known: the caller decides what that means.
    """
    if sys.platform != "linux":
        return None
    kind = fcntl.F_WRLCK if alone else fcntl.F_RDLCK
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_LAYOUT, kind, 0, BYTE, 1, 0))
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def held(descriptor: int) -> bool:
    """True if another process of ours has this file in hand; False also where that cannot be known."""
    if sys.platform != "linux":
        return False
    asked = struct.pack(_LAYOUT, fcntl.F_WRLCK, 0, BYTE, 1, 0)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    kind: int = struct.unpack(_LAYOUT, answer)[0]
    return kind != fcntl.F_UNLCK
