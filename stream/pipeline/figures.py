"""What an operator watches over days and weeks: figures of a whole run, taken where they lie when they are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream.events import EMPTY, NO_COUNTS, FrameStatus
from stream.latency import Histogram


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """How one sink or gatherer keeps up. waiting_s: how long ago the oldest frame came that it has not taken yet."""

    name: str
    fill: float
    waiting_s: float
    given_up: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """A snapshot of a run.

    frames: what became of the frame numbers, all scans together, as far as they have been given up or have come.
    received, received_bytes: every copy that came, and its pixels as they came.
    restarts: how often the source was lost and opened again. scans: that have ended.
    """

    frames: Mapping[FrameStatus, int] = field(default_factory=lambda: NO_COUNTS)
    received: int = 0
    received_bytes: int = 0
    unusable: int = 0
    scans: int = 0
    restarts: int = 0
    connected: bool = True
    inbox_fill: float = 0.0
    lanes: tuple[LaneFigures, ...] = ()
    latencies: Mapping[str, Histogram] = field(default_factory=lambda: EMPTY)
