"""What the decoders of both DECTRIS protocols have in common: bytes in, events out, whatever the bytes are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stream.events import Buffer, EndStatus, Event, ScanStart
from stream.wire.limits import DEFAULT, Limits
from stream.wire.series import Series


class SeriesDecoder(ABC):
    """Messages in, events out; one per source. Never raises, whatever the bytes are: see `feed`.

    monitor_key: dotted path of the incident-beam reading in an image's user data.
    source: how notes call the sender.
    identity: see `stream.wire.series.Series`.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT,
        *,
        monitor_key: str | None = None,
        source: str = "detector",
        identity: str | None = None,
    ) -> None:
        self._limits = limits
        self._monitor = tuple(monitor_key.split(".")) if monitor_key else ()
        self._series = Series(source, identity)

    @property
    def scan(self) -> ScanStart | None:
        """The scan that is open."""
        return self._series.open

    def feed(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        """The events of one message that arrived at the Unix time `received`, s. Payloads are views into `parts`.

        A message that cannot be read gives a Note, or a CORRUPT Frame if its number is known.
        """
        return self._series.guarded(self._read, parts, received)

    def restore(self, uid: str, header: Sequence[Sequence[Buffer]]) -> list[Event]:
        """Open scan `uid` again from the messages that began it: its ScanStart, or a Note if they cannot be read."""
        return self._series.restored(self.feed, uid, header)

    def finish(self, status: EndStatus) -> list[Event]:
        """End the open scan, if there is one."""
        return self._series.finish(status)

    @abstractmethod
    def _read(self, parts: Sequence[Buffer], received: float) -> list[Event]:
        """The events of one message. Raises BadMessage for what cannot be read and has no frame number."""
