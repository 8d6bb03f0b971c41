"""Source `karabo`: trains of a karabo-bridge, 1.0 or 2.x, as the European XFEL and others send them."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, field_validator

from stream.context import ALONE, Context
from stream.events import EndStatus, Event
from stream.wire.karabo import Axis, Decoder, Wanted
from stream.wire.limits import Limits
from stream.wire.socket import Message, Receiver
from stream.wire.socket_options import ConnectionOptions, Kind

log = logging.getLogger("inbeam.stream")
MOST_PARTS = 16_384


class Config(ConnectionOptions):
    """Trains of a karabo-bridge. A scan begins with the first train, and ends when nothing has come for a while."""

    type: Literal["karabo"]
    socket: Literal["req", "sub", "pull"] = Field(
        "req", description="As the server has it: req for its REP (each train once, when we want it), sub, pull"
    )
    source: str = Field(
        "*", description="Name of the detector's source; with * and ? of all its modules, which are stacked by number"
    )
    key: str = Field("image.data", description="Name of the pixels in it")
    axes: tuple[Axis, ...] | None = Field(
        None,
        description="Axes of the pixels: online [modules, fs, ss, pulses], as in files [pulses, modules, ss, fs]; ss "
        "are rows, fs columns; null: [ss, fs]",
    )
    readings: Mapping[str, Annotated[tuple[str, str], Field(description="Source and key")]] | None = Field(
        None, description="Readings of each frame: name: [source, key]; an array has one for each pulse"
    )
    monitor: str | None = Field(None, description="Which of the readings is the incident beam's")
    silence_s: float = Field(10.0, gt=0, description="A scan ends after this time without a train, s")
    max_message_mb: float = Field(
        4096.0, gt=0, le=16384, description="Largest message taken, MB (10^6 bytes); 350 pulses of 1 Mpx have 1400"
    )
    high_water_mark: int = Field(2, ge=1, le=1_000_000, description="Trains that ZMQ holds for us")

    @field_validator("axes")
    @classmethod
    def _complete(cls, axes: tuple[Axis, ...] | None) -> tuple[Axis, ...] | None:
        if axes is not None and (len(set(axes)) != len(axes) or not {"ss", "fs"} <= set(axes)):
            raise ValueError("each axis once, ss and fs among them, such as [pulses, modules, ss, fs]")
        return axes

    @property
    def kind(self) -> Kind:
        """As the YAML says."""
        return self.socket

    @property
    def limits(self) -> Limits:
        """A train has a part or two for every property of every source."""
        return replace(super().limits, parts=MOST_PARTS)


def create(config: Config, context: Context = ALONE) -> "KaraboSource":
    """The source that a configuration asks for."""
    return KaraboSource(config)


class KaraboSource:
    """Messages from a Receiver through a decoder. A restart in mid-scan begins a scan of its own."""

    def __init__(self, config: Config) -> None:
        self.receiver = Receiver(config)
        wanted = Wanted(config.source, config.key, config.axes, config.readings, config.monitor)
        name = f"karabo {config.endpoint}"
        self._decoder = Decoder(config.limits, wanted, source=name, silence_s=config.silence_s)

    def events(self) -> Iterator[Event]:
        """See `stream.roles.Source`. The scan that is open when the source is closed ends as STOPPED."""
        for message in self.receiver:
            if isinstance(message, Message):
                yield from self._decoder.feed(message.parts, message.received)
            elif message is None:
                yield from self._decoder.tick(time.time())
            else:
                scan = self._decoder.scan
                log.log(logging.WARNING if message.refused or scan is not None else logging.INFO, message.text)
        yield from self._decoder.finish(EndStatus.STOPPED)

    @property
    def connection(self) -> str:
        """See `stream.roles.Connected`."""
        return self.receiver.trouble

    def close(self) -> None:
        """See `stream.roles.Source`."""
        self.receiver.close()
