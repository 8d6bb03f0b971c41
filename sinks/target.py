"""Which file a scan goes into: what the user configured, and what earlier runs left behind."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from sinks import naming, recover
from stream.errors import SinkFailed
from stream.events import ScanStart
from stream.registry import Options


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


def choose(options: FileOptions, scan: ScanStart, layout: str) -> tuple[Path, recover.Found | None]:
    """The file of this very scan if an earlier run left one, else a name that is free. Raises SinkFailed."""
    for path in naming.earlier(options.path, scan):
        found = recover.find(path)
        if found is not None and (found.uid, found.layout) == (scan.uid, layout):
            return path, found
    for path in naming.numbered(naming.file_name(options.path, scan)):
        if not path.exists():
            return path, None
        found = recover.find(path)
        if found is not None and (found.uid, found.layout) == (scan.uid, layout):
            return path, found
        if options.if_exists == "overwrite":
            return path, None
        if options.if_exists == "fail":
            raise SinkFailed(f"{path} is there already and belongs to another scan: move it, or set if_exists")
    raise AssertionError("numbers do not end")
