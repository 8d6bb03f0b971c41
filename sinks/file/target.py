"""Which file a scan goes into: what the user configured, and what earlier runs left behind."""

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from sinks.file import naming, places, repair
from sinks.file.ledger_layout import identity_of
from sinks.file.locks import is_written
from stream.errors import SinkFailed
from stream.events import ScanStart
from stream.fingerprint import differ
from stream.preflight import Known, Problem
from stream.registry import Options

log = logging.getLogger("inbeam")

LOOKED_AT = 200
"""Of files with the same name and a number, the last ones that are asked for the scan they hold (2 ms each)."""


class FileOptions(Options):
    """The options of every file sink."""

    path: str = Field(
        description="File name, with {scan} {date} {time} {uid} {source} {detector} {user.KEY}; folders are made"
    )
    if_exists: Literal["number", "fail", "overwrite"] = Field(
        "number",
        description="If another scan's file has this name: append _2, _3 ...; refuse; or replace it, if inbeam "
        "made it and nobody writes it, nor this run reads it or has written it",
    )
    flush_frames: int = Field(0, ge=0, description="Flush after this many frames; 0: by time alone")
    flush_ms: float = Field(
        800.0,
        ge=0,
        description="Flush at the latest when the oldest frame at risk is this old, ms; sooner while it costs little",
    )
    required: bool = Field(True, description="The frames wait for this file; false: they do not, and it may lack some")
    on_failure: Literal["next_scan", "stop"] | None = Field(
        None,
        description="If the file cannot be written (disk full, folder gone): try again with the next scan; or stop the "
        "run (if it is not required: leave it out from then on). null: next_scan in `run`, stop in `process`",
    )

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A place where nothing may be written."""
        sinks = known.config.sinks
        before = sinks[: next((number for number, options in enumerate(sinks) if options is self), 0)]
        earlier = [options.path for options in before if isinstance(options, FileOptions)]
        return places.problems(self.path, self.if_exists == "overwrite", earlier, known)

    @field_validator("path")
    @classmethod
    def _known_fields(cls, pattern: str) -> str:
        return naming.check_pattern(pattern)


def digest(identity: Any) -> str:
    """What tells two layouts apart, from what is JSON-like."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def new_names(
    options: FileOptions, scan: ScanStart, *, beside: bool = False, written: Iterable[str] = ()
) -> Iterator[Path]:
    """Names for a new file, the best first: others may be quicker to take one. Raises SinkFailed if none may be used.

    `if_exists: overwrite` holds for the first name only, for a file of ours that nobody writes just now. beside: the
    first part of the scan lies under one of these names, and none may be replaced. written: the files of this run's
    other scans, which are results of now, not of an earlier time.
    """
    first = naming.file_name(options.path, scan)
    if lacking := naming.missing(options.path, scan):
        log.warning(
            "the header of scan %s has no %s: it is %r in the name of its file", scan.name, lacking[0], naming.UNNAMED
        )
    if options.if_exists == "fail":
        if os.path.lexists(first):
            raise SinkFailed(
                f"{first} is there already, with another scan or other settings: move it away, or set if_exists"
            )
        yield first
        raise SinkFailed(f"{first} is being made by another process: choose another `path`, or set if_exists")
    if options.if_exists == "overwrite" and not beside:
        if places.same(first, scan.files):
            raise SinkFailed(f"{first} is what scan {scan.name} is read from: choose another `path`")
        if places.same(first, written):
            log.warning("%s has another scan of this run and is not replaced: this scan gets a number", first)
        elif is_written(first):
            log.warning("%s is being written by another process and is not replaced: this scan gets a number", first)
        elif os.path.lexists(first) and repair.find(first) is None:
            log.warning("%s was not written by inbeam and is not replaced: this scan gets a number", first)
        else:
            yield first
    yield from (path for path in naming.numbered(first) if not os.path.lexists(path))


def earlier(pattern: str, scan: ScanStart, layout: str | None = None) -> Iterator[tuple[Path, repair.Found]]:
    """The files that have this scan (in this layout, if given) and what is in them, the best first. One that was made
    from another recording under the same name has another scan."""
    for path in (*naming.earlier(pattern, scan), *_taken(pattern, scan)[: -LOOKED_AT - 1 : -1]):
        found = repair.find(path)
        if found is None or found.uid != identity_of(scan) or layout not in (None, found.layout):
            continue
        if not differ(found.fingerprint, scan.fingerprint):
            yield path, found


def look(pattern: str, scan: ScanStart) -> Path:
    """The file that has this scan, else the first free name."""
    for path, _ in earlier(pattern, scan):
        return path
    return next(itertools.islice(naming.numbered(naming.file_name(pattern, scan)), len(_taken(pattern, scan)), None))


def _taken(pattern: str, scan: ScanStart) -> list[Path]:
    return list(itertools.takewhile(os.path.lexists, naming.numbered(naming.file_name(pattern, scan))))
