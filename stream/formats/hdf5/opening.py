"""Opening an HDF5 file to read, also while it is written, and what HDF5 raises on one that is damaged."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import h5py

from stream.errors import BadMessage

MAGIC = b"\x89HDF\r\n\x1a\n"
DAMAGED = (Exception,)
"""What h5py may raise on files with flipped bytes: there is no end to the list."""
CUT_OFF = re.compile(r"truncated file: eof = (\d+),.* stored_eof = (\d+)")
IN_USE = ("open for write", "locking flag")
"""What HDF5 says of a file that somebody writes, or that this process writes itself."""


def is_hdf5(path: str) -> bool:
    """True for an HDF5 file, whatever its name (also behind a user block)."""
    return bool(h5py.is_hdf5(path))


def split(name: str) -> tuple[str, str | None]:
    """`file.h5::/entry/data/data` -> file and path inside it."""
    path, sign, inside = name.partition("::")
    return path, inside if sign else None


def open_hdf5(path: str, *, swmr: bool = False) -> h5py.File:
    """Open for reading, also where the writer is at work or was killed. Raises BadMessage with what to do."""
    problem: Exception | None = None
    for mode in (True, False) if swmr else (False, True):
        try:
            return h5py.File(path, "r", swmr=mode, locking=None if mode else False)
        except FileNotFoundError as error:
            raise BadMessage(f"{path} is not there") from error
        except PermissionError as error:
            raise BadMessage(f"{path} may not be read: change its permissions") from error
        except DAMAGED as error:
            problem = problem or error
            if not mode and not any(words in str(error) for words in IN_USE):
                break  # as an SWMR reader HDF5 would read a damaged superblock again and again, for minutes
    raise BadMessage(f"{path} cannot be opened as HDF5: {_words(str(problem))}")


def _words(problem: str) -> str:
    if "file signature not found" in problem:
        return "it is no HDF5 file, or its beginning is damaged"
    if found := CUT_OFF.search(problem):
        return f"it is cut off, {found[1]} of {found[2]} bytes are there: copy it again, or wait for its writer"
    return " ".join(problem.split())


@contextmanager
def intact(path: str) -> Iterator[None]:
    """Whatever HDF5 raises on a damaged file becomes a BadMessage that names it."""
    try:
        yield
    except BadMessage:
        raise
    except DAMAGED as error:
        raise BadMessage(f"{path} is damaged: {error}") from error
