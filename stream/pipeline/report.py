"""What the user is told: rates while the scan runs, one line per scan, and whether anything was lost."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stream.events import EndStatus, Frame, FrameStatus, ScanEnd, ScanStart
from stream.latency import DETECTOR_TO_RECEIVED, RECEIVED_TO_PROCESSED, Histogram, Latencies
from stream.roles import Counters

log = logging.getLogger("inbeam")
MOST_LINES = 20
WINDOW_S, STEP_S = 2.0, 0.1
"""The rate is that over the last seconds, known from a look at so many seconds' distance."""


class Meter:
    """Counts and speeds of the running scan; the rate is that of the last second or so."""

    def __init__(self) -> None:
        self.received = 0
        self._finished = 0
        self._latency_s = 0.0
        self._window: list[tuple[float, int]] = []
        self.latencies = {DETECTOR_TO_RECEIVED: Histogram(), RECEIVED_TO_PROCESSED: Histogram()}
        """Of all frames of the run that have data."""
        self._before = {name: histogram.copy() for name, histogram in self.latencies.items()}

    def begin(self, already: int) -> None:
        """A scan begins, of which `already` frames were stored by an earlier process."""
        self._finished = already
        self._window = []
        self._before = {name: histogram.copy() for name, histogram in self.latencies.items()}

    @property
    def of_scan(self) -> Latencies:
        """How long the frames of the running scan took, as far as they came to this process."""
        return {name: histogram.since(self._before[name]) for name, histogram in self.latencies.items()}

    def finish(self, frames: Sequence[Frame]) -> None:
        """Frames are on their way to the sinks."""
        self._finished += sum(frame.status is not FrameStatus.DUPLICATE for frame in frames)
        now = time.time()
        self._latency_s = now - frames[-1].received
        travelled, processed = self.latencies.values()
        for frame in frames:
            if frame.payloads:
                processed.add(now - frame.received)
                begun = frame.absolute_time
                if begun == begun:
                    travelled.add(frame.received - begun - _exposed(frame))

    def snapshot(self, counters: Counters) -> Counters:
        """Fill in what this meter knows."""
        now, window = time.monotonic(), self._window
        if not window or now - window[-1][0] >= STEP_S:  # however many ask, and however often
            since = now - WINDOW_S
            self._window = window = [each for each in window if each[0] > since] + [(now, self._finished)]
        elapsed = now - window[0][0]
        rate = (self._finished - window[0][1]) / elapsed if elapsed > 0 else 0.0
        return replace(counters, finished=self._finished, rate=max(rate, 0.0), latency_ms=1e3 * self._latency_s)


def _exposed(frame: Frame) -> float:
    """How long after its start the exposure ended, s; 0 where that is not known."""
    for length in (frame.stop_time - frame.detector_time, frame.exposure_s):
        if length == length:
            return length
    return 0.0


@dataclass(frozen=True, slots=True)
class ScanReport:
    """How one scan ended: the reconciled counts, which sum to `expected`."""

    uid: str
    name: str
    status: EndStatus
    expected: int
    counts: Mapping[FrameStatus, int]
    repeats: int
    highest: int
    announced: int | None
    notes: tuple[str, ...]
    part: bool = False
    """Other receivers have the rest of the frames."""

    @classmethod
    def of(cls, scan: ScanStart, end: ScanEnd, *, highest: int, repeats: int) -> "ScanReport":
        """From the two boundaries of the scan and its ledger."""
        return cls(
            scan.uid,
            scan.name,
            end.status,
            end.expected,
            end.counts,
            repeats,
            highest,
            end.announced,
            end.notes,
            scan.part is not None,
        )

    @property
    def unreached(self) -> int:
        """Frame numbers that a stopped scan had not come to."""
        return self.expected - (self.highest + 1) if self.status is EndStatus.STOPPED else 0

    @property
    def lost(self) -> int:
        """Frame numbers without data. Those that a stopped scan had not reached yet are not lost."""
        return sum(self.holes(status) for status in self.counts)

    def holes(self, status: FrameStatus) -> int:
        """The lost ones with this status."""
        if status.has_data or (self.part and status is FrameStatus.MISSING):
            return 0
        return self.counts[status] - (self.unreached if status is FrameStatus.MISSING else 0)

    def line(self, kept: Sequence[str] = (), failed: Sequence[str] = ()) -> str:
        """One line: every status that occurs, its sum, the files, and the sinks that have not got all of it."""
        parts = [f"{number} {status.name.lower()}" for status, number in self.counts.items() if number]
        again = f", {self.repeats} copies sent again" if self.repeats else ""
        how = f"{self.status.value}, but not in {', '.join(failed)}" if failed else self.status.value
        text = f"scan {self.name} {how}: {' + '.join(parts) or '0'} = {self.expected} frames{again}"
        text = ", ".join(filter(None, (text, "" if self.part else reach(self.status, self.highest, self.announced))))
        return f"{text} -> {', '.join(kept)}" if kept else text


def reach(status: EndStatus, highest: int, announced: int | None) -> str:
    """How far a scan came that ended before its announced number of frames, in words; "" if it did not."""
    left = 0 if announced is None else announced - highest - 1
    so_far = f"{highest + 1} of {announced} frames"
    if left <= 0:
        return ""
    if status is EndStatus.COMPLETE:
        return f"ended by the detector after {so_far}: the last {left} may have been taken, they count as missing"
    if status is EndStatus.DISARMED:
        return f"ended by the detector after {so_far}: the others were not taken"
    return f"silent after {so_far}" if status is EndStatus.SILENT else ""


class Report:
    """Everything that went wrong in a run; decides the exit code. Told from several threads."""

    def __init__(self) -> None:
        self.scans: list[ScanReport] = []
        self.notes = 0
        """Messages and files that could not be used."""
        self._first_note = ""
        self._errors: dict[str, None] = {}
        self._problems: set[str] = set()
        self._left: tuple[int, int] = (0, 0)
        self._lock = threading.Lock()

    def add(self, scan: ScanReport) -> None:
        """A scan has ended: this is how; one that was closed for its silence may end again."""
        with self._lock:
            if self.scans and self.scans[-1].uid == scan.uid:
                del self.scans[-1]
            self.scans.append(scan)
            self._problems = set()

    def tell(self, scan: ScanReport, kept: Sequence[str], failed: Sequence[str]) -> None:
        """Every sink has done what it can for a scan. kept: where it is now; failed: sinks without all of it."""
        log.info(scan.line(kept, failed))

    @property
    def frames(self) -> dict[FrameStatus, int]:
        """What became of the frame numbers of all scans that have ended."""
        with self._lock:
            return {status: sum(scan.counts[status] for scan in self.scans) for status in FrameStatus}

    def note(self, text: str, *, harmless: bool = False) -> None:
        """The source could not use something that belongs to no frame number; counted unless it is harmless."""
        if harmless:
            log.info(text)
            return
        with self._lock:
            self.notes += 1
            count = self.notes
            self._first_note = self._first_note or text
        if count <= MOST_LINES:
            log.warning(text)
        elif count == MOST_LINES + 1:
            log.warning("further notes are counted, not shown")

    def processor_failed(self, text: str) -> None:
        """A processor cannot take a scan, or failed at its end."""
        self._error(text)

    def first_problem(self, frame: Frame) -> None:
        """Show the first few different problems of a scan; all of them are in the ledger."""
        with self._lock:
            new = frame.problem not in self._problems
            if new and len(self._problems) < MOST_LINES:
                self._problems.add(frame.problem)
            else:
                new = False
        if new:
            log.warning("frame %d %s: %s", frame.index, frame.status.name.lower(), frame.problem)

    def sink_failed(
        self, name: str, error: BaseException, consequence: Literal["stop", "left out", "next scan"]
    ) -> None:
        """A sink cannot go on."""
        words = {
            "stop": "the run stops",
            "left out": "the run goes on without it",
            "next scan": "the rest of the scan is not in it, the next one is tried again",
        }
        self._error(f"{error} ({name}: {words[consequence]})")

    def stopped_early(self, done: int, wanted: int) -> None:
        """A run over recordings was stopped when it had read so many of them to the end."""
        self._left = (wanted - done, wanted)

    def trouble(self, text: str) -> None:
        """Something of a scan could not be taken; the run goes on."""
        self._error(text)

    def run_failed(self, error: BaseException) -> None:
        """The run cannot go on."""
        self._error(f"{type(error).__name__}: {error}" if not str(error) else str(error))

    @property
    def exit_code(self) -> int:
        """0 only if nothing was lost, failed or odd."""
        return 0 if not self.summary() else 1

    @property
    def failed(self) -> bool:
        """True if something went wrong beside that the user stopped the run."""
        return bool(self._wrong())

    def summary(self) -> str:
        """One line that says what went wrong, or ""."""
        return "; ".join([*self._wrong(), *self._unread()])

    def _wrong(self) -> list[str]:
        lost = sum(scan.lost for scan in self.scans)
        parts = list(self._errors)
        if lost:
            kinds = ", ".join(
                f"{number} {status.name.lower()}"
                for status in FrameStatus
                if (number := sum(scan.holes(status) for scan in self.scans))
            )
            parts.append(f"{lost} frames without data ({kinds}): see ledger/status in the file")
        if self.notes:
            of_several = f"{self.notes} messages or files could not be used, the first: " if self.notes > 1 else ""
            parts.append(f"{of_several}{self._first_note}")
        aborted = sum(scan.status is EndStatus.ABORTED for scan in self.scans)
        if aborted:
            parts.append(f"{aborted} scans were aborted")
        silent = sum(scan.status is EndStatus.SILENT for scan in self.scans)
        if silent:
            parts.append(f"{silent} scans fell silent without an end message")
        return parts

    def _unread(self) -> list[str]:
        """What a run that was stopped has not come to."""
        files, wanted = self._left
        if not files:
            return []
        frames = sum(scan.unreached for scan in self.scans)
        begun = f", {frames} frames of one that was begun" if frames else ""
        return [f"stopped with {files} of {wanted} files left{begun}: the same command goes on with them"]

    def _error(self, text: str) -> None:
        with self._lock:
            self._errors[text] = None
        log.error(text)
