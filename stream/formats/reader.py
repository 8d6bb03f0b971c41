"""What a kind of file has to know about itself, so that recorded and watched folders can take it.

A new kind is a module with such a reader, and its line in `stream.sources.readers`. (A new format of images is a module
beside `stream.formats.images.cbf`, and its line in `FORMATS` of `stream.formats.images.file`.)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from stream.events import Event
from stream.wire.limits import NUMBER_MAX


@dataclass(frozen=True, slots=True)
class Choice:
    """What is wanted of recorded files: options of the source `files`, which describes them."""

    dataset: str | None = None
    monitor: str | float | None = None
    monitor_per_second: bool = False
    readings: Sequence[str] | None = None
    frame_bytes: int = 1000 * 10**6
    number: Literal["position", "name"] = "position"
    pattern: str | None = None
    series: Literal["prefix", "folder"] = "prefix"
    first_number: int | None = None
    name: str | None = None
    so_far: bool = False
    part: tuple[int, int] | None = None

    def frames(self, count: int | None) -> range | None:
        """The frame numbers that are wanted of a scan of so many; None: all. Of a scan whose length is not known, the
        first part is all, and the others are nothing; the last part has what comes beyond the end."""
        if self.part is None:
            return None
        number, of = self.part
        if count is None:
            return None if number == 0 else range(0)
        last = NUMBER_MAX if number == of - 1 else (number + 1) * count // of
        return range(number * count // of, last)


@dataclass(frozen=True, slots=True)
class Recording:
    """Files that are read together. key: what they share in their names, "" if that need not be told."""

    paths: tuple[str, ...]
    key: str = ""


class Reader(Protocol):
    """One kind of file. Of the readers, the first that knows a file reads it."""

    grows: bool
    """In a watched folder: True if its files are taken while they are written (which `stream.formats.folder.recordings`
    does for HDF5), False if each is an image of a series, taken when it is whole."""

    def named(self, name: str) -> bool:
        """True if a file of this name may be of this kind, and may be taken in a watched folder, where it is judged
        before it can be read."""
        ...

    def knows(self, path: str) -> bool:
        """True if the file is of this kind: by its name, or by its first bytes. `path` may carry `::inside`."""
        ...

    def leads(self, path: str) -> bool:
        """True for a file that goes before others which come at the same time, as it may link to them."""
        ...

    def together(self, paths: Sequence[str], choice: Choice) -> Iterator[Recording]:
        """Which of these files are read together."""
        ...

    def parts(self, path: str) -> Iterable[str]:
        """Real paths of the other files whose frames come with those of this one."""
        ...

    def events(self, recording: Recording, choice: Choice) -> Iterator[Event]:
        """Every scan of a recording, from its start to its end. What cannot be read is a Note or a corrupt frame.

        Whatever it raises ends the recording, not the run.
        """
        ...

    def close(self) -> None:
        """Make `events` end soon. From another thread."""
        ...
