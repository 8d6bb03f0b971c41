"""One scan's file while it is being written: content, ledger, changes.

The order is always: data, then the ledger's row, then its status; so a row with a status has its data, whenever the
process is killed. Which file it is, and what follows from a failure, is the business of `sinks.file.sink`.
"""

import contextlib
import ctypes
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sinks.file import continued, ledger_reader, provenance, repair
from sinks.file.changes import ChangesTable
from sinks.file.columns import FlushPolicy, Rows
from sinks.file.content import Content
from sinks.file.continued import Elsewhere
from sinks.file.latency import LatencyTable
from sinks.file.ledger import LedgerTable
from sinks.file.ledger_layout import GROUP, identity_of
from sinks.file.swmr import SwmrFile
from stream.errors import SinkFailed
from stream.events import Change, Frame, FrameStatus, Item, ScanEnd, ScanStart
from stream.latency import RECEIVED_TO_VISIBLE, Histogram
from stream.ledger import Stored
from stream.pipeline.recorded import changes_in

log = logging.getLogger("inbeam")


class ScanFile:
    """A file that is open for writing. Begin with `declare` or `take_up`; after that, anything may raise what h5py
    raises: then `abandon` it."""

    def __init__(self, file: SwmrFile, content: Content, policy: FlushPolicy, visible: Histogram) -> None:
        """visible: of all files of the sink, how long frames took until they were safe there."""
        self._file, self._content, self._policy = file, content, policy
        self._ledger: LedgerTable
        self._changes: ChangesTable
        self._latencies: LatencyTable
        self._elsewhere: Elsewhere | None = None
        self._visible, self._visible_before = visible, visible.copy()

    @property
    def path(self) -> Path:
        """Where it is, or will be once its layout is complete."""
        return self._file.path

    @property
    def started(self) -> bool:
        """True once readers may come."""
        return self._file.started

    def declare(self, scan: ScanStart, identity: str, held: Path | None) -> Stored:
        """Lay out a new file. held: a file with the beginning of the scan, which somebody has open."""
        file = self._file
        self._ledger = LedgerTable(file, scan.channels, visible=self._visible)
        told = {"scan_uid": identity_of(scan), "layout": identity, "fingerprint": scan.fingerprint}
        file.layout[GROUP].attrs.update(told)
        self._ledger.announce(scan.expected)
        self._changes = ChangesTable(file)
        self._content.declare(file)
        self._latencies = LatencyTable(file)
        file.rows(provenance.RESUMED, (), "S40")
        stored = Stored.nothing() if held is None else self._continue(held)
        if self._content.settled:
            file.start()
        return stored

    def _continue(self, held: Path) -> Stored:
        """Lay down what the file that somebody holds has of the scan."""
        with repair.looked_into(held) as earlier:
            states, changes = ledger_reader.read(earlier).all_states, changes_in(earlier)
            same = ledger_reader.comparison(earlier)
        self._elsewhere = continued.declare(self._file.layout, self.path, held, states)
        return Stored(states, changes=changes, same=same)

    def take_up(self, scan: ScanStart) -> Stored:
        """Go on with a file that is there already."""
        file, content = self._file, self._content
        ledger = self._ledger = LedgerTable(file, scan.channels, reopened=True, visible=self._visible)
        self._elsewhere = continued.read(file.layout)
        self._changes = ChangesTable(file, reopened=True)
        self._latencies = LatencyTable(file, reopened=True)
        content.reopen(file)
        changes, same = changes_in(file.layout), ledger_reader.comparison(file.layout)
        resumed = Rows(file.layout[provenance.RESUMED])
        held = ledger.with_data()
        gone = held[~content.present(held)]
        # nothing may be written before the file is SWMR again: a kill in between would leave it half-written
        file.start()
        ledger.drop(gone)
        ledger.reopen()
        ledger.announce(scan.expected)
        resumed.put(resumed.length, provenance.now().encode())
        resumed.flush()
        stored = ledger.stored
        if self._elsewhere is not None:
            stored = replace(stored, states=self._elsewhere.together(stored.states))
        read_back = partial(_read_back, scan, ledger, content)
        return replace(stored, products=content.saved, changes=changes, frame=read_back, same=same)

    def write(self, item: Item) -> None:
        """Take one frame at its own number, unless the file has it already; a change; or a piece of a product."""
        if isinstance(item, Change):
            self._changes.add(item)
            return
        if not isinstance(item, Frame):
            self._content.update(item)
        elif not self._write_frame(item):
            return
        self._policy.add()
        self.flush_if_due()

    def _write_frame(self, frame: Frame) -> bool:
        """False if an earlier file of the scan has it."""
        if not self._file.started:
            self._content.settle(frame)
            if self._content.settled:
                self._file.start()
        if self._ledger.full:
            self._flush()
        if self._elsewhere is not None and self._elsewhere.has(frame.index):
            return False
        if not self._ledger.status(frame.index).has_data:
            if problem := self._content.write(frame):
                frame = replace(frame, status=FrameStatus.CORRUPT, problem=problem)
            self._ledger.add(frame)
        elif frame.status is FrameStatus.DUPLICATE:
            self._ledger.add(Frame(frame.scan, frame.index, {}, frame.received, status=FrameStatus.DUPLICATE))
        return True

    def flush_if_due(self) -> None:
        """Make what was taken safe, if enough has come or enough time has passed."""
        if self._policy.due():
            self._flush()

    def _flush(self) -> None:
        began = time.monotonic()
        self._content.flush()
        self._ledger.commit(time.time())
        self._policy.done(time.monotonic() - began)
        if self._file.started:
            self._file.check_place()

    def finish(self, end: ScanEnd) -> Mapping[FrameStatus, int]:
        """Reconcile the ledger, complete and close the file; gives the counts of the ledger."""
        if not self._file.started:
            self._content.settle(None)
            self._file.start()
        self._flush()
        expected, length = self._ledger.expected(end), self._content.length
        if length > expected:
            note = f"a kill kept frames {expected} to {length - 1} from the ledger, and they did not come again"
            end = replace(end, notes=(*end.notes, note))
            expected = length
        self._content.finish(end, expected)
        if self._elsewhere is not None:  # the pipeline has counted all files of the scan together
            end = replace(end, counts={}, notes=(*end.notes, self._elsewhere.line()))
        end = replace(end, notes=(*end.notes, *self._content.notes))
        visible = self._visible.since(self._visible_before)
        self._latencies.write({**end.latencies, RECEIVED_TO_VISIBLE: visible})
        counts = self._ledger.finish(end, expected)
        self._file.check_place()
        self._file.close()
        return counts

    def finished(self) -> None:
        """Once it is closed: what is to be done to this file, and to the one that it continues. Raises SinkFailed."""
        self._content.closed(self.path)
        if self._elsewhere is not None:
            earlier_part = self.path.parent / self._elsewhere.file
            with contextlib.suppress(SinkFailed):  # whoever held it may have closed it meanwhile
                repair.repair(earlier_part, patience_s=0)
                self._content.closed(earlier_part)

    def close(self) -> None:
        """Close the file of a scan that did not finish, so that it can be gone on with."""
        if self._file.started:
            self._content.flush()
            self._ledger.commit(time.time())
        self._file.close()

    def abandon(self, *, moved: bool = False) -> None:
        """After a failure: leave the file as a kill would, repaired; whatever was flushed stays.

        moved: it can still be written and closed, and somebody may look for it where it is now.
        """
        if moved:
            with contextlib.suppress(SinkFailed):
                self._file.close()
                return
        if not self._file.abandon():
            # freeing what HDF5 could not close crashes the process, also at its exit: give it one reference too many
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        # the cause is being reported already: what cannot be put right here is, at the next start
        if self._file.started and self.path.exists():
            with contextlib.suppress(SinkFailed, OSError):
                repair.repair(self.path, keep_copy=False, patience_s=0)


def _read_back(scan: ScanStart, ledger: LedgerTable, content: Content, index: int) -> Frame | None:
    """One frame, as far as the file has it; None if it does not, or if it cannot be read (any more)."""
    if not ledger.status(index).has_data:  # an earlier file has it, or none
        return None
    try:
        found = content.read(index)
        return None if found is None else Frame(scan.uid, index, **{"payloads": {}, **ledger.times(index), **found})
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        log.warning("frame %d cannot be read back: %s", index, error)
        return None
