"""Which scan a message belongs to: the open one, one that waits for its first image, an older one, or none.

Both DECTRIS protocols share these rules:
- a start message ends a scan that is still open (ABORTED); the very same start message again is noted only;
- a start message that tells neither shape nor type of the images waits for the first of them;
- images without any start message (it was lost, or inbeam came late) begin a scan by themselves, unless their series
  has ended already; the start message, if it comes after all, begins the scan anew;
- while a scan is open, images of another series are noted and left out; but the third one in a row of one later series
  means that its start message was lost, and begins it;
- a number out of all proportion is left out, but the third one in a row means that many images were lost.
"""

import math
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias

import numpy as np

from stream.errors import BadMessage
from stream.events import Buffer, Detector, EndStatus, Event, Frame, FrameStatus, Note, Payload, ScanEnd, ScanStart
from stream.wire.limits import NUMBER_AHEAD, NUMBER_MAX

SAFE_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
SAFE_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
TAKES_OVER = 3
FAULT = "internal error, please report:"
Parts: TypeAlias = tuple[bytes, ...]
Reader: TypeAlias = Callable[[Sequence[Buffer], float], list[Event]]


@dataclass(frozen=True, slots=True)
class Announced:
    """What start messages, or a first image, say of a scan; None where they are silent.

    series, unique: the detector's identities of the scan; v1 has no unique one.
    """

    series: int
    unique: str | None = None
    shape: tuple[int, int] | None = None
    dtype: np.dtype[Any] | None = None
    channels: tuple[str, ...] | None = None
    expected: int | None = None
    detector: Detector = field(default_factory=Detector)
    header: tuple[Parts, ...] = ()
    has_start: bool = True
    """False if there was no start message, only images."""

    def same(self, series: int, unique: str | None) -> bool:
        """True if a message with these identities belongs to this scan."""
        if self.unique is not None and unique is not None:
            return self.unique == unique
        return self.series == series


class Series:
    """The scan that is open, and what its messages become.

    identity: base of the uids of scans that have none of their own, for recordings: the same at every reading. Without
    it these uids are random.
    """

    def __init__(self, source: str, identity: str | None = None) -> None:
        self.source = source
        self._identity = identity
        self._scans = 0
        self.open: ScanStart | None = None
        self._now: Announced | None = None
        self._waiting: Announced | None = None
        self._ended: deque[Announced] = deque(maxlen=64)
        self._highest = -1
        self._later: tuple[int, int] | None = None
        self._ahead: tuple[int, int] | None = None
        self._anywhere = False
        """True until the first image of a scan that is gone on with: it may have come any way meanwhile."""
        self._said: set[str] = set()
        self._resume: str | None = None

    def guarded(self, read: Reader, parts: Sequence[Buffer], received: float) -> list[Event]:
        """`read(parts, received)`, or a Note of why it could not."""
        try:
            return read(parts, received)
        except BadMessage as error:
            return [self.note(str(error))]
        except Exception as error:  # a fault of ours must not end a beamtime: the fuzz run looks for this text
            return [self.note(f"{FAULT} {type(error).__name__}: {error}")]

    def restored(self, feed: Reader, uid: str, header: Sequence[Sequence[Buffer]]) -> list[Event]:
        """Feed the messages that began scan `uid` in an earlier process: its ScanStart only, with that uid."""
        self._resume = uid
        events = [event for parts in header for event in feed(parts, time.time())]
        self._resume = None
        self._anywhere = self.open is not None
        starts: list[Event] = [event for event in events if isinstance(event, ScanStart)]
        return starts or [self.note(f"scan {uid} cannot be gone on with: the journal holds no readable start message")]

    def announce(self, start: Announced, received: float) -> list[Event]:
        """A start message: the events that it causes."""
        now = self._now
        if now is not None and now.same(start.series, start.unique) and _same_header(now, start):
            return [
                self.note(f"the start message of series {start.series} came again: the scan goes on", harmless=True)
            ]
        if start.shape is None or start.dtype is None or not start.channels:
            self._waiting = start
            return []
        return self._begin(start, start.shape, start.dtype, start.channels, received)

    def claim(self, series: int, unique: str | None, index: int) -> Announced | None:
        """Decide on image `index`: None if it is one of the open scan, else the scan that it begins.

        Raises BadMessage if it belongs to neither, or if its number is absurd.
        """
        now = self._now
        begins = None
        if now is None or not now.same(series, unique):
            if self._waiting is not None and self._waiting.same(series, unique):
                begins = self._waiting
            elif any(scan.same(series, unique) for scan in self._ended):
                self._stale(series, "which has ended")
            elif now is not None and not self._took_over(now, series):
                self._stale(series, f"while series {now.series} is open")
            else:
                begins = Announced(series, unique, has_start=False)
        else:
            self._later = None
        expected = (now if begins is None else begins) or Announced(series)
        bound = NUMBER_MAX
        if begins is None or expected.expected is not None:
            highest = self._highest if begins is None else -1
            bound = min(NUMBER_MAX, max(expected.expected or 0, highest + 1) + NUMBER_AHEAD)
        if index < bound:
            self._ahead = None
        elif begins is not None or index >= NUMBER_MAX or not (self._anywhere or self._leapt(index)):
            raise BadMessage(f"an image number beyond {bound}, out of all proportion to this scan: left out")
        return begins

    def start_with(
        self, begins: Announced, payloads: Mapping[str, Payload], parts: Parts, received: float
    ) -> list[Event]:
        """Begin a scan by its first image, which tells what the start message did not, if there was any."""
        first = next(iter(payloads.values()))
        start = replace(begins, header=(*begins.header, parts))
        dtype = begins.dtype or first.dtype.newbyteorder("=")
        events = self._begin(start, begins.shape or first.shape, dtype, begins.channels or tuple(payloads), received)
        if not begins.has_start:
            events.append(
                self.note(f"series {begins.series} has no start message: shape and type from its first image")
            )
        return events

    def accept(
        self, index: int, payloads: Mapping[str, Payload], received: float, time: float, monitor: float
    ) -> Frame:
        """The frame of an image of the open scan, CORRUPT if its shape or type is another than the scan's."""
        scan = self.open
        assert scan is not None
        found: dict[str, Payload] = {}
        for channel in scan.channels:
            payload = payloads.get(channel)
            if payload is None:
                return self.corrupt(index, f"channel {channel} is not in the message", received)
            if payload.shape != scan.shape or payload.dtype.newbyteorder("=") != scan.dtype:
                return self.corrupt(index, f"{channel} is {_kind(payload)}, not {_kind(scan)} as the scan", received)
            found[channel] = payload
        if index > self._highest:
            self._highest = index
        self._anywhere = False
        return Frame(scan.uid, index, found, received, time, monitor)

    def corrupt(self, index: int, problem: str, received: float, time: float = math.nan) -> Frame:
        """A hole at a known place of the open scan, with the reason."""
        assert self.open is not None
        self._highest = max(self._highest, index)
        self._anywhere = False
        return Frame(self.open.uid, index, {}, received, time, status=FrameStatus.CORRUPT, problem=problem)

    def end(self, series: int, unique: str | None) -> list[Event]:
        """An end message: ends the open scan if it is that one."""
        if self._waiting is not None and self._waiting.same(series, unique):
            self._ended.append(self._waiting)
            self._waiting = None
            return [self.note(f"series {series} ended without any image", harmless=True)]
        if self._now is None or not self._now.same(series, unique):
            return [self.note(f"the end of series {series}, which is not open", harmless=True)]
        return self.finish(EndStatus.COMPLETE)

    def finish(self, status: EndStatus, *notes: str) -> list[Event]:
        """End the open scan, if there is one."""
        if self.open is None or self._now is None:
            return []
        end = ScanEnd(self.open.uid, status, self.open.expected, notes=notes)
        self._ended.append(replace(self._now, detector=Detector(), header=()))
        self.open = self._now = None
        return [end]

    def note(self, text: str, *, harmless: bool = False) -> Note:
        """A note on the open scan. Harmless: no message, and no part of one, is left out."""
        return Note(f"{self.source}: {text}", self.open.uid if self.open is not None else None, harmless)

    def once(self, text: str) -> list[Event]:
        """A harmless note, the first time in this scan; nothing after that."""
        if text in self._said:
            return []
        self._said.add(text)
        return [self.note(text, harmless=True)]

    def _begin(
        self,
        start: Announced,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        channels: tuple[str, ...],
        received: float,
    ) -> list[Event]:
        events: list[Event] = []
        if self._now is not None:
            events += self.finish(EndStatus.ABORTED, f"no end message before series {start.series} began")
        self._scans += 1
        if start.unique is not None and SAFE_UID.fullmatch(start.unique):
            uid = start.unique if start.has_start else f"{start.unique}:headless"
        else:
            uid = f"{self._identity}#{self._scans}" if self._identity is not None else str(uuid.uuid4())
        self._now, self._waiting, self._highest, self._later = start, None, -1, None
        self._ahead, self._anywhere = None, False
        self._said.clear()
        self.open = ScanStart(
            uid=self._resume or uid,
            name=str(start.series),
            shape=shape,
            dtype=dtype,
            channels=channels,
            expected=start.expected,
            detector=start.detector,
            received=received,
            source=self.source,
            header=start.header,
            resumed=self._resume is not None,
        )
        self._resume = None
        return [*events, self.open]

    def _took_over(self, now: Announced, series: int) -> bool:
        """True at the third image in a row of a series that can only have been armed after the open one."""
        count = self._later[1] + 1 if self._later is not None and self._later[0] == series else 1
        self._later = (series, count)
        return series > now.series and count >= TAKES_OVER

    def _leapt(self, index: int) -> bool:
        """True at the third image in a row with a number far ahead: that many were lost, rather than one forged."""
        near = self._ahead is not None and 0 < abs(index - self._ahead[0]) <= NUMBER_AHEAD
        count = self._ahead[1] + 1 if self._ahead is not None and near else 1
        self._ahead = (index, count)
        return count >= TAKES_OVER

    def _stale(self, series: int, why: str) -> NoReturn:
        raise BadMessage(f"an image of series {series}, {why}: left out")


def _same_header(now: Announced, start: Announced) -> bool:
    """A unique identity says it all; without one, only the same bytes are the same start."""
    return now.has_start and (now.unique is not None or now.header[:1] == start.header[:1])


def _kind(what: Payload | ScanStart) -> str:
    return f"{what.shape[0]} x {what.shape[1]} {what.dtype.name}"
