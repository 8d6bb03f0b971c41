"""The consistency flags of an HDF5 file: whether somebody has it open to write, or was killed while he had."""

from stream.formats.hdf5.opening import MAGIC

OPEN_FOR_SWMR = 4


def writer_flags(path: str) -> int:
    """The consistency flags of a version-3 superblock: 0 = closed by its writer. 0 also for older superblocks, which
    do not say. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[11] if len(head) == 12 and head[:8] == MAGIC and head[8] >= 3 else 0


def writes_swmr(path: str) -> bool:
    """True while a SWMR writer has the file open, or after it was killed. Raises OSError."""
    return bool(writer_flags(path) & OPEN_FOR_SWMR)
