"""Image files behind gzip, bzip2 or xz: unpacked whole, so that their own check sums decide before a pixel is used."""

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from typing import IO, Any

from stream.errors import BadMessage

COMPRESSED = (".gz", ".bz2", ".xz")
MAGIC: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
IN_MEMORY = 2**28
"""Bytes of an unpacked file above which it lies on the disk, in the folder for temporary files."""
MOST_OF_ONE_IMAGE = 2**30
MOST_UNPACKED = 2**34
"""Bytes of an unpacked file at most: a small file may unpack to a thousand times its size."""


def opened(path: str) -> tuple[IO[bytes], bool]:
    """The file, at its beginning and able to seek, and whether it had to be unpacked.

    Raises BadMessage if what is packed is damaged or cut off, OSError if the file cannot be opened.
    """
    file: IO[bytes] = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    try:
        head = file.read(8)
        file.seek(0)
        unpack = next((unpack for magic, unpack in MAGIC.items() if head.startswith(magic)), None)
        if unpack is None:
            return file, False
        with file, unpack(file) as packed:
            return _unpacked(packed), True
    except BaseException:
        file.close()
        raise


def _unpacked(packed: Any) -> IO[bytes]:
    spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
    try:
        # the last read goes behind the last byte: only there is the check sum of the whole compared
        while block := packed.read(2**20):
            spool.write(block)
            if spool.tell() > MOST_UNPACKED:
                raise BadMessage(f"unpacks to more than {MOST_UNPACKED >> 30} GiB")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        spool.close()
        raise BadMessage(f"is damaged or cut off: {error}") from error
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def whole(file: IO[bytes]) -> bytes:
    """All bytes of a file that holds one image, from its beginning. Raises BadMessage if it is too large for that."""
    if file.seek(0, os.SEEK_END) > MOST_OF_ONE_IMAGE:
        raise BadMessage(f"is larger than {MOST_OF_ONE_IMAGE >> 30} GiB: no single image is")
    file.seek(0)
    return file.read()


def copied(file: IO[bytes], name: str) -> Any:
    """A temporary file of its own with that content, its name ending with `name`; gone when it is closed."""
    file.seek(0)
    copy = tempfile.NamedTemporaryFile(prefix="inbeam_", suffix=f"_{name}")  # noqa: SIM115
    shutil.copyfileobj(file, copy)
    copy.flush()
    return copy
