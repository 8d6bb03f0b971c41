"""What the decoders of both DECTRIS protocols have in common: bytes in, events out, whatever the bytes are.

An image that comes before its start message waits for it, as long as a missing frame is waited for: messages of several
senders overtake each other. The start message of another series, an end message, and the end of all end the waiting.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stream.errors import BadMessage, Superfluous
from stream.events import EMPTY, MONITOR, Buffer, EndStatus, Event, Frame, Note, ScanStart
from stream.wire.announced import Announced
from stream.wire.early import Early, Held, Room
from stream.wire.exposure import flatten
from stream.wire.limits import DEFAULT, Limits
from stream.wire.series import GRACE_S, Series

FAULT = "internal error, please report:"


class SeriesDecoder(ABC):
    """Messages in, events out; one per source. Never raises, whatever the bytes are: see `feed`.

    monitor_key: dotted path of the incident-beam reading in an image's user data.
    source: how notes call the sender.
    identity: see `stream.wire.series.Series`.
    grace_s: how long images may come behind their end message, or before their start message.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT,
        *,
        monitor_key: str | None = None,
        source: str = "detector",
        identity: str | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._limits = limits
        self._monitor_key = monitor_key
        self._series = Series(source, identity, grace_s)
        self._grace_s = grace_s
        self._early = Room()

    @property
    def scan(self) -> ScanStart | None:
        """The scan that is open."""
        return self._series.open

    def feed(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        """The events of one message that arrived at the Unix time `received`, s. Payloads are views into `parts`.

        A message that cannot be read gives a Note, or a CORRUPT Frame if its number is known. What has waited long
        enough at that time comes first.
        """
        if not self._early and not self._series.ending:  # what is due without an end message is told by `tick`
            return self._guarded(parts, received) + self._series.remarks()
        events = self.tick(received) + self._guarded(parts, received)
        if self._early.full:
            events += self._wait_no_more()
        return events + self._series.due(received)

    def tick(self, now: float) -> list[Event]:
        """The events of what has waited long enough at the Unix time `now`, s."""
        events: list[Event] = []
        if self._early:
            since = max(self._early.since, self._series.heard) if self._series.shared else self._early.since
            if now - since >= self._grace_s:
                events = self._wait_no_more()
        events += self._series.due(now)
        if self._early and self._series.shared and (self._series.open is None or self._series.whole):
            events += self._again(self._early.take(lambda held: held.start))
        return events

    def share(self, patience_s: float) -> None:
        """The messages come from several receivers: the next start message waits until the numbers of the open scan are
        complete, or nothing of it has come for so long; and so does its end."""
        self._grace_s = self._series.grace_s = patience_s
        self._series.shared = True
        self._early.bounded = False

    @property
    def waiting(self) -> int:
        """How many messages wait for one that comes from another receiver."""
        return len(self._early)

    @property
    def start_waits(self) -> bool:
        """True if the start message of the next scan is among them."""
        return self._early.has_start

    @property
    def ending(self) -> bool:
        """True if the end message of the open scan has come, and images behind it may come still."""
        return self._series.ending

    @property
    def cut_short(self) -> bool:
        """True if that end message came before all announced images can have been taken."""
        return self._series.cut_short

    def begin(self, uid: str, header: Sequence[Sequence[Buffer]]) -> list[Event]:
        """Another receiver has got the messages that began scan `uid`: its ScanStart, and the images that have waited
        for it. Those in `header` itself the other one has."""
        self._series.resume(uid)
        found = [self._guarded(parts, time.time()) for parts in header]
        self._series.resume(None)
        events = [*found[0], *(event for each in found[1:] for event in each if not isinstance(event, Frame))]
        return [replace(event, resumed=False) if isinstance(event, ScanStart) else event for event in events]

    def close_scan(self, status: EndStatus, now: float) -> list[Event]:
        """The open scan is over, as all its receivers together know; the start message that has waited is taken."""
        return self._series.close(status) + self.tick(now)

    def wait_no_more(self) -> list[Event]:
        """Nothing that is waited for can come any more."""
        return self._wait_no_more()

    def disturbed(self) -> None:
        """The connection was lost for a while."""
        self._series.disturbed()

    def restore(self, uid: str, header: Sequence[Sequence[Buffer]]) -> list[Event]:
        """Open scan `uid` again from the messages that began it: its ScanStart, or a Note if they cannot be read."""
        self._series.resume(uid)
        events = [event for parts in header for event in self._guarded(parts, time.time())]
        self._series.resume(None)
        starts: list[Event] = [event for event in events if isinstance(event, ScanStart)]
        text = f"scan {uid} cannot be gone on with: the journal holds no readable start message"
        return starts or [self._series.note(text)]

    def finish(self, status: EndStatus) -> list[Event]:
        """Nothing more will come: end the open scan, if there is one."""
        return self._wait_no_more() + self._series.due(math.inf) + self._series.finish(status)

    @abstractmethod
    def _read(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        """The events of one message. Raises BadMessage for what cannot be read and has no frame number, Early."""

    def _announce(self, start: Announced, received: float) -> list[Event]:
        """A start message, and the images that have waited for it."""
        if self._series.must_wait(start):
            raise Early(start.series, start.unique, start=True)
        events = self._wait_no_more(lambda held: not start.same(held.series, held.unique))
        events += self._series.announce(start, received)
        return events + self._again(self._early.take())

    def _end(self, series: int, unique: str | None, received: float) -> list[Event]:
        """An end message."""
        events = self._wait_no_more(lambda held: Announced(series, unique).same(held.series, held.unique))
        return events + self._series.end(series, unique, received)

    def _readings(self, value: Any, name: str) -> Mapping[str, float]:
        """The numbers of an image's user data, the monitor's among them under its own name."""
        if value is None or value == "":
            return EMPTY
        found, whole = flatten(value, name)
        if self._monitor_key in found:
            found[MONITOR] = found[self._monitor_key]
        return self._series.known(found, whole)

    def _wait_no_more(self, which: Callable[[Held], bool] = lambda held: True) -> list[Event]:
        if not self._early:
            return []
        before, self._series.patient = self._series.patient, False
        events = self._again(self._early.take(which))
        self._series.patient = before
        return events

    def _again(self, held: Iterable[Held]) -> list[Event]:
        return [event for each in held for event in self._guarded(each.parts, each.received)]

    def _guarded(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        """The events of one message, or a Note of why there are none."""
        try:
            return self._read(parts, received)
        except Early as early:
            self._early.add(Held(early.series, early.unique, parts, received, early.start))
            return []
        except BadMessage as error:
            return [self._series.note(str(error), harmless=isinstance(error, Superfluous))]
        except Exception as error:  # a fault of ours must not end a beamtime: the fuzz run looks for this text
            return [Note(f"{FAULT} {type(error).__name__}: {error}")]
