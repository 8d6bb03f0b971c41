"""Let HDF5 close a file that it can no longer write.

HDF5 closes a file only if it can write its metadata. On a full disk it cannot: the file would stay open for ever, and
its datasets crash the process when they are freed (segmentation fault with HDF5 2.0). So the descriptor that HDF5
holds is turned to a file in memory first: the file on the disk stays as a kill would have left it.
"""

import os
import resource
from typing import Any


def identity(descriptor: int) -> tuple[int, int] | None:
    """What file a descriptor belongs to, None if it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def detach(descriptor: int, opened: tuple[int, int] | None) -> None:
    """Turn the descriptor to memory, if it is still that of the file `opened` (see `identity`): a closed one may be
    somebody else's by now."""
    if opened is not None and identity(descriptor) == opened:
        with _memory(os.fstat(descriptor).st_size) as memory:
            os.dup2(memory.fileno(), descriptor, inheritable=False)


def _memory(nbytes: int) -> Any:
    """An empty file of that length in memory. Where files are limited in size (or the system has no such files):
    /dev/zero, which takes everything but cannot be truncated, so that HDF5 closes but not quite."""
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    if limited or not hasattr(os, "memfd_create"):
        return open("/dev/zero", "r+b", buffering=0)
    memory = os.fdopen(os.memfd_create("inbeam-abandoned"), "w+b")
    os.truncate(memory.fileno(), nbytes)
    return memory
