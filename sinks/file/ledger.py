"""The ledger of a file while it is being written: rows, their states, and the reconciliation at the end.

Its layout is in `sinks.file.ledger_layout`.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from sinks.file.column import Column
from sinks.file.columns import Cell
from sinks.file.ledger_layout import (
    CHUNK_ROWS,
    COLUMNS,
    GROUP,
    HAS_DATA,
    NOTES_BYTES,
    PER_CHANNEL,
    PROBLEM_BYTES,
    declare,
    states_of,
)
from sinks.file.swmr import SwmrFile
from stream.events import Array, Frame, FrameStatus, ScanEnd
from stream.latency import Histogram
from stream.ledger import States, Stored

PENDING_ROWS = 1024
MOST_APART = 64
"""Rows further from each other are written apart."""
MOST_NUMBERED = 1_000_000
"""Rows that get their frame_number at a time: a detector may announce 10^9 images, and stop after a few."""


class LedgerTable:
    """The ledger of one file, being written. `add` costs no disk access; `commit` follows the flush of the data."""

    def __init__(
        self, file: SwmrFile, channels: tuple[str, ...], *, reopened: bool = False, visible: Histogram | None = None
    ) -> None:
        """visible: takes down how long frames took until they were safe."""
        self.channels = channels
        self.repeats = 0
        self._visible = visible or Histogram()
        if not reopened:
            declare(file, channels)
        group = file.layout[GROUP]
        self._columns = {name: Column(group[name]) for name in COLUMNS}
        self._cells = {name: Cell(group[name]) for name in ("committed", "expected", "announced", "repeats")}
        self._end = {name: Cell(group[name]) for name in ("end_status", "notes", "finished")}
        self._counts = group["counts"]
        found = states_of(group["status"])
        self._known = len(found)
        """No frame number from here on has a state; the rows may be many more, if that many were announced."""
        self.states: States = np.zeros(max(CHUNK_ROWS, self._known), np.uint8)
        self.states[: self._known] = found
        self.repeats = self._repeats_told = int(self._cells["repeats"].get())
        per_channel = (len(channels),)
        layout = [(name, kind, per_channel if name in PER_CHANNEL else ()) for name, (kind, _, _) in COLUMNS.items()]
        self._pending = np.zeros(PENDING_ROWS, layout)
        self._held = 0
        self._slots: dict[int, int] = {}
        self._restated: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """True if the next `add` needs a `commit` first."""
        return self._held == PENDING_ROWS or len(self._restated) >= PENDING_ROWS

    @property
    def pending(self) -> bool:
        """True if something waits for `commit`."""
        return bool(self._held or self._restated)

    @property
    def stored(self) -> Stored:
        """What the file holds, for the pipeline that goes on with it."""
        return Stored(self.states[: self._known].copy())

    def times(self, index: int) -> dict[str, float]:
        """What the ledger has of the times of a frame, for one that is read back; keywords of `Frame`."""
        names = {
            "detector_time": "detector_time",
            "stop_time": "stop_time",
            "absolute_time": "absolute_time",
            "exposure": "exposure_s",
            "received_time": "received",
        }
        return {word: float(self._columns[name].dataset[index]) for name, word in names.items()}

    def with_data(self) -> Array:
        """The frame numbers whose data should be in the file, ascending."""
        return np.flatnonzero(HAS_DATA[self.states[: self._known]])

    def expected(self, end: ScanEnd) -> int:
        """How many frame numbers the scan has, now that it is over."""
        announced = 0 if end.status.open_ended else end.announced or 0
        return max(end.expected, announced, self._length)

    def status(self, index: int) -> FrameStatus:
        """The status of a frame number as this file has it, rows waiting for `commit` included."""
        return FrameStatus(int(self.states[index])) if index < len(self.states) else FrameStatus.MISSING

    def add(self, frame: Frame) -> None:
        """Take down one frame. A DUPLICATE without payloads changes the status of its row only."""
        index = frame.index
        if frame.status is FrameStatus.DUPLICATE and not frame.payloads:
            self.repeats += 1
            if self.status(index).has_data:
                self.states[index] = frame.status
                if (slot := self._slots.get(index)) is not None:
                    self._pending["status"][slot] = frame.status
                else:
                    self._restated[index] = frame.status
            return
        slot = self._slots.setdefault(index, self._held)
        if slot == self._held:
            self._held += 1
        first, size = [0] * len(self.channels), [0] * len(self.channels)
        for position, channel in enumerate(self.channels):
            if (payload := frame.payloads.get(channel)) is not None:
                first[position], size[position] = frame.checksums.get(channel, 0), payload.nbytes
        self._pending[slot] = (
            index,
            frame.detector_time,
            frame.stop_time,
            frame.absolute_time,
            frame.exposure_s,
            frame.received,
            np.nan,
            first,
            size,
            frame.revision,
            frame.problem.encode("utf-8", "replace")[:PROBLEM_BYTES],
            frame.status,
        )
        self._reserve(index + 1)
        self._known = max(self._known, index + 1)
        self.states[index] = frame.status

    def commit(self, now: float) -> None:
        """Write what was added since the last time. The data of these frames must have been flushed before.

        now: Unix time, seconds, taken down as `on_disk_time`.
        """
        if not self.pending:
            return
        rows = self._pending[: self._held]
        rows = rows[np.argsort(rows["frame_number"], kind="stable")]
        rows["on_disk_time"] = now
        self._visible.add_all(now - rows["received_time"][HAS_DATA[rows["status"]]])
        if self._held:
            self._extend(int(rows["frame_number"][-1]) + 1)
        blocks = list(self._blocks(rows))
        for name, column in self._columns.items():
            if name == "status":
                _flush(self._columns, but="status")
            for block in blocks:
                if name != "problem" or np.any(block[name] != b""):
                    column.write(int(block["frame_number"][0]), block[name])
        for index, status in self._restated.items():
            self._columns["status"].write(index, np.array([status]))
        self._columns["status"].flush()
        self._cells["committed"].set(int(np.count_nonzero(self.states[: self._known])))
        if self.repeats != self._repeats_told:
            self._cells["repeats"].set(self.repeats)
            self._repeats_told = self.repeats
        self._held = 0
        self._slots.clear()
        self._restated.clear()

    def _blocks(self, rows: Array) -> Iterator[Array]:
        """Ascending rows as few blocks of rows that follow each other. Between them numbers are left out that another
        receiver has: their rows are blank, and are written as that once more."""
        numbers = rows["frame_number"].astype(np.int64)
        gaps = np.diff(numbers)
        if not (gaps > 1).any():
            if len(rows):
                yield rows
            return
        written = np.cumsum(self.states[numbers[0] : numbers[-1] + 1] != FrameStatus.MISSING)
        places = numbers - numbers[0]
        between = written[places[1:] - 1] - written[places[:-1]]
        breaks = np.flatnonzero((gaps > MOST_APART) | ((gaps > 1) & (between > 0))) + 1
        for block in np.split(rows, breaks):
            first, last = int(block["frame_number"][0]), int(block["frame_number"][-1])
            if last - first + 1 == len(block):
                yield block
                continue
            whole = np.empty(last - first + 1, rows.dtype)
            for name, (_, fill, _) in COLUMNS.items():
                whole[name] = fill
            whole["frame_number"] = np.arange(first, last + 1)
            whole[block["frame_number"].astype(np.int64) - first] = block
            yield whole

    def drop(self, indices: Array) -> None:
        """Rows whose data are not in the file after all: they become MISSING, to be taken again."""
        if not len(indices):
            return
        self.states[indices] = FrameStatus.MISSING
        self._columns["status"].write(0, self.states[: self._known])

    def announce(self, announced: int | None) -> None:
        """What the detector says it will send."""
        if announced is not None:
            self._cells["announced"].set(announced)
            self._cells["expected"].set(max(announced, self._length))

    def reopen(self) -> None:
        """The scan goes on: it is not finished any more."""
        self._end["finished"].set(0)

    def finish(self, end: ScanEnd, expected: int) -> dict[FrameStatus, int]:
        """Reconcile and close the ledger: every number below `expected` has one state, the counts sum to it."""
        found = np.bincount(self.states[: self._known], minlength=len(FrameStatus))
        found[FrameStatus.MISSING] += expected - self._known
        self._extend(expected)
        _flush(self._columns)
        notes = list(end.notes)
        told = {status: count for status, count in end.counts.items() if count != found[status]}
        if told:
            text = ", ".join(f"{status.name.lower()} {count}" for status, count in told.items())
            notes.append(f"the pipeline counted otherwise: {text}")
        self._counts[:] = found
        self._counts.id.flush()
        self.announce(end.announced)
        self._cells["expected"].set(expected)
        self._cells["repeats"].set(self.repeats)
        self._end["end_status"].set(end.status.value.encode())
        self._end["notes"].set("\n".join(notes).encode("utf-8", "replace")[:NOTES_BYTES])
        self._end["finished"].set(1)
        return {status: int(found[status]) for status in FrameStatus}

    @property
    def _length(self) -> int:
        return self._columns["status"].length

    def _extend(self, length: int) -> None:
        """Rows for all numbers below `length`, each with its number; flushed by the caller."""
        before = self._length
        if length > before:
            for column in self._columns.values():
                column.extend(length)
            last = min(length, before + MOST_NUMBERED)
            self._columns["frame_number"].write(before, np.arange(before, last, dtype=np.uint64))

    def _reserve(self, size: int) -> None:
        if size > len(self.states):
            grown = np.zeros(max(size, 2 * len(self.states)), np.uint8)
            grown[: len(self.states)] = self.states
            self.states = grown


def _flush(columns: Mapping[str, Column], but: str = "") -> None:
    for name, column in columns.items():
        if name != but:
            column.flush()
