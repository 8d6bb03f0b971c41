"""The kinds of files that can be read, each with a line."""

from collections.abc import Callable, Sequence

from stream.formats.hdf5.reader import Hdf5
from stream.formats.images.reader import Images
from stream.formats.reader import Reader
from stream.sources.captures import Captures

READERS: tuple[Callable[[], Reader], ...] = (
    Images,
    Hdf5,
    Captures,
)
"""The first that knows a file reads it."""


ARRAYS = (".npy", ".npz")


def readers() -> tuple[Reader, ...]:
    """One of each, for one source."""
    return tuple(make() for make in READERS)


def reader_of(path: str, among: Sequence[Reader]) -> Reader | None:
    """The reader that knows a file, None if none does."""
    return next((reader for reader in among if reader.knows(path)), None)


def unreadable(path: str) -> str:
    """What is wrong with a file that no reader knows."""
    if path.lower().endswith(ARRAYS):
        return "is an array of NumPy, which frames are not read from: save it as a dataset of an HDF5 file"
    return "is neither an image, an HDF5 file nor a capture that can be read"


def is_input(name: str, among: Sequence[Reader]) -> bool:
    """True if a file of this name may be taken in a watched folder."""
    return not name.startswith(".") and any(reader.named(name) for reader in among)
