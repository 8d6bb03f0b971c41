"""Source `capture`: recorded messages, made by `inbeam capture` or by others, as fast as the pipeline takes them."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from stream.context import ALONE, Context
from stream.errors import BadMessage, SourceLost
from stream.events import EndStatus, Event, Note, ScanStart
from stream.fingerprint import of_files
from stream.registry import Options
from stream.wire import simplon, stream2
from stream.wire.capture import Protocol, Reader, protocol_of
from stream.wire.decoder import SeriesDecoder
from stream.wire.limits import megabytes


class Config(Options):
    """A file of recorded messages: a capture, or a foreign recording (see `stream.wire.capture`)."""

    type: Literal["capture"]
    file: Path = Field(description="The recording: .cbors as `inbeam capture` writes it, also as .gz or .zip")
    protocol: Literal["auto", "simplon", "stream2"] = Field("auto", description="auto: as its first message says")
    max_message_mb: float = Field(1024.0, gt=0, le=16384, description="Largest message taken, MB (10^6 bytes)")
    monitor_key: str | None = Field(
        None, description="Reading of an image's user data that is the incident beam's, such as beam.i0"
    )

    def reads(self) -> list[str]:
        """The recording."""
        return [str(self.file)]

    @field_validator("file")
    @classmethod
    def _exists(cls, value: Path) -> Path:
        if not value.is_file():
            raise ValueError(f"{value} is not there (looked from {Path.cwd()})")
        return value


def create(config: Config, context: Context = ALONE) -> "CaptureSource":
    """The source that a configuration asks for."""
    return CaptureSource(config)


class CaptureSource:
    """Plays a recording into the pipeline. Frames carry the arrival times of the recording, where it has them."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._closed = threading.Event()

    def events(self) -> Iterator[Event]:
        """See `stream.roles.Source`. A scan without its end message ends as ABORTED, or STOPPED after `close`."""
        config = self._config
        reader = Reader(config.file, megabytes(config.max_message_mb))
        decoder: SeriesDecoder | None = None
        recording = of_files([str(config.file)], config.monitor_key)
        try:
            for item in reader:
                if self._closed.is_set():
                    break
                if isinstance(item, str):
                    yield Note(item, decoder.scan.uid if decoder is not None and decoder.scan is not None else None)
                    continue
                if decoder is None:
                    decoder = self._decoder(reader.about.protocol, item.parts)
                if decoder is None:
                    yield Note(f"{config.file}: a message that is neither SIMPLON stream v1 nor stream2")
                    continue
                started = reader.about.started
                recorded = started is not None and item.arrival_s is not None
                received = started + item.arrival_s if recorded else time.time()  # type: ignore[operator]
                for event in decoder.feed(item.parts, received):
                    yield replace(event, fingerprint=recording) if isinstance(event, ScanStart) else event
        except (OSError, BadMessage) as error:
            raise SourceLost(f"cannot read {config.file}: {error}") from error
        if decoder is not None:
            yield from decoder.finish(EndStatus.STOPPED if self._closed.is_set() else EndStatus.ABORTED)

    def close(self) -> None:
        """See `stream.roles.Source`."""
        self._closed.set()

    def _decoder(self, said: Protocol, parts: Sequence[memoryview]) -> SeriesDecoder | None:
        config = self._config
        protocol = config.protocol if config.protocol != "auto" else said
        if protocol == "unknown":
            protocol = protocol_of(parts)
        if protocol == "unknown":
            return None
        limits, name = megabytes(config.max_message_mb), f"{protocol} {config.file}"
        told: dict[str, Any] = {"monitor_key": config.monitor_key, "identity": f"file:{config.file.resolve()}"}
        if protocol == "simplon":
            return simplon.Decoder(limits, source=name, thresholds=None, **told)
        return stream2.Decoder(limits, source=name, **told)
