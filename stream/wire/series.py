"""Which scan a message belongs to: the open one, one that waits for its first image, an older one, or none.

Both DECTRIS protocols share these rules:
- a start message ends a scan that is still open (ABORTED); the very same start message again is noted only;
- a start message that tells neither shape nor type of the images waits for the first of them;
- images that come behind their end message, within a grace, belong to the scan all the same: messages of several
  senders overtake each other. If all are there, nothing is awaited;
- images without any start message (it was lost, or inbeam came late) begin a scan by themselves, unless their series
  has ended already; the start message, if it comes after all, begins the scan anew. Before that they are told to wait
  for it (see `stream.wire.decoder`);
- while a scan is open, images of another series are noted and left out; but three in a row of one later series mean
  that its start message was lost, and begin it;
- a number out of all proportion is left out, but the third one in a row means that many images were lost.
"""

import math
import re
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from stream.errors import BadMessage, Superfluous
from stream.events import (
    Detector,
    EndStatus,
    Event,
    Frame,
    FrameStatus,
    Note,
    Payload,
    ScanEnd,
    ScanStart,
)
from stream.wire.announced import Announced, Parts
from stream.wire.arrivals import IN_A_ROW, Arrivals, check_first
from stream.wire.early import Early
from stream.wire.exposure import MOST_READINGS, Exposure, Known

SAFE_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
SAFE_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
GRACE_S = 0.5


class Series:
    """The scan that is open, and what its messages become.

    identity: base of the uids of scans that have none of their own, for recordings: the same at every reading. Without
    it these uids are random.
    """

    def __init__(self, source: str, identity: str | None = None, grace_s: float = GRACE_S) -> None:
        self.source = source
        self.open: ScanStart | None = None
        self.patient = True
        """Images without a start message are told to wait for it."""
        self.shared = False
        """The images come from several receivers: the scan is complete when its numbers are."""
        self.heard = 0.0
        """Unix time at which the latest image of the open scan came, s."""
        self._identity, self.grace_s = identity, grace_s
        self._scans = 0
        self._now: Announced | None = None
        self._waiting: Announced | None = None
        self._ended: deque[tuple[Announced, bool]] = deque(maxlen=64)
        """With whether all its images had come."""
        self._ending: tuple[Announced, float] | None = None
        """The end message of this series came at this time, and some of its images have not come yet."""
        self._arrivals = Arrivals(None)
        self._later: tuple[int, int] | None = None
        self._said: set[str] = set()
        self._known = Known()
        self._resume: str | None = None

    def resume(self, uid: str | None) -> None:
        """The next scan to begin is one of an earlier process, with that uid; None: it has begun, or could not."""
        self._resume, self.patient = uid, uid is None
        self._arrivals.anywhere = self.open is not None

    def disturbed(self) -> None:
        """The connection was lost: images of the open scan may be, too."""
        self._arrivals.doubtful = True

    def has(self, index: int) -> bool:
        """True if that image of the open scan has come."""
        return self._arrivals.has(index)

    def remarks(self) -> list[Event]:
        """What is odd about the images that have come, told once in a scan."""
        step = 1 if self.shared else self._arrivals.step
        if self._known.too_many:
            self._known.too_many = False
            return self.once(f"more than {MOST_READINGS} readings, or deeply nested ones: the others are left out")
        if step < 2:
            return []
        what = "every other image is missing" if step == 2 else f"only one of {step} images comes here"
        why = "another reader is probably connected: the detector shares its images among all"
        return self.once(f"{what}: {why}, so stop the others")

    @property
    def ending(self) -> bool:
        """True if an end message has come, and images behind it may come still."""
        return self._ending is not None

    def due(self, now: float) -> list[Event]:
        """End the series whose end message has come, if all its images have, or at the Unix time `now`, s."""
        if self._ending is None:
            whole = self.shared and self.open is not None and self.whole
            return self.finish(EndStatus.COMPLETE) if whole and now - self.heard >= self.grace_s else []
        ending, since = self._ending
        since = max(since, self.heard) if self.shared else since
        if now - since >= self.grace_s or (ending is self._now and self._arrivals.whole(ending.expected)):
            return self._end_waiting() or self.finish(EndStatus.COMPLETE)
        return []

    def must_wait(self, start: Announced) -> bool:
        """True if images of the open scan may still come from other receivers, when the next one is announced."""
        now = self._now
        if not self.shared or not self.patient or now is None or now.again(start) or now.same(*start.identities):
            return False
        return not self.whole

    @property
    def whole(self) -> bool:
        """True if all images that were announced have come."""
        return self._now is not None and self._arrivals.whole(self._now.expected)

    def announce(self, start: Announced, received: float) -> list[Event]:
        """A start message: the events that it causes."""
        if self._now is not None and self._now.again(start):
            return [
                self.note(f"the start message of series {start.series} came again: the scan goes on", harmless=True)
            ]
        if start.shape is None or start.dtype is None or not start.channels:
            events = self._end_waiting()
            self._waiting = replace(start, received=received)
            return events
        return self._begin(start, start.shape, start.dtype, start.channels, received)

    def claim(self, series: int, unique: str | None, index: int) -> Announced | None:
        """Decide on image `index`: None if it is one of the open scan, else the scan that it begins.

        Raises BadMessage if it belongs to neither, or if its number is absurd; Early if its start may still come.
        """
        now = self._now
        begins = None
        if now is None or not now.same(series, unique):
            if self._waiting is not None and self._waiting.same(series, unique):
                begins = self._waiting
            elif before := [whole for scan, whole in self._ended if scan.same(series, unique)]:
                if before[-1]:
                    raise Superfluous(f"an image of series {series}, which has ended with all of its images: left out")
                self._stale(series, "which has ended")
            elif now is not None and series <= now.series:
                self._stale(series, f"while series {now.series} is open")
            elif self.patient:
                count = self._later[1] + 1 if self._later is not None and self._later[0] == series else 1
                self._later = (series, count)
                raise Early(series, unique)
            elif now is not None and (self._later is None or self._later[0] != series or self._later[1] < IN_A_ROW):
                self._stale(series, f"while series {now.series} is open")
            else:
                begins = Announced(series, unique, has_start=False)
        else:
            self._later = None
        if begins is not None:
            check_first(index, begins.expected)
        elif now is not None:
            self._arrivals.check(index, now.expected)
        return begins

    def start_with(
        self, begins: Announced, payloads: Mapping[str, Payload], parts: Parts, received: float
    ) -> list[Event]:
        """Begin a scan by its first image, which tells what the start message did not, if there was any."""
        first = next(iter(payloads.values()))
        start = replace(begins, header=(*begins.header, parts))
        dtype = begins.dtype or first.dtype.newbyteorder("=")
        came = received if begins.received is None else begins.received
        events = self._begin(start, begins.shape or first.shape, dtype, begins.channels or tuple(payloads), came)
        if not begins.has_start:
            events.append(
                self.note(f"series {begins.series} has no start message: shape and type from its first image")
            )
        return events

    def accept(self, index: int, payloads: Mapping[str, Payload], received: float, exposure: Exposure) -> Frame:
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
        self._arrivals.add(index, received, exposure.start)
        self.heard = received
        return Frame(
            scan.uid,
            index,
            found,
            received,
            detector_time=exposure.start,
            stop_time=exposure.stop,
            absolute_time=exposure.absolute,
            exposure_s=exposure.real,
            readings=exposure.readings,
        )

    def known(self, readings: dict[str, float], whole: bool) -> Mapping[str, float]:
        """Of the readings of an image those that the scan has room for."""
        return self._known.those(readings, whole)

    def corrupt(self, index: int, problem: str, received: float, time: float = math.nan) -> Frame:
        """A hole at a known place of the open scan, with the reason."""
        assert self.open is not None
        self._arrivals.add(index, received, time)
        self.heard = received
        return Frame(self.open.uid, index, {}, received, time, status=FrameStatus.CORRUPT, problem=problem)

    def end(self, series: int, unique: str | None, received: float) -> list[Event]:
        """An end message: ends its series as soon as all its images are there, or later: see `due`."""
        ending = next((each for each in (self._waiting, self._now) if each and each.same(series, unique)), None)
        if ending is None:
            return [self.note(f"the end of series {series}, which is not open", harmless=True)]
        if self._ending is None or self._ending[0] is not ending:
            self._ending = (ending, received)
        return self.due(received)

    def finish(self, status: EndStatus, *notes: str) -> list[Event]:
        """End the open scan, if there is one: in this way, unless its end message has come."""
        if self.open is None or self._now is None:
            return []
        announced = self.open.expected
        if self._ending is not None and self._ending[0] is self._now:
            status, notes = EndStatus.DISARMED if self.cut_short else EndStatus.COMPLETE, ()
            self._ending = None
        elif self.shared and self.whole and status is EndStatus.ABORTED:
            status, notes = EndStatus.COMPLETE, ()  # the end message went to a receiver that is gone
        end = ScanEnd(self.open.uid, status, announced, notes=notes)
        self._ended.append((replace(self._now, detector=Detector(), header=()), self.whole))
        self.open = self._now = None
        return [end]

    def close(self, status: EndStatus) -> list[Event]:
        """End the open scan in this way, whatever has come of it here."""
        if self._ending is not None and self._ending[0] is self._now:
            self._ending = None
        return self.finish(status)

    @property
    def cut_short(self) -> bool:
        """True if the end message came before all announced images can have been taken."""
        scan, ending = self.open, self._ending
        if scan is None or ending is None or ending[0] is not self._now:
            return False
        return self._arrivals.cut_short(scan.expected, scan.detector.frame_time_s, ending[1])

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
        ended_at = None
        if self._ending is not None and self._ending[0] is self._waiting and start.same(*self._waiting.identities):
            (_, ended_at), self._ending = self._ending, None
        events = self._end_waiting()
        events += self.finish(EndStatus.ABORTED, f"no end message before series {start.series} began")
        self._ending = None if ended_at is None else (start, ended_at)
        self._scans += 1
        if start.unique is not None and SAFE_UID.fullmatch(start.unique):
            uid = start.unique if start.has_start else f"{start.unique}:headless"
        else:
            uid = f"{self._identity}#{self._scans}" if self._identity is not None else str(uuid.uuid4())
        self._now, self._waiting, self._later = start, None, None
        self._arrivals = Arrivals(received if self._resume is None else None)
        self._said.clear()
        self._known = Known()
        self.open = ScanStart(
            uid=self._resume or uid,
            name=start.name or str(start.series),
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

    def _end_waiting(self) -> list[Event]:
        """The series that waits for its first image has ended without any, if its end message has come."""
        if self._waiting is None or self._ending is None or self._ending[0] is not self._waiting:
            return []
        series = self._waiting.series
        self._ended.append((self._waiting, False))
        self._waiting = self._ending = None
        return [self.note(f"series {series} ended without any image", harmless=True)]

    def _stale(self, series: int, why: str) -> NoReturn:
        raise BadMessage(f"an image of series {series}, {why}: left out")


def _kind(what: Payload | ScanStart) -> str:
    return f"{what.shape[0]} x {what.shape[1]} {what.dtype.name}"
