"""What can be seen of an HDF5 file while it is being written: its writer, its scans, the files that belong to it."""

import os
from collections.abc import Collection
from dataclasses import replace

from stream.errors import BadMessage
from stream.formats.hdf5.locate import locate
from stream.formats.hdf5.located import Found, Located
from stream.formats.hdf5.opening import DAMAGED, MAGIC, open_hdf5
from stream.formats.hdf5.safe import MOST_FRAME_BYTES
from stream.formats.hdf5.series import growing

OPEN_FOR_SWMR = 4
UNREADY = (BadMessage, *DAMAGED)
"""What HDF5 is seen to raise on a file in the middle of a change by a writer that is not a SWMR one."""


def writer_flags(path: str) -> int:
    """The consistency flags of a version-3 superblock: 0 = closed by its writer. 0 also for older superblocks, which
    do not say. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[11] if len(head) == 12 and head[:8] == MAGIC and head[8] >= 3 else 0


def writes_swmr(path: str) -> bool:
    """True while a SWMR writer has the file open, or after it was killed. Raises OSError."""
    return bool(writer_flags(path) & OPEN_FOR_SWMR)


def look(
    path: str, dataset: str | None = None, skip: Collection[str] = (), frame_bytes: int = MOST_FRAME_BYTES
) -> Found:
    """The scans that the file has so far, but for the entries named in `skip`. Raises one of `UNREADY`."""
    with open_hdf5(path, swmr=writes_swmr(path)) as file:
        found = locate(file, dataset, skip)
        scans = [growing(file, located) for located in found.scans]
    return replace(found, scans=tuple(located for located in scans if located is not None)).bounded(frame_bytes)


def sources(path: str, located: Located) -> set[str]:
    """Real paths of all files whose frames belong to a scan."""
    parts = [part.path for parts in (*located.channels.values(), located.awaited) for part in parts]
    return {os.path.realpath(name) for name in (path, located.file, *parts)}
