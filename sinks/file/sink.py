"""What every sink that writes one file per scan has in common: which file a scan gets, new or gone on with; trouble.

A sink is a `FileSink` with a `Content`, which says what is in the file. What is written in which order is in
`sinks.file.scan_file`.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from sinks.file import ledger_reader, repair
from sinks.file.advice import failing, reason
from sinks.file.columns import FlushPolicy
from sinks.file.content import Content
from sinks.file.full_disk import layout_bytes
from sinks.file.locks import Held, Lock, Written
from sinks.file.scan_file import ScanFile
from sinks.file.swmr import Moved, NameTaken, SwmrFile
from sinks.file.target import FileOptions as FileOptions
from sinks.file.target import digest, earlier, new_names
from stream.context import Context
from stream.errors import SinkFailed
from stream.events import Frame, FrameStatus, Item, ScanEnd, ScanStart
from stream.latency import Histogram
from stream.ledger import Stored
from stream.products import Product
from stream.roles import Counters

log = logging.getLogger("inbeam")
HOLES = (FrameStatus.MISSING, FrameStatus.CORRUPT, FrameStatus.DROPPED)


class FileSink:
    """A Sink: one file per scan."""

    lane: Literal["block", "latest"] = "block"

    def __init__(
        self,
        options: FileOptions,
        context: Context,
        content: Callable[[ScanStart, Sequence[Product]], Content],
        *,
        alignment_bytes: int = 1,
    ) -> None:
        self._alignment_bytes = alignment_bytes
        self.options = options
        self.path: Path | None = None
        """The file of the current or latest scan."""
        self.counts: Mapping[FrameStatus, int] = {}
        """The reconciled ledger of the latest scan."""
        self._context = context
        self._make = content
        self._file: ScanFile | None = None
        self._complete: Stored | None = None
        self._written: set[str] = set()
        """The files of all scans of this run."""
        self._policy = FlushPolicy(options.flush_frames, options.flush_ms)
        self.visible = Histogram()
        """See `stream.roles.Timed`."""

    @property
    def writing(self) -> bool:
        """True while a scan's file is open; False also for a scan that was complete already."""
        return self._file is not None

    @property
    def at_risk(self) -> int:
        """Number of frames that a kill would lose: taken, but not flushed yet."""
        return self._policy.held

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored:
        """Open the scan's file, or go on with the one that an earlier run left unfinished. Raises SinkFailed."""
        placed = self._context.placed if self._context.placed is not None else {}
        placed.pop(self.options.path, None)
        stored = self._open(scan, products)
        if self.path is not None:
            placed[self.options.path] = self.path
            self._written.add(str(self.path))
        return stored

    def _open(self, scan: ScanStart, products: Sequence[Product]) -> Stored:
        self._policy = FlushPolicy(self.options.flush_frames, self.options.flush_ms)
        self._complete = None
        content = self._make(scan, products)
        identity = digest(content.identity())
        held: Path | None = None
        for path, found in () if self._context.again else earlier(self.options.path, scan, identity):
            self.path = path
            if found.complete:
                return self._left_alone(path, found, content)
            try:
                return self._resume(path, scan, content)
            except (Written, Held) as error:
                if self.options.if_exists == "fail":
                    raise
                if isinstance(error, Held):
                    log.warning("%s. The scan goes on in another file", error)
                    held = path
                    break
                log.warning("%s has this scan, and another process writes it: this run makes another file", path)
        made, self.path = self._create(scan, layout_bytes(scan, products), beside=held is not None)
        file = self._file = ScanFile(made, content, self._policy, self.visible)
        return self._begun(file, "create", lambda: file.declare(scan, identity, held))

    def _create(self, scan: ScanStart, room: int, *, beside: bool) -> tuple[SwmrFile, Path]:
        """A new file, under the first name that no other process is quicker to take."""
        for path in new_names(self.options, scan, beside=beside, written=self._written):
            overwrite = self.options.if_exists == "overwrite"
            with contextlib.suppress(NameTaken):
                return SwmrFile.create(
                    path, layout_bytes=room, alignment_bytes=self._alignment_bytes, overwrite=overwrite
                ), path
        raise SinkFailed(f"no name is free for {self.options.path}: choose another `path`")

    def _resume(self, path: Path, scan: ScanStart, content: Content) -> Stored:
        """Go on with the file. Raises Written or Held if others have it open, else SinkFailed."""
        lock = Lock()
        with failing(path, "go on with"):
            lock.own(path)
        try:
            # what was found before may have been gone on with, or completed, since
            found = repair.find(path)
            if found is not None and found.complete:
                lock.release()
                return self._left_alone(path, found, content)
            repair.repair(path, lock=lock)
            file = self._file = ScanFile(SwmrFile.reopen(path, lock), content, self._policy, self.visible)
        except BaseException:
            lock.release()
            raise
        return self._begun(file, "go on with", lambda: file.take_up(scan))

    def _begun(self, file: ScanFile, doing: str, begin: Callable[[], Stored]) -> Stored:
        try:
            with failing(file.path, doing):
                return begin()
        except BaseException:
            self._abandon()
            raise

    def _left_alone(self, path: Path, found: repair.Found, content: Content) -> Stored:
        """The file is complete, and everything that decides on its values is as it was."""
        log.info("already there, left alone: %s", path)
        content.closed(path)
        with failing(path, "read"), repair.looked_into(path) as file:
            same = ledger_reader.comparison(file)
        self._complete = Stored(found.states, complete=True, same=same)
        return self._complete

    def write(self, item: Item) -> None:
        """Take one frame, at its own number; one that the file has already is not written twice. Raises SinkFailed."""
        file = self._file
        if file is None:
            if self._complete is not None and isinstance(item, Frame):
                self._tell_of_new(item, self._complete)
            return
        try:
            file.write(item)
        except Exception as error:
            raise self._failed(error) from error

    def _tell_of_new(self, frame: Frame, complete: Stored) -> None:
        """A file that was complete takes no more frames: those that have been recorded since must not go unseen."""
        index, states = frame.index, complete.states
        if (index >= len(states) or states[index] in HOLES) and frame.status.has_data:
            self._complete = None
            self._context.trouble(
                f"{self.path} was complete without frame {index}, which is there now: it is not taken; move the file "
                "away, and process the scan again to have all"
            )

    def tick(self, counters: Counters) -> None:
        """Flush what is due. Raises SinkFailed."""
        file = self._file
        if file is not None and file.started:
            try:
                file.flush_if_due()
            except Exception as error:
                raise self._failed(error) from error

    def finish(self, end: ScanEnd) -> None:
        """Reconcile the ledger, complete and close the file. Raises SinkFailed."""
        file = self._file
        if file is None:
            return
        try:
            self.counts = file.finish(end)
        except Exception as error:
            raise self._failed(error) from error
        self._file = None
        file.finished()

    def close(self) -> None:
        """Close the file of a scan that did not finish, so that it can be gone on with."""
        file = self._file
        if file is None:
            return
        try:
            file.close()
        except Exception as error:
            raise self._failed(error) from error
        self._file = None

    def _failed(self, error: Exception) -> SinkFailed:
        self._abandon(moved=isinstance(error, Moved))
        if isinstance(error, SinkFailed):
            return error
        return SinkFailed(f"cannot write {self.path}: {reason(error)}")

    def _abandon(self, *, moved: bool = False) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.abandon(moved=moved)
