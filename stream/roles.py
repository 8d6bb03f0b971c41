"""The three roles: who calls what, in which thread, and what it may block on or raise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stream.events import Event, Frame, ScanEnd, ScanStart
from stream.ledger import Stored
from stream.products import Product
from stream.work import Work


@dataclass(frozen=True, slots=True)
class Counters:
    """A snapshot of the running pipeline, for progress lines and monitors. Rates are frames per second."""

    scan: str = ""
    expected: int | None = None
    received: int = 0
    finished: int = 0
    rate: float = 0.0
    latency_ms: float = 0.0
    """From received to handed to the sinks, of the latest frame."""
    missing: int = 0
    duplicate: int = 0
    late: int = 0
    corrupt: int = 0
    failed: int = 0
    dropped: int = 0
    bad_messages: int = 0
    inbox_fill: float = 0.0
    """0 empty ... 1 full."""
    sink_fill: float = 0.0


@runtime_checkable
class Source(Protocol):
    """Where events come from: a socket, a folder, recorded files."""

    def events(self) -> Iterator[Event]:
        """Yield ScanStart, Frame..., ScanEnd in the order they come. Runs in the one source thread.

        May block on the network or the disk. Must parse headers only, never decode pixels. Yields a `Note`, or a
        Frame with status CORRUPT where the number is known, for a message it cannot read, and goes on. Raises
        SourceLost when opening it again may help. Ends by itself at the end of recorded data, and soon after `close`.
        """
        ...

    def restore(self, uid: str, header: Sequence[Sequence[bytes]]) -> None:
        """Before `events`: a killed process was in the middle of scan `uid`, begun by `header` (ScanStart.header).

        A socket source then yields that ScanStart first, with this uid and `resumed=True`, and takes the frames that
        follow as its own. Sources that find their scan again by themselves (recorded files) do nothing.
        """
        ...

    def close(self) -> None:
        """Make `events` end soon. Called from another thread, possibly several times; never blocks."""
        ...


@runtime_checkable
class Finite(Protocol):
    """A source that knows from the start what it will give: recorded scans."""

    @property
    def done(self) -> tuple[int, int]:
        """How many recordings have been read to their end, of how many. Read from another thread."""
        ...


@runtime_checkable
class Processor(Protocol):
    """What is done to every frame. One instance per worker: no locks needed.

    `gathers = True`: one instance in all, called in frame order behind the re-order window (maps, tomograms).
    """

    gathers: bool

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Prepare for a scan (no frame of it is processed before this returns) and declare the results.

        `work` is the bench that this chain will use for every frame: a processor may `work.put` what later ones need.
        Raises InbeamError, with what to do, if the scan cannot be processed with this configuration.
        """
        ...

    def process(self, work: Work) -> None:
        """Process `work.frame`: put arrays into `work.results[name]`. Called in the worker's thread, once per frame.

        Whatever it raises marks this frame as FAILED (CorruptPayload: CORRUPT); the scan goes on.
        """
        ...

    def finish(self, end: ScanEnd) -> None:
        """The scan is over: free what belongs to it."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where frames and results go. One thread per sink: no locks needed."""

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """Open whatever this scan needs. No frame of the scan is processed before this returns.

        Returns what an earlier, killed process had already stored of this very scan, None if nothing or not a file.
        A sink that writes a file has an attribute `path`: None means that every frame is wanted, also those that
        other files have already. If it has an attribute `writing`, False after `start` means that its file was
        complete and takes nothing more. Raises SinkFailed with what to do.
        """
        ...

    def write(self, frame: Frame) -> None:
        """Take one frame, in frame order but for late ones; holes arrive as frames without payloads. May block on
        the disk; never on a subscriber. Raises SinkFailed."""
        ...

    def tick(self, counters: Counters) -> None:
        """Called about ten times a second between frames: flush what is due, publish what is new."""
        ...

    def finish(self, end: ScanEnd) -> None:
        """Complete and close what belongs to the scan, within a second."""
        ...

    def close(self) -> None:
        """The run is over: free sockets and files, whatever state they are in. Called once, also after an error."""
        ...
