"""Which file a scan goes into: what the user configured, and what earlier runs left behind."""

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from sinks.file import naming, repair
from sinks.file.ledger import identity_of
from stream.errors import SinkFailed
from stream.events import ScanStart
from stream.registry import Options

LOOKED_AT = 200
"""Of files with the same name and a number, the last ones that are asked for the scan they hold (2 ms each)."""


class FileOptions(Options):
    """The options of every file sink."""

    path: str = Field(description="File name, with {scan} {date} {time} {uid} {source} {detector}; folders are made")
    if_exists: Literal["number", "fail", "overwrite"] = Field(
        "number", description="If another scan's file has this name: append _2, _3 ...; refuse; or replace it"
    )
    flush_frames: int = Field(0, ge=0, description="Flush after this many frames; 0: by time alone")
    flush_ms: float = Field(800.0, ge=0, description="Flush once the oldest frame at risk is this old, ms")
    required: bool = Field(True, description="The run stops if this file cannot be written; false: it goes on without")

    @field_validator("path")
    @classmethod
    def _known_fields(cls, pattern: str) -> str:
        return naming.check_pattern(pattern)


def digest(identity: Any) -> str:
    """What tells two layouts apart, from what is JSON-like."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def choose(options: FileOptions, scan: ScanStart, layout: str) -> tuple[Path, repair.Found | None]:
    """The file of this very scan if an earlier run left one, else a name that is free. Raises SinkFailed."""
    path, found = look(options.path, scan, layout)
    first = naming.file_name(options.path, scan)
    if found is not None or path == first or options.if_exists == "number":
        return path, found
    if options.if_exists == "fail":
        raise SinkFailed(
            f"{first} is there already, with another scan or other settings: move it away, or set if_exists"
        )
    return first, None


def look(pattern: str, scan: ScanStart, layout: str | None = None) -> tuple[Path, repair.Found | None]:
    """The file that has this scan (in this layout, if given) and what is in it, else the first free name."""
    taken = list(itertools.takewhile(os.path.lexists, naming.numbered(naming.file_name(pattern, scan))))
    for path in (*naming.earlier(pattern, scan), *taken[: -LOOKED_AT - 1 : -1]):
        found = repair.find(path)
        if found is not None and found.uid == identity_of(scan) and layout in (None, found.layout):
            return path, found
    return next(itertools.islice(naming.numbered(naming.file_name(pattern, scan)), len(taken), None)), None
