"""A page and the archive of the same run, with a few frames in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driven import Driven
from page_client import frame, page, scan

from sinks.archive import Config, create
from stream import Counters, Frame, FrameStatus
from stream.context import Context


@dataclass
class Recorded:
    """A page and an archive of one run, with nine frames: 4 is missing, 5 corrupt."""

    page: Driven
    archive: Any
    path: Path

    def write(self, made: Frame) -> None:
        self.archive.write(made)
        self.page.write(made)

    def flush(self) -> None:
        """As the lane does when it is time."""
        self.archive.tick(Counters())


@contextmanager
def recorded(folder: Path, **options: Any) -> Iterator[Recorded]:
    path = folder / "7_frames.h5"
    document = {"sinks": [{"type": "archive", "path": str(path)}, {"type": "page"}]}
    context = Context(document=document, placed={})
    archive = create(Config(path=str(path), flush_ms=0), context)
    begin = replace(scan(), expected=40)
    with page(context, begin, **options) as sink:
        archive.start(begin, [])
        made = Recorded(sink, archive, path)
        try:
            for index in (0, 1, 2, 3, 6, 7, 8):
                made.write(frame(index))
            made.write(replace(frame(5), payloads={}, status=FrameStatus.CORRUPT, problem="block 3 is damaged"))
            made.flush()
            yield made
        finally:
            archive.close()
