"""The source of both DECTRIS protocols: messages from a socket, through a decoder."""

import logging
import time
from collections.abc import Iterator, Sequence

from stream.events import EndStatus, Event, Note
from stream.wire.decoder import SeriesDecoder
from stream.wire.socket import Message, Receiver
from stream.wire.socket_options import SocketOptions

log = logging.getLogger("inbeam.stream")


class SocketSource:
    """The source of both DECTRIS protocols: messages from a Receiver through a decoder."""

    def __init__(self, options: SocketOptions, decoder: SeriesDecoder) -> None:
        self.receiver = Receiver(options)
        self.decoder = decoder
        self._restored: list[Event] = []

    def events(self) -> Iterator[Event]:
        """See `stream.roles.Source`. The scan that is open when the source is closed ends as STOPPED.

        A restored scan begins when the socket is open: one that cannot be opened yet must not end it as lost.
        """
        for message in self.receiver:
            yield from self._restored
            self._restored = []
            if isinstance(message, Message):
                yield from self.decoder.feed(message.parts, message.received)
            elif message is None:
                yield from self.decoder.tick(time.time())
            else:
                scan = self.decoder.scan
                log.log(logging.WARNING if message.refused or scan is not None else logging.INFO, message.text)
                if message.costly:
                    self.decoder.disturbed()
                if scan is not None and message.costly:
                    yield Note(message.text, scan.uid, harmless=True)  # what it cost is in the ledger
        if not self._restored:
            yield from self.decoder.finish(EndStatus.STOPPED)

    @property
    def connection(self) -> str:
        """See `stream.roles.Connected`."""
        return self.receiver.trouble

    def restore(self, uid: str, header: Sequence[Sequence[bytes]]) -> None:
        """See `stream.roles.Source`."""
        self._restored = self.decoder.restore(uid, header)

    def close(self) -> None:
        """See `stream.roles.Source`."""
        self.receiver.close()
