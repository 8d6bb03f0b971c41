"""Read the ledger of a file (see `sinks.file.ledger_layout` for what is in it)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from sinks.file import continued
from sinks.file.continued import Elsewhere
from sinks.file.ledger_layout import GROUP, states_of
from stream.events import EndStatus, Frame, FrameStatus
from stream.ledger import States, Stored


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a scan, without the columns that only `check` needs.

    states: uint8 (n,), the status of each frame number; those behind them, up to `length`, are MISSING. expected: 0
    where it is not known yet. elsewhere: what earlier files have, if this one continues them.
    """

    states: States
    length: int
    channels: tuple[str, ...]
    expected: int
    announced: int | None
    repeats: int
    finished: bool
    end_status: EndStatus | None
    counts: Mapping[FrameStatus, int]
    notes: str
    elsewhere: Elsewhere | None = None

    @property
    def stored(self) -> Stored:
        """For the pipeline that goes on with this scan."""
        return Stored(self.all_states)

    @property
    def all_states(self) -> States:
        """Of the scan, as far as this file and those that it continues have it."""
        return self.states if self.elsewhere is None else self.elsewhere.together(self.states)

    @property
    def complete(self) -> bool:
        """True if the source said that the scan was over: nothing is to be added."""
        return self.finished and self.end_status in (EndStatus.COMPLETE, EndStatus.DISARMED)


def comparison(file: Any) -> Callable[[Frame], bool]:
    """Tells, without the file, whether the pixels of a frame are those that its ledger has the checksums of."""
    group = file[GROUP]
    channels = [str(name) for name in group.attrs["channels"]]
    checksums = group["checksum"][: len(states_of(group["status"]))]

    def same(frame: Frame) -> bool:
        if frame.index >= len(checksums):
            return True
        known = dict(zip(channels, checksums[frame.index].tolist(), strict=True))
        return all(
            not known.get(channel) or xxhash.xxh3_64_intdigest(payload.data) == known[channel]
            for channel, payload in frame.payloads.items()
        )

    return same


def read(file: Any) -> Record:
    """Read the ledger of an open h5py file. Raises KeyError if it has none."""
    group = file[GROUP]
    announced, end = int(group["announced"][0]), bytes(group["end_status"][0]).decode()
    return Record(
        states=states_of(group["status"]),
        length=int(group["status"].shape[0]),
        channels=tuple(str(name) for name in group.attrs["channels"]),
        expected=int(group["expected"][0]),
        announced=None if announced < 0 else announced,
        repeats=int(group["repeats"][0]),
        finished=bool(group["finished"][0]),
        end_status=EndStatus(end) if end else None,
        counts={status: int(group["counts"][status]) for status in FrameStatus},
        notes=bytes(group["notes"][0]).decode("utf-8", "replace"),
        elsewhere=continued.read(file),
    )
