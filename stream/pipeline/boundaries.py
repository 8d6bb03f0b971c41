"""Which scan is open: the one place that knows, for the source's events and for the clock.

A scan that falls silent is closed, so that its files are complete, but it is not over: a pause between two triggers may
be longer than any time-out. It sleeps until another scan begins; a frame that comes before that wakes it, and its files
are gone on with, as after a restart. The source never hears of this.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from stream.events import EndStatus, Frame, ScanEnd, ScanStart

Item: TypeAlias = ScanStart | Frame | ScanEnd
LEFT_BEHIND_S = 30.0
"""How long a scan is waited for that an earlier process left behind: its last messages may have gone to that one."""
SWALLOWED = (
    "nothing of it has come since inbeam was started again: what was missing then, the end message too, may have gone "
    "to the process before"
)


class Boundaries:
    """The scan that is open. Not locked: its caller is. `now` is the time of a monotonic clock, seconds."""

    def __init__(self, silence_s: float | None, now: float) -> None:
        """silence_s: after this long without any event a scan is put to sleep; None: never."""
        self.ended = 0
        """Scans that have ended, however; one that sleeps is among them until it wakes. One that an earlier process has
        left behind, and of which nothing has come since, is not."""
        self._left_behind = False
        self._counted = True
        """The scan that sleeps is among those that have ended."""
        self._silence_s = silence_s
        self._heard = now
        self._open: ScanStart | None = None
        self._asleep: ScanStart | None = None

    @property
    def open(self) -> str | None:
        """uid of the scan that has begun and not ended, None while it sleeps."""
        return self._open.uid if self._open is not None else None

    def heard(self, now: float) -> None:
        """The source has given an event, and it has been taken."""
        self._heard = now

    def take(self, event: Item) -> tuple[Sequence[Item], str]:
        """What an event of the source means: what is to be passed on, and what is to be noted, or ""."""
        if isinstance(event, ScanStart):
            return self._begin(event)
        if self._asleep is not None and event.scan == self._asleep.uid:
            self._open, self._asleep = replace(self._asleep, resumed=True), None
            self.ended -= self._counted
            return (self._open, *self.take(event)[0]), ""
        if self._open is None or event.scan != self._open.uid:
            kind = "frame" if isinstance(event, Frame) else "end"
            return (), f"a {kind} of scan {event.scan}, which is not open, was left out"
        if isinstance(event, Frame) or event.status in (EndStatus.COMPLETE, EndStatus.DISARMED):
            self._left_behind = False
        if isinstance(event, ScanEnd):
            if self._left_behind and event.status is EndStatus.STOPPED:
                event = replace(event, status=EndStatus.SILENT, notes=(*event.notes, SWALLOWED))
            self._close()
        return (event,), ""

    def fall_asleep(self, now: float) -> tuple[ScanEnd, str] | None:
        """The end of a scan of which nothing has been heard for too long, and what is to be said of it."""
        scan, limit, left = self._open, self._silence_s, self._left_behind
        if left:
            limit = min(limit or LEFT_BEHIND_S, LEFT_BEHIND_S)
        if scan is None or limit is None or now - self._heard <= limit:
            return None
        self._counted = not left
        self._close()
        self._asleep = scan
        why = SWALLOWED if left else f"no message for {limit:g} s, and no end message"
        text = f"scan {scan.uid}: {why}; its files are closed until more comes"
        return ScanEnd(scan.uid, EndStatus.SILENT, scan.expected, notes=(SWALLOWED,) if left else ()), text

    def _begin(self, start: ScanStart) -> tuple[Sequence[Item], str]:
        before = self._open
        if before is not None:
            self._close()
        self._open, self._asleep, self._left_behind = start, None, start.resumed
        if before is None:
            return (start,), ""
        note = f"scan {before.uid}: a new scan began before its end message"
        return (ScanEnd(before.uid, EndStatus.ABORTED), start), note

    def _close(self) -> None:
        self._open = None
        self.ended += not self._left_behind
        self._left_behind = False
