"""What can be seen of an HDF5 file while it is being written: its writer, its scans, the files that belong to it."""

import os
from collections.abc import Collection
from dataclasses import replace

from stream.errors import BadMessage
from stream.formats.hdf5.flags import writes_swmr
from stream.formats.hdf5.locate import locate
from stream.formats.hdf5.located import Found, Located
from stream.formats.hdf5.opening import DAMAGED, open_hdf5
from stream.formats.hdf5.safe import MOST_FRAME_BYTES
from stream.formats.hdf5.series import growing

UNREADY = (BadMessage, *DAMAGED)
"""What HDF5 is seen to raise on a file in the middle of a change by a writer that is not a SWMR one."""


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
