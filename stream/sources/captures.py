"""Recorded messages as a kind of recorded files: `inbeam process` plays them as the source `capture` does."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from stream.errors import SourceLost
from stream.events import Event, Note
from stream.formats.reader import Choice, Recording

if TYPE_CHECKING:
    from stream.sources.capture import CaptureSource

HDF5 = b"\x89"
"""First byte of an HDF5 file, which would begin an array of nine things."""
NUMPY = b"\x93NUMPY"
"""What an array that NumPy saved begins with; as CBOR its first byte would be an array of nineteen things."""
SUFFIXES = (".cbor", ".cbors", ".cborseq", ".zip", ".capture")


class Captures:
    """The reader of captures; see `stream.formats.reader.Reader`."""

    grows = False

    def __init__(self) -> None:
        self._source: CaptureSource | None = None

    def named(self, name: str) -> bool:
        """False: captures are not taken in watched folders."""
        return False

    def knows(self, path: str) -> bool:
        """True for a recording of messages."""
        return is_capture(path)

    def leads(self, path: str) -> bool:
        """No file of this kind links to another."""
        return False

    def together(self, paths: Sequence[str], choice: Choice) -> Iterator[Recording]:
        """Each alone."""
        return (Recording((path,)) for path in paths)

    def parts(self, path: str) -> Iterable[str]:
        """A capture has no parts."""
        return ()

    def events(self, recording: Recording, choice: Choice) -> Iterator[Event]:
        """Every scan of a capture."""
        from stream.sources.capture import CaptureSource, Config  # with every protocol: other files do without

        try:
            self._source = CaptureSource(Config(type="capture", file=Path(recording.paths[0])))
            yield from self._source.events()
        except (ValidationError, SourceLost) as error:  # it has vanished meanwhile, or is no capture after all
            yield Note(str(error))
        self._source = None

    def close(self) -> None:
        """Stop playing."""
        if self._source is not None:
            self._source.close()


def is_capture(path: str) -> bool:
    """True for a recording of messages: by its extension, or by a first byte that begins a CBOR array, map or tag."""
    base = os.path.basename(path).lower().removesuffix(".gz")
    if base.endswith(SUFFIXES):
        return True
    if "::" in path:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(len(NUMPY))
    except OSError:
        return False
    return bool(head) and 0x80 <= head[0] <= 0xDB and not head.startswith((HDF5, NUMPY))
