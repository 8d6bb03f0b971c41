"""The roles: who calls what, in which thread, and what it may block on or raise."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from stream.events import Event, Item, ScanEnd, ScanStart, Update
from stream.latency import Histogram
from stream.ledger import Partial, Saved, Stored
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
    file: int = 0
    """Which of the recorded files is being read, from 1; 0: there are none."""
    files: int = 0
    connection: str = ""
    """What is wrong with the source's connection, in words."""


@runtime_checkable
class Connected(Protocol):
    """A Source with somebody at the other end."""

    @property
    def connection(self) -> str:
        """What is wrong with the connection, in words, or "". From any thread."""
        ...


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
class Restorable(Protocol):
    """A Source of something that says only once what a scan is, and goes on sending while inbeam is restarted.

    Other sources (recorded files, folders) give the whole scan again, with the same uid.
    """

    def restore(self, uid: str, header: Sequence[Sequence[bytes]]) -> None:
        """Before `events`: a killed process was in the middle of scan `uid`, begun by `header` (ScanStart.header).

        The source then yields that ScanStart first, with this uid and `resumed=True`, and takes the frames that follow
        as its own.
        """
        ...


@runtime_checkable
class Processor(Protocol):
    """What is done to every frame. One instance per worker: no locks needed."""

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Prepare for a scan (no frame of it is processed before this returns) and declare the results.

        `work` is the bench that this chain will use for every frame: a processor may `work.put` what later ones need.
        Raises InbeamError, with what to do, if the scan cannot be processed with this configuration.
        """
        ...

    def process(self, work: Work) -> None:
        """Process `work.frame`: put arrays into `work.results[name]`. Called in the worker's thread, once per frame.

        Options that may change while the scan runs are those of `work.options(self.config)`, not of `self.config`.
        Whatever it raises marks this frame as FAILED (CorruptPayload: CORRUPT); the scan goes on.
        """
        ...

    def finish(self, end: ScanEnd) -> None:
        """The scan is over: free what belongs to it."""
        ...


@runtime_checkable
class NamesPixels(Protocol):
    """A Processor that says whose pixels it takes; of any other it is held that it takes those of every channel."""

    @property
    def pixels_of(self) -> Collection[str]:
        """The channels that it asks `Work.image` for in every frame of the scan that has been started."""
        ...


@runtime_checkable
class Gatherer(Protocol):
    """What is made of many frames: a map, a tomogram, a series over time. One instance, one thread: no locks needed.

    In the YAML it is a processor like any other. It has a bounded queue of its own behind the order stage, so that it
    holds up neither the archive nor the detector. Its products have fields `per="scan"`, which it fills by `Update`s.

    After a restart it begins again: every frame that has data is given to it once more (from the source if that sends
    it again, else read back from our own files). One that can go on from what is in the file is `Resuming` too.
    """

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Prepare for a scan and declare the products. `work` has what the processors before it left on their bench.

        Raises InbeamError, with what to do, if the scan cannot be gathered with this configuration.
        """
        ...

    def take(self, work: Work) -> Iterable[Update]:
        """Take `work.frame`, with the results of the processors and its pixels; holes come without either. After a kill
        a frame may have results alone.

        Frame numbers rise, but for late frames and those of a restart: what comes out must not depend on the order.
        Whatever it raises leaves this frame out: the product does not cover it, which is counted and told.
        """
        ...

    def tick(self) -> Iterable[Update]:
        """Called about ten times a second between frames: give what is due."""
        ...

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        """The scan is over: give the rest. The sinks complete their files after this."""
        ...


@runtime_checkable
class Resuming(Protocol):
    """A Gatherer whose state is what is in the file."""

    def resume(self, saved: Mapping[str, Saved]) -> Sequence[int]:
        """After `start`: take up what a killed process left. Product name -> what the file has of it; a file may hold
        pieces that are newer than what it covers. Returns the frame numbers that need not be given again."""
        ...


@runtime_checkable
class Mergeable(Protocol):
    """A Gatherer whose products can be made of those of several processes that share the frames of a scan
    (`run --receivers`, `process --dask`). One that is not is refused there before the start.

    Each process has a gatherer of its own: `ScanStart.part` is not None there, and what only the whole can be told
    (places without a frame, say) is told by `merge`.
    """

    @property
    def undivided(self) -> str:
        """Why, with these options, one process must have all frames, in words; "" if it need not."""
        ...

    def merge(self, scan: str, parts: Sequence[Mapping[str, Partial]]) -> Iterable[Update]:
        """Instead of `start` ... `finish`: product name -> what each of the processes has; the products of the whole.

        A frame may be in two parts, which have got it twice, and must not count twice. Raises InbeamError, with what
        to do, if the parts do not make a whole: then the products stay empty, and that is told.
        """
        ...


@runtime_checkable
class Sink(Protocol):
    """Where frames and results go. One thread per sink: no locks needed.

    lane: what happens when the sink is slower than the frames. "block": they wait (if it is not `required`, frames are
    given up instead, counted and told). "latest": it gets the newest only; boundaries and changes always.
    """

    lane: Literal["block", "latest"]

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored | None:
        """Open whatever this scan needs. No frame of the scan is processed before this returns.

        A sink with a file returns what an earlier, killed process had already stored of this very scan
        (`Stored.nothing()` for a new file: it wants every frame, also those that other files have). None: no file.
        Raises SinkFailed with what to do.
        """
        ...

    def write(self, item: Item) -> None:
        """Take one frame, in frame order but for late ones (holes arrive as frames without payloads), a piece of a
        product that belongs to the scan, or a change of options, which comes before every frame that it holds for.
        May block on the disk; never on a subscriber. Raises SinkFailed."""
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


@runtime_checkable
class Filing(Protocol):
    """A Sink that writes one file per scan."""

    @property
    def path(self) -> Path | None:
        """The file of the running or latest scan; None before the first."""
        ...

    @property
    def writing(self) -> bool:
        """False between scans, and where the file of a scan was complete already: it is left alone."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A Sink that knows from when on what it has taken can be seen, and cannot be lost any more."""

    @property
    def visible(self) -> Histogram:
        """From the arrival of a frame until then, of all frames of the run. From any thread."""
        ...
