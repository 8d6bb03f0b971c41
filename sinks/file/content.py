"""What a file sink asks of the content of its file: one implementation for each kind of sink."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sinks.file.swmr import SwmrFile
from stream.events import Array, Frame, ScanEnd, Update
from stream.ledger import Saved


class Content(Protocol):
    """What one kind of sink keeps of one scan. Everything may raise what h5py raises."""

    def identity(self) -> Any:
        """JSON-like: what must be the same for an earlier file of this scan to be gone on with."""
        ...

    def declare(self, file: SwmrFile) -> None:
        """Lay out a new file; channels of the ledger are declared already."""
        ...

    @property
    def settled(self) -> bool:
        """True once the layout is complete; nothing can be declared after that, and readers may come."""
        ...

    def settle(self, frame: Frame | None) -> None:
        """Called for each frame until `settled`: what was not known at the start; None: no frame will come."""
        ...

    def reopen(self, file: SwmrFile) -> None:
        """Take up the datasets of a file that is there already."""
        ...

    @property
    def length(self) -> int:
        """How many frame numbers have a row, filled or not."""
        ...

    def present(self, indices: Array) -> Array:
        """bool (n,): the data of these frame numbers are in the file."""
        ...

    def write(self, frame: Frame) -> str:
        """Take one frame; holes come too. Returns why it cannot be kept, else ""."""
        ...

    def update(self, update: Update) -> None:
        """Take a piece of a product that belongs to the scan."""
        ...

    @property
    def saved(self) -> Mapping[str, Saved]:
        """What a reopened file has of the products that belong to the scan."""
        ...

    def read(self, index: int) -> Mapping[str, Any] | None:
        """What the file has of a frame: keywords of `Frame` (payloads, results, readings); None: nothing. Called from
        other threads."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be kept, one line each; asked for at the end of the scan."""
        ...

    def flush(self) -> None:
        """Make everything taken so far visible and safe."""
        ...

    def finish(self, end: ScanEnd, expected: int) -> None:
        """Extend everything to `expected` frames, write what is known only now, and flush."""
        ...

    def closed(self, path: Path) -> None:
        """The file is closed, its scan is over; also called for one that was complete before. May rewrite it."""
        ...
