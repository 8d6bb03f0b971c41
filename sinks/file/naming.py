"""From the pattern in the configuration to the name of a scan's file."""

import glob
import hashlib
import os
import re
import string
import time
from collections.abc import Iterator
from pathlib import Path

from stream.events import ScanStart

KNOWN = ("scan", "date", "time", "uid", "source", "detector")
UNKNOWN = "\0"
"""Stands for text that is not known: no file name can have it."""
CHANGING = ("date", "time")
"""Fields that a restarted run would fill in differently: its file is found by its identity instead."""


class _Text(str):
    """A field's value; `{scan:05d}` works where it is a number."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return (
            format(int(self), spec) if spec.endswith("d") and self.isdecimal() else super().__format__(spec.rstrip("d"))
        )


def check_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValueError, for pydantic, if it has an unknown field or a malformed brace."""
    fields = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    unknown = sorted(fields - set(KNOWN))
    if unknown:
        raise ValueError(f"unknown {{{unknown[0]}}}; known: {', '.join('{' + name + '}' for name in KNOWN)}")
    if not pattern.strip():
        raise ValueError("is empty: give a file name such as out/{scan}.h5")
    return pattern


def file_name(pattern: str, scan: ScanStart) -> Path:
    """Fill in the pattern: date and time are local, of the start of the scan; nothing in a value leaves its folder."""
    return Path(pattern.format(**_values(scan))).expanduser()


def numbered(path: Path) -> Iterator[Path]:
    """The path itself, then name_2, name_3 ..."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}_{number}{path.suffix}")
        number += 1


def earlier(pattern: str, scan: ScanStart, limit: int = 20) -> list[Path]:
    """Files that this pattern may have given the same scan at another time, newest first."""
    values = _values(scan)
    fields = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    if not fields.intersection(CHANGING):
        return []
    marked = Path(pattern.format(**{**values, **dict.fromkeys(CHANGING, _Text(UNKNOWN))})).expanduser()
    wanted = glob.escape(str(marked.with_name(f"{marked.stem}{UNKNOWN}{marked.suffix}"))).replace(UNKNOWN, "*")
    found = [Path(name) for name in glob.glob(wanted) if os.path.isfile(name)]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:limit]


def _values(scan: ScanStart) -> dict[str, _Text]:
    moment = time.localtime(scan.received)
    return {
        "scan": safe(scan.name),
        "date": _Text(time.strftime("%Y%m%d", moment)),
        "time": _Text(time.strftime("%H%M%S", moment)),
        "uid": safe(scan.uid),
        "source": safe(Path(scan.source).stem or scan.source),
        "detector": safe(scan.detector.description or "detector"),
    }


def safe(text: str) -> _Text:
    """A value from the network as part of a file name: no separators, no leading dot, not too long."""
    plain = re.sub(r"[^\w.+-]+", "_", text).lstrip(".") or "_"
    if len(plain.encode()) > 120:
        plain = f"{plain[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return _Text(plain)
