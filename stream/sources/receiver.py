"""Source `receiver`: one of several receivers of a detector, each with a pipeline and files of its own.

The detector gives it a part of the images; that a scan begins, and that it is over, it hears from the coordinator
(`stream.receivers.coordinator`), if the detector has told another. An image that comes before that waits.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import zmq
from pydantic import Field, field_validator

from stream import registry
from stream.context import ALONE, Context
from stream.errors import BadMessage
from stream.events import EndStatus, Event, Frame, Note, ScanEnd, ScanStart
from stream.receivers import messages
from stream.receivers.coordinator import identity
from stream.registry import Options
from stream.sources.several import Receives, options_of
from stream.wire.endpoint import check, needs_ipv6
from stream.wire.receivers import Receivers
from stream.wire.socket import Message

log = logging.getLogger("inbeam.stream")
ALONE_S = 60.0
"""How long a scan goes on of which neither the detector nor the coordinator says anything more."""
TOGETHER = 256
"""Frame numbers that are told at once."""


class Config(Options):
    """One of several receivers of a detector, each with files of its own; a coordinator tells all of start and end."""

    type: Literal["receiver"]
    of: Any = Field(description="Section as `stream` has it, of type stream2 or simplon")
    coordinator: str = Field(
        exclude=True,  # where it listens is not what a scan is gone on with by
        description="ZMQ address of the coordinator (`inbeam run --receivers`)",
    )
    coordinator_key: str | None = Field(
        None, exclude=True, description="CURVE: public half of the coordinator's key, if it is on another machine"
    )
    number: int = Field(ge=0, le=4095, description="Which receiver this is, from 0")

    @field_validator("of")
    @classmethod
    def _receiver(cls, item: Any) -> Any:
        return options_of("", item)

    @field_validator("coordinator")
    @classmethod
    def _address(cls, value: str) -> str:
        return check(value)


def create(config: Config, context: Context = ALONE) -> "ReceiverSource":
    """The source that a configuration asks for."""
    return ReceiverSource(config, context)


class ReceiverSource:
    """Messages of the detector and of the coordinator through one decoder."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        source = registry.create("stream", config.of, context)
        assert isinstance(source, Receives)
        self._config = config
        self.receivers = Receivers([source.receiver], claims=False)
        self._decoder = source.decoder
        self._decoder.share(ALONE_S)
        self._restored: list[Event] = []
        self._link: zmq.Socket[bytes]
        self._got: list[int] = []
        self._uid = ""
        self._told_end: str | None = None
        self._told_next = False

    def events(self) -> Iterator[Event]:
        """See `stream.roles.Source`. The scan that is open when the source is closed ends as STOPPED."""
        zmq_context = zmq.Context()
        try:
            self._link = zmq_context.socket(zmq.DEALER)
            self._link.setsockopt(zmq.LINGER, 0)
            self._link.setsockopt(zmq.IDENTITY, identity(self._config.number))
            if self._config.coordinator_key is not None:
                self._link.curve_serverkey = self._config.coordinator_key.encode()
                self._link.curve_publickey, self._link.curve_secretkey = zmq.curve_keypair()
            self._link.setsockopt(zmq.IPV6, int(needs_ipv6(self._config.coordinator)))
            self._link.connect(self._config.coordinator)
            yield from (self._part(event) for event in self._all_events())
        finally:
            zmq_context.destroy(linger=0)

    def _all_events(self) -> Iterator[Event]:
        decoder, receivers = self._decoder, self.receivers
        resumes = next((event.uid for event in self._restored if isinstance(event, ScanStart)), None)
        self._say(messages.packed("hello", process=f"{socket.gethostname()} {os.getpid()}", resumes=resumes))
        yield from self._noted(self._restored, own=True)
        self._restored = []
        looked = 0.0
        for found in receivers:
            now = time.monotonic()
            if found is None or decoder.waiting or now - looked > 0.05:
                looked = now
                yield from self._from_coordinator()
            if found is None:
                yield from self._noted(decoder.tick(time.time()), own=True)
            else:
                _, message = found
                if isinstance(message, Message):
                    yield from self._fed(message)
                    if decoder.waiting:
                        receivers.hold(found[0])
                else:
                    scan = decoder.scan
                    log.log(logging.WARNING if message.refused or scan is not None else logging.INFO, message.text)
                    if message.costly:
                        decoder.disturbed()
                    if scan is not None and message.costly:
                        yield Note(message.text, scan.uid, harmless=True)  # what it cost is in the ledger
            if receivers.held and not decoder.waiting:
                receivers.resume()
        yield from decoder.finish(EndStatus.STOPPED)

    def _fed(self, message: Message) -> Iterator[Event]:
        decoder = self._decoder
        for event in decoder.feed(message.parts, message.received):
            self._note(event, own=True)
            yield event
        if len(self._got) >= TOGETHER:
            self._tell()
        scan = decoder.scan
        if scan is not None and decoder.ending and self._told_end != scan.uid:
            self._told_end = scan.uid
            self._tell()
            self._say(messages.packed("end", uid=scan.uid, disarmed=decoder.cut_short))
        if decoder.start_waits and not self._told_next:
            self._told_next = True
            self._say(messages.packed("next"))

    def _note(self, event: Event, *, own: bool) -> None:
        """Tell the coordinator what it must know. own: our detector's messages have caused it."""
        if isinstance(event, ScanStart):
            self._uid, self._told_next = event.uid, False
            if own:
                self._say(messages.start(event.uid, event.expected, event.header))
        elif isinstance(event, Frame):
            self._got.append(event.index)
        elif isinstance(event, ScanEnd):
            self._tell()
            if own:
                disarmed = event.status is EndStatus.DISARMED
                self._say(messages.packed("end", uid=event.scan, disarmed=disarmed))

    def _from_coordinator(self) -> Iterator[Event]:
        decoder = self._decoder
        while True:
            try:
                told, parts = messages.unpacked(self._link.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            except BadMessage as error:
                log.warning("%s", error)
                continue
            uid = str(told.get("uid"))
            if told["say"] == "start" and (decoder.scan is None or decoder.scan.uid != uid):
                with suppress(BadMessage):
                    yield from self._noted(decoder.begin(uid, messages.header_of(told, parts)), own=False)
            elif told["say"] == "finish" and decoder.scan is not None and decoder.scan.uid == uid:
                self._tell()
                yield from self._noted(decoder.close_scan(EndStatus(told["status"]), time.time()), own=True)

    def _noted(self, events: Sequence[Event], *, own: bool) -> Iterator[Event]:
        for event in events:
            self._note(event, own=own)
            yield event
        self._tell()

    def _tell(self) -> None:
        """Which frame numbers have come."""
        if self._got:
            self._say(messages.packed("got", np.array(self._got, np.uint32).tobytes(), uid=self._uid))
        self._got.clear()

    def _say(self, message: list[bytes]) -> None:
        with suppress(zmq.Again):  # nobody coordinates any more: the scan ends by itself
            self._link.send_multipart(message, zmq.NOBLOCK)

    def _part(self, event: Event) -> Event:
        return replace(event, part=self._config.number) if isinstance(event, ScanStart) else event

    @property
    def connection(self) -> str:
        """See `stream.roles.Connected`."""
        return self.receivers.trouble

    def restore(self, uid: str, header: Sequence[Sequence[bytes]]) -> None:
        """See `stream.roles.Restorable`."""
        self._restored = self._decoder.restore(uid, header)

    def close(self) -> None:
        """See `stream.roles.Source`."""
        self.receivers.close()
