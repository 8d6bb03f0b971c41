"""What every sink that writes one file per scan has in common: naming, resume, ledger, flush, trouble.

A sink is a `FileSink` with a `Content`, which says what is in the file. The order is always: data, then the ledger's
row, then its status; so a row with a status has its data, whenever the process is killed.
"""

import contextlib
import ctypes
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from sinks.file import continued, ledger_reader, provenance, repair
from sinks.file.advice import failing, reason
from sinks.file.changes import ChangesTable
from sinks.file.columns import FlushPolicy, Rows
from sinks.file.content import Content
from sinks.file.continued import Elsewhere
from sinks.file.full_disk import layout_bytes
from sinks.file.ledger import GROUP, LedgerTable, identity_of
from sinks.file.locks import Held, Lock, Written
from sinks.file.swmr import Moved, NameTaken, SwmrFile
from sinks.file.target import FileOptions as FileOptions
from sinks.file.target import digest, earlier, new_names
from stream.context import Context
from stream.errors import SinkFailed
from stream.events import Change, Frame, FrameStatus, Item, ScanEnd, ScanStart
from stream.ledger import Stored
from stream.pipeline.recorded import changes_in
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
        self._file: SwmrFile | None = None
        self._complete: Stored | None = None
        self._policy = FlushPolicy(options.flush_frames, options.flush_ms)
        self._content: Content
        self._ledger: LedgerTable
        self._changes: ChangesTable
        self._elsewhere: Elsewhere | None = None

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
        return stored

    def _open(self, scan: ScanStart, products: Sequence[Product]) -> Stored:
        self._policy.done()
        self._complete = None
        content = self._content = self._make(scan, products)
        identity = digest(content.identity())
        held: Path | None = None
        self._elsewhere = None
        for path, found in () if self._context.again else earlier(self.options.path, scan, identity):
            self.path = path
            if found.complete:
                return self._left_alone(found)
            try:
                return self._resume(scan)
            except (Written, Held) as error:
                if self.options.if_exists == "fail":
                    raise
                if isinstance(error, Held):
                    log.warning("%s. The scan goes on in another file", error)
                    held = path
                    break
                log.warning("%s has this scan, and another process writes it: this run makes another file", path)
        self._file, self.path = self._create(scan, layout_bytes(scan, products), beside=held is not None)
        stored = Stored.nothing()
        try:
            with failing(self.path, "create"):
                self._ledger = LedgerTable(self._file, scan.channels)
                told = {"scan_uid": identity_of(scan), "layout": identity, "fingerprint": scan.fingerprint}
                self._file.layout[GROUP].attrs.update(told)
                self._ledger.announce(scan.expected)
                self._changes = ChangesTable(self._file)
                content.declare(self._file)
                self._file.rows(provenance.RESUMED, (), "S40")
                if held is not None:
                    stored = self._continue(self._file, held)
                if content.settled:
                    self._file.start(overwrite=self.options.if_exists == "overwrite")
        except SinkFailed:
            self._abandon()
            raise
        return stored

    def write(self, item: Item) -> None:
        """Take one frame, at its own number; one that the file has already is not written twice. Raises SinkFailed."""
        file = self._file
        if file is None:
            if self._complete is not None and isinstance(item, Frame):
                self._tell_of_new(item, self._complete)
            return
        try:
            if isinstance(item, Frame):
                self._write_frame(file, item)
            elif isinstance(item, Change):
                self._changes.add(item)
            else:
                self._content.update(item)
                self._policy.add()
                if self._policy.due():
                    self._flush(file)
        except Exception as error:
            raise self._failed(error) from error

    def _write_frame(self, file: SwmrFile, frame: Frame) -> None:
        if not file.started:
            self._content.settle(frame)
            if self._content.settled:
                file.start(overwrite=self.options.if_exists == "overwrite")
        if self._ledger.full:
            self._flush(file)
        if self._elsewhere is not None and self._elsewhere.has(frame.index):
            return
        if not self._ledger.status(frame.index).has_data:
            if problem := self._content.write(frame):
                frame = replace(frame, status=FrameStatus.CORRUPT, problem=problem)
            self._ledger.add(frame)
        elif frame.status is FrameStatus.DUPLICATE:
            self._ledger.add(_bare(frame))
        self._policy.add()
        if self._policy.due():
            self._flush(file)

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
        if file is not None and file.started and self._policy.due():
            try:
                self._flush(file)
            except Exception as error:
                raise self._failed(error) from error

    def finish(self, end: ScanEnd) -> None:
        """Reconcile the ledger, complete and close the file. Raises SinkFailed."""
        file = self._file
        if file is None:
            return
        content = self._content
        try:
            if not file.started:
                content.settle(None)
                file.start(overwrite=self.options.if_exists == "overwrite")
            self._flush(file)
            expected, length = self._ledger.expected(end), self._content.length
            if length > expected:
                note = f"a kill kept frames {expected} to {length - 1} from the ledger, and they did not come again"
                end = replace(end, notes=(*end.notes, note))
                expected = length
            self._content.finish(end, expected)
            if self._elsewhere is not None:  # the pipeline has counted all files of the scan together
                end = replace(end, counts={}, notes=(*end.notes, self._elsewhere.line()))
            end = replace(end, notes=(*end.notes, *self._content.notes))
            self.counts = self._ledger.finish(end, expected)
            file.check_place()
            file.close()
        except Exception as error:
            raise self._failed(error) from error
        self._file = None
        content.closed(file.path)
        if self._elsewhere is not None:
            earlier_part = file.path.parent / self._elsewhere.file
            with contextlib.suppress(SinkFailed):  # whoever held it may have closed it meanwhile
                repair.repair(earlier_part, patience_s=0)
                content.closed(earlier_part)

    def close(self) -> None:
        """Close the file of a scan that did not finish, so that it can be gone on with."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if file.started:
                self._content.flush()
                self._ledger.commit(time.time())
            file.close()
        except Exception as error:
            self._file = file
            raise self._failed(error) from error

    def _flush(self, file: SwmrFile) -> None:
        self._content.flush()
        self._ledger.commit(time.time())
        self._policy.done()
        if file.started:
            file.check_place()

    def _create(self, scan: ScanStart, room: int, *, beside: bool) -> tuple[SwmrFile, Path]:
        """A new file, under the first name that no other process is quicker to take."""
        for path in new_names(self.options, scan, beside=beside):
            overwrite = self.options.if_exists == "overwrite"
            with contextlib.suppress(NameTaken):
                return SwmrFile.create(
                    path, layout_bytes=room, alignment_bytes=self._alignment_bytes, overwrite=overwrite
                ), path
        raise SinkFailed(f"no name is free for {self.options.path}: choose another `path`")

    def _continue(self, file: SwmrFile, held: Path) -> Stored:
        """Lay down what the file that somebody holds has of the scan."""
        with repair.looked_into(held) as earlier:
            states, changes = ledger_reader.read(earlier).all_states, changes_in(earlier)
            same = ledger_reader.comparison(earlier)
        self._elsewhere = continued.declare(file.layout, file.path, held, states)
        return Stored(states, changes=changes, same=same)

    def _left_alone(self, found: repair.Found) -> Stored:
        """The file is complete, and everything that decides on its values is as it was."""
        log.info("already there, left alone: %s", self.path)
        assert self.path is not None
        self._content.closed(self.path)
        with failing(self.path, "read"), repair.looked_into(self.path) as file:
            same = ledger_reader.comparison(file)
        self._complete = Stored(found.states, complete=True, same=same)
        return self._complete

    def _resume(self, scan: ScanStart) -> Stored:
        """Go on with the file. Raises Written if another process does, else SinkFailed."""
        assert self.path is not None
        lock = Lock()
        with failing(self.path, "go on with"):
            lock.own(self.path)
        try:
            # what was found before may have been gone on with, or completed, since
            found = repair.find(self.path)
            if found is not None and found.complete:
                lock.release()
                return self._left_alone(found)
            repair.repair(self.path, lock=lock)
            file = self._file = SwmrFile.reopen(self.path, lock)
        except BaseException:
            lock.release()
            raise
        try:
            with failing(self.path, "go on with"):
                ledger = self._ledger = LedgerTable(file, scan.channels, reopened=True)
                self._elsewhere = continued.read(file.layout)
                self._changes = ChangesTable(file, reopened=True)
                self._content.reopen(file)
                changes, same = changes_in(file.layout), ledger_reader.comparison(file.layout)
                resumed = Rows(file.layout[provenance.RESUMED])
                held = ledger.with_data()
                gone = held[~self._content.present(held)]
                # nothing may be written before the file is SWMR again: a kill in between would leave it half-written
                file.start()
                ledger.drop(gone)
                ledger.reopen()
                ledger.announce(scan.expected)
                resumed.put(resumed.length, provenance.now().encode())
                resumed.flush()
        except SinkFailed:
            self._abandon()
            raise
        content = self._content
        read_back = partial(_read_back, scan, ledger, content)
        stored = ledger.stored
        if self._elsewhere is not None:
            stored = replace(stored, states=self._elsewhere.together(stored.states))
        return replace(stored, products=content.saved, changes=changes, frame=read_back, same=same)

    def _failed(self, error: Exception) -> SinkFailed:
        """Leave the file as a kill would, repaired; whatever was flushed stays."""
        if isinstance(error, Moved) and self._file is not None:
            with contextlib.suppress(SinkFailed):
                self._file.close()
                self._file = None
        self._abandon()
        if isinstance(error, SinkFailed):
            return error
        return SinkFailed(f"cannot write {self.path}: {reason(error)}")

    def _abandon(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        if not file.abandon():
            # freeing what HDF5 could not close crashes the process, also at its exit: give it one reference too many
            ctypes.pythonapi.Py_IncRef(ctypes.py_object((file, self._content, getattr(self, "_ledger", None))))
        # the cause is being reported already: what cannot be put right here is, at the next start
        if file.started and self.path is not None and self.path.exists():
            with contextlib.suppress(SinkFailed, OSError):
                repair.repair(self.path, keep_copy=False, patience_s=0)


def _read_back(scan: ScanStart, ledger: LedgerTable, content: Content, index: int) -> Frame | None:
    """One frame, as far as the file has it; None if it cannot be read (any more)."""
    try:
        found = content.read(index)
        return None if found is None else Frame(scan.uid, index, **{"payloads": {}, **ledger.times(index), **found})
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        log.warning("frame %d cannot be read back: %s", index, error)
        return None


def _bare(frame: Frame) -> Frame:
    return Frame(frame.scan, frame.index, {}, frame.received, status=FrameStatus.DUPLICATE)
