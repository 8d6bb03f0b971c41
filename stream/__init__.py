"""inbeam's first room: events, roles, sources and the pipeline. It knows neither processors nor sinks.

What a plug-in needs is here; see `stream/roles.py` for who calls what, and `stream/testing/` for tests to inherit.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.context import ALONE, Answer, Context, Control
    from stream.errors import BadMessage, ConfigError, CorruptPayload, InbeamError, SinkFailed, SourceLost
    from stream.events import (
        MONITOR,
        Array,
        Change,
        Detector,
        Encoding,
        EndStatus,
        Event,
        Frame,
        FrameStatus,
        Item,
        Note,
        Payload,
        Piece,
        ScanEnd,
        ScanStart,
        Update,
    )
    from stream.ledger import Ledger, Partial, Saved, Stored
    from stream.preflight import Known, Problem
    from stream.products import Axis, Field, Product, Reduction, SparseFrames
    from stream.registry import CHANGES, CHANGES_NEXT_SCAN, READS, SAME_RESULT, Options
    from stream.roles import Counters, Gatherer, Mergeable, Processor, Restorable, Resuming, Sink, Source
    from stream.work import Work

__all__ = [
    "ALONE",
    "CHANGES",
    "CHANGES_NEXT_SCAN",
    "MONITOR",
    "READS",
    "SAME_RESULT",
    "Answer",
    "Array",
    "Axis",
    "BadMessage",
    "Change",
    "ConfigError",
    "Context",
    "Control",
    "CorruptPayload",
    "Counters",
    "Detector",
    "Encoding",
    "EndStatus",
    "Event",
    "Field",
    "Frame",
    "FrameStatus",
    "Gatherer",
    "InbeamError",
    "Item",
    "Known",
    "Ledger",
    "Mergeable",
    "Note",
    "Options",
    "Partial",
    "Payload",
    "Piece",
    "Problem",
    "Processor",
    "Product",
    "Reduction",
    "Restorable",
    "Resuming",
    "Saved",
    "ScanEnd",
    "ScanStart",
    "Sink",
    "SinkFailed",
    "Source",
    "SourceLost",
    "SparseFrames",
    "Stored",
    "Update",
    "Work",
]

_HOMES = ("errors", "events", "products", "registry", "context", "ledger", "roles", "work", "preflight")
"""Modules that the names above are from, those that import little first."""


def __getattr__(name: str) -> Any:
    """A name when it is first asked for: all together take half a second, and `inbeam --help` needs none of them."""
    for module in _HOMES if name in __all__ else ():
        found = vars(import_module(f"stream.{module}"))
        if name in found:
            globals()[name] = found[name]
            return found[name]
    raise AttributeError(f"module 'stream' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
