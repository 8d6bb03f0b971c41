"""Source `several`: receivers of one detector, merged into one scan by its identity.

A DECTRIS detector pushes: each of N connections gets every N-th image, the start and the end message reach only one of
them. Two connections to one detector, for two network cards, and detectors that share a series, are the same thing. A
scan is complete when its numbers are, whoever got them; an end message that overtakes images, and the start message of
the next scan, wait until they are there or nothing of the scan has come for `patience_s`. A receiver whose connection
is lost leaves holes and is told, the others go on.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field, ValidationError, field_validator

from stream import registry, wording
from stream.context import ALONE, Context
from stream.events import EndStatus, Event, Note
from stream.preflight import Known, Problem
from stream.registry import Options
from stream.wire.decoder import SeriesDecoder
from stream.wire.receivers import Receivers
from stream.wire.socket import Message, Receiver
from stream.wire.socket_options import ConnectionOptions

log = logging.getLogger("inbeam.stream")
MERGED = ("stream2", "simplon")


@runtime_checkable
class Receives(Protocol):
    """A source that is a receiver and a decoder."""

    receiver: Receiver
    decoder: SeriesDecoder


class Config(Options):
    """Several receivers of one detector, merged into one scan."""

    type: Literal["several"]
    sources: tuple[Any, ...] = Field(
        min_length=1, max_length=64, description="Sections as `stream` has them, all of type stream2 or all simplon"
    )
    patience_s: float = Field(
        5.0, gt=0, description="A scan with frames still missing ends when nothing of it has come for this long, s"
    )

    @field_validator("sources")
    @classmethod
    def _receivers(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        made = tuple(options_of(f"[{place}]", item) for place, item in enumerate(items))
        kinds = {each.model_dump()["type"] for each in made}
        if len(kinds) > 1:
            raise ValueError(f"receivers of one detector speak one protocol: these are {' and '.join(sorted(kinds))}")
        return made

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Those of every receiver."""
        for place, each in enumerate(self.sources):
            for option, text in each.preflight(known):
                yield f"sources[{place}].{option}", text


def options_of(place: str, item: Any) -> ConnectionOptions:
    """The options of a receiver, from its section. Raises ValueError."""
    if isinstance(item, ConnectionOptions):
        return item
    kind = item.get("type") if isinstance(item, dict) else None
    if kind not in MERGED:
        raise ValueError(f"{place}: receivers of type {' or '.join(MERGED)} can be merged, not {wording.shown(kind)}")
    model = registry.model("stream", kind)
    try:
        made = model.model_validate(item)
    except ValidationError as error:
        told = "; ".join(f"{place}{inner}: {text}" for inner, text in wording.problems(error, item, model))
        raise ValueError(told) from error
    assert isinstance(made, ConnectionOptions)
    return made


def create(config: Config, context: Context = ALONE) -> "SeveralSource":
    """The source that a configuration asks for."""
    return SeveralSource(config, context)


class SeveralSource:
    """Messages of all receivers through one decoder."""

    def __init__(self, config: Config, context: Context = ALONE) -> None:
        made: list[Receives] = []
        for options in config.sources:
            source = registry.create("stream", options, context)
            assert isinstance(source, Receives)
            made.append(source)
        self.receivers = Receivers([each.receiver for each in made])
        self._decoder = made[0].decoder
        self._decoder.share(config.patience_s)
        self._restored: list[Event] = []

    def events(self) -> Iterator[Event]:
        """See `stream.roles.Source`. The scan that is open when the source is closed ends as STOPPED."""
        decoder, receivers = self._decoder, self.receivers
        for found in receivers:
            yield from self._restored
            self._restored = []
            if found is None:
                yield from decoder.tick(time.time())
            else:
                receiver, message = found
                if isinstance(message, Message):
                    before = decoder.waiting
                    yield from decoder.feed(message.parts, message.received)
                    if decoder.waiting > before:
                        receivers.hold(receiver)
                else:
                    scan = decoder.scan
                    log.log(logging.WARNING if message.refused or scan is not None else logging.INFO, message.text)
                    if message.costly:
                        decoder.disturbed()
                    if scan is not None and message.costly:
                        yield Note(message.text, scan.uid, harmless=True)  # what it cost is in the ledger
            if receivers.held:
                if receivers.all_held:
                    yield from decoder.wait_no_more()
                if not decoder.waiting:
                    receivers.resume()
        if not self._restored:
            yield from decoder.finish(EndStatus.STOPPED)

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
