"""What became of a frame number, and of a scan: the words that every ledger has."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType


class FrameStatus(IntEnum):
    """What became of one frame number. Every expected number has exactly one; 0 is the fill value of the ledger."""

    MISSING = 0
    """Never arrived."""
    RECEIVED = 1
    DUPLICATE = 2
    """Arrived and stored once, and sent again at least once: the later copies were not stored."""
    LATE = 3
    """Arrived after its place had been given up; patched into it."""
    CORRUPT = 4
    """Arrived, but its message or pixels cannot be decoded."""
    FAILED = 5
    """Arrived and stored, but a processor failed on it."""
    DROPPED = 6
    """Given up by a queue that was full, where the configuration allows it."""

    @property
    def has_data(self) -> bool:
        """True where the frame's results are in the file."""
        return self in (FrameStatus.RECEIVED, FrameStatus.DUPLICATE, FrameStatus.LATE)


NO_COUNTS: Mapping[FrameStatus, int] = MappingProxyType({})


class EndStatus(StrEnum):
    """How a scan ended."""

    COMPLETE = "complete"
    """The source said so."""
    DISARMED = "disarmed"
    """The source said so before it had taken all that it had announced: behind the last frame nothing is missing."""
    ABORTED = "aborted"
    """The source was lost, or a new scan began before this one had ended."""
    SILENT = "silent"
    """Nothing of it came for `run.scan_timeout_s`: if more of it comes, it goes on."""
    STOPPED = "stopped"
    """The user stopped inbeam."""

    @property
    def open_ended(self) -> bool:
        """True if frames that were announced, and lie behind the last one, are not missing: never taken, or to come."""
        return self in (EndStatus.DISARMED, EndStatus.SILENT)
