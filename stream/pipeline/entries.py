"""What goes through a lane: the items of a scan, its beginning and its end, which the lane answers."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from stream.events import Item, ScanEnd, ScanStart
from stream.ledger import Stored
from stream.products import Product


@dataclass(slots=True)
class Opening:
    """A scan to open, and the answer of the sink."""

    scan: ScanStart
    products: Sequence[Product]
    answered: threading.Event = field(default_factory=threading.Event)
    stored: Stored | None = None


@dataclass(slots=True)
class Closing:
    """The end of a scan, and that the sink has dealt with it."""

    end: ScanEnd
    answered: threading.Event = field(default_factory=threading.Event)
    kept: str = ""
    """Where the sink has the scan, in words; "" where it has no file of its own, or has failed."""
    file: Path | None = None
    """The sink's file of the scan, unless it was there already and left alone."""
    there: Path | None = None
    """The file that was left alone."""
    failed: bool = False
    """True if the sink could not take all of the scan."""


Entry: TypeAlias = Opening | Item | Closing
