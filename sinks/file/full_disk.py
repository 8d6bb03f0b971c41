"""Room on the disk before HDF5 needs it.

HDF5 2.0 crashes the process (segmentation fault) if a dataset is closed that it cannot write, and h5py closes datasets
all the time while a file is laid out. So the room for the layout is taken first, where a full disk is a plain error.
"""

import ctypes
import errno
import os
import resource
from collections.abc import Sequence

from stream.events import ScanStart
from stream.products import Product

LAYOUT_BYTES = 1_000_000
"""Groups, texts, and the first chunks of the ledger and of short rows: some 200 kB."""
KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE of Linux: the file does not become longer."""


def layout_bytes(scan: ScanStart, products: Sequence[Product]) -> int:
    """An upper limit for what a new file holds before its first frame."""
    detector = scan.detector
    total = sum(array.nbytes for arrays in (detector.pixel_mask, detector.flatfield) for array in arrays.values())
    for product in products:
        total += sum(values.nbytes for values in product.constants.values())
        total += sum(3 * axis.values.nbytes for axis in product.axes)
    # a channel's mask may be written twice, for the detector and for the channel
    return LAYOUT_BYTES + 2 * total


def take(descriptor: int, nbytes: int) -> None:
    """Make sure that the first `nbytes` of an open file can be written. Raises OSError (ENOSPC, EDQUOT, EFBIG)."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if resource.RLIM_INFINITY != limit < nbytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    try:
        allocate = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:
        number = errno.EOPNOTSUPP
    else:
        done = allocate(descriptor, KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(nbytes))
        number = ctypes.get_errno() if done else 0
    if number in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        found = os.fstatvfs(descriptor)
        number = errno.ENOSPC if found.f_bavail * found.f_frsize < nbytes else 0
    if number:
        raise OSError(number, os.strerror(number))


def give_back(descriptor: int) -> None:
    """What was taken beyond the end of the file is free again."""
    os.ftruncate(descriptor, os.fstat(descriptor).st_size)
