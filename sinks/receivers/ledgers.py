"""The ledgers of several receivers as one: who has which frame, and what became of every number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sinks.file import ledger_layout, ledger_reader
from sinks.file.ledger_reader import Record
from stream.errors import SinkFailed
from stream.events import Array, EndStatus, FrameStatus

NOBODY = 65535
"""Of a frame that no receiver has anything of."""
MOST_TOLD = 10
BETTER = {
    FrameStatus.MISSING: 0,
    FrameStatus.DROPPED: 1,
    FrameStatus.CORRUPT: 2,
    FrameStatus.FAILED: 3,
    FrameStatus.LATE: 4,
    FrameStatus.RECEIVED: 4,
    FrameStatus.DUPLICATE: 4,
}
"""Whose copy counts, if several have something of a frame; of equals that of the first."""


@dataclass(frozen=True, slots=True)
class Part:
    """The file of one receiver, open."""

    path: Path
    file: Any
    record: Record

    @classmethod
    def of(cls, path: Path, file: Any) -> "Part":
        """Raises KeyError if it is none of ours."""
        return cls(path, file, ledger_reader.read(file))

    @property
    def uid(self) -> str:
        """Of its scan."""
        return str(self.file[ledger_layout.GROUP].attrs["scan_uid"])


@dataclass(frozen=True, slots=True)
class Merged:
    """owner: uint16 (n,), the part that has the frame, or NOBODY. states: uint8 (n,). copies: uint16 (n,), how many
    parts have its data. repeats: surplus copies, those within a part too. differing: frames that parts have with
    different pixels, and what is said of each."""

    owner: Array
    states: Array
    copies: Array
    repeats: int
    differing: Mapping[int, str]
    announced: int | None
    status: EndStatus
    notes: str

    @property
    def expected(self) -> int:
        """How many frame numbers the scan has."""
        return len(self.states)

    def rows_of(self, part: int) -> Array:
        """The frame numbers that count of a part, ascending."""
        return np.flatnonzero(self.owner == part)


def merge(parts: Sequence[Part]) -> Merged:
    """Raises SinkFailed if they are not of one scan."""
    if len({part.uid for part in parts}) != 1 or len({part.record.channels for part in parts}) != 1:
        raise SinkFailed(f"{', '.join(part.path.name for part in parts)} are not the parts of one scan")
    statuses = [part.record.end_status for part in parts if part.record.finished and part.record.end_status]
    status = next((each for each in _MOST_SAID if each in statuses), EndStatus.STOPPED)
    announced = max((part.record.announced for part in parts if part.record.announced is not None), default=None)
    seen = max(len(np.trim_zeros(part.record.states, "b")) for part in parts)
    length = seen if status.open_ended else max(seen, announced or 0)
    rank = np.array([BETTER[each] for each in FrameStatus], np.uint8)
    best, owner = np.zeros(length, np.uint8), np.full(length, NOBODY, np.uint16)
    states, copies = np.zeros(length, np.uint8), np.zeros(length, np.uint16)
    for number, part in enumerate(parts):
        own = np.zeros(length, np.uint8)
        own[: min(length, len(part.record.states))] = part.record.states[:length]
        better = rank[own] > best
        best[better], owner[better], states[better] = rank[own][better], number, own[better]
        copies += ledger_layout.HAS_DATA[own]
    twice = (copies > 1) & (states == FrameStatus.RECEIVED)
    states[twice] = FrameStatus.DUPLICATE
    repeats = sum(part.record.repeats for part in parts) + int(np.maximum(copies.astype(int) - 1, 0).sum())
    differing = dict(_differing(parts, owner, np.flatnonzero(copies > 1)))
    told = [*_first_of(tuple(differing.values())), *(line for part in parts for line in part.record.notes.splitlines())]
    return Merged(owner, states, copies, repeats, differing, announced, status, "\n".join(dict.fromkeys(told)))


def _differing(parts: Sequence[Part], owner: Array, numbers: Array) -> Iterator[tuple[int, str]]:
    """Of frames that several parts have: those whose bytes that came have other checksums (0: there is none)."""
    if not len(numbers):
        return
    sums = np.array(_checksums(parts, numbers))
    mine = sums[owner[numbers], np.arange(len(numbers))]
    others = ((sums != mine) & (sums != 0) & (mine != 0)).any(axis=2)
    others &= np.array([_has(part, numbers) for part in parts])
    for place in np.flatnonzero(others.any(axis=0)).tolist():
        own = parts[owner[numbers[place]]].path.name
        names = ", ".join(part.path.name for part, other in zip(parts, others[:, place], strict=True) if other)
        yield (
            int(numbers[place]),
            f"frame {numbers[place]}: {own}, which counts, and {names} have different pixels of it",
        )


def _checksums(parts: Sequence[Part], numbers: Array) -> list[Array]:
    """Of each part: uint64 (numbers, channels)."""
    found = []
    for part in parts:
        column = part.file[f"{ledger_layout.GROUP}/checksum"]
        made = np.zeros((len(numbers), *column.shape[1:]), column.dtype)
        known = numbers[numbers < column.shape[0]]
        if len(known):
            first = int(known[0])
            made[: len(known)] = column[first : int(known[-1]) + 1][known - first]
        found.append(made)
    return found


def _has(part: Part, numbers: Array) -> Array:
    states = part.record.states
    found = np.zeros(len(numbers), bool)
    inside = numbers < len(states)
    found[inside] = ledger_layout.HAS_DATA[states[numbers[inside]]]
    return found


def _first_of(told: Sequence[str]) -> Iterator[str]:
    yield from told[:MOST_TOLD]
    if len(told) > MOST_TOLD:
        yield f"so it is with {len(told) - MOST_TOLD} more frames"


def column(merged: Merged, parts: Sequence[Part], name: str) -> Array:
    """One column of the ledger, of whoever has the frame."""
    kind, fill, _ = ledger_layout.COLUMNS[name]
    inner = (len(parts[0].record.channels),) if name in ledger_layout.PER_CHANNEL else ()
    if name == "frame_number":
        return np.arange(merged.expected, dtype=kind)
    found = np.full((merged.expected, *inner), fill, kind)
    for number, part in enumerate(parts):
        rows = merged.rows_of(number)
        if name == "problem":  # 80 bytes each, and nearly all are empty
            rows = rows[~ledger_layout.HAS_DATA[merged.states[rows]]]
        if len(rows):
            first, last = int(rows[0]), int(rows[-1]) + 1
            found[rows] = part.file[f"{ledger_layout.GROUP}/{name}"][first:last][rows - first]
    return found


_MOST_SAID = (EndStatus.COMPLETE, EndStatus.DISARMED, EndStatus.ABORTED, EndStatus.STOPPED, EndStatus.SILENT)
"""What holds of the whole, if its parts ended in different ways: one of them may have been killed."""
