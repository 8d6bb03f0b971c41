"""inbeam's first room: events, roles, sources and the pipeline. It knows neither processors nor sinks."""

from stream.errors import BadMessage, ConfigError, CorruptPayload, InbeamError, SinkFailed, SourceLost
from stream.events import (
    Array,
    Detector,
    Encoding,
    EndStatus,
    Event,
    Frame,
    FrameStatus,
    Note,
    Payload,
    ScanEnd,
    ScanStart,
)
from stream.ledger import Ledger, Stored
from stream.products import Axis, Field, Product
from stream.registry import READS, Options
from stream.roles import Counters, Processor, Sink, Source
from stream.work import Work

__all__ = [
    "READS",
    "Array",
    "Axis",
    "BadMessage",
    "ConfigError",
    "CorruptPayload",
    "Counters",
    "Detector",
    "Encoding",
    "EndStatus",
    "Event",
    "Field",
    "Frame",
    "FrameStatus",
    "InbeamError",
    "Ledger",
    "Note",
    "Options",
    "Payload",
    "Processor",
    "Product",
    "ScanEnd",
    "ScanStart",
    "Sink",
    "SinkFailed",
    "Source",
    "SourceLost",
    "Stored",
    "Work",
]
