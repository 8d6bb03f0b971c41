"""From the pattern in the configuration to the name of a scan's file."""

import glob
import hashlib
import os
import re
import string
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream.events import ScanStart

KNOWN = ("scan", "date", "time", "uid", "source", "detector")
UNKNOWN = "\0"
"""Stands for text that is not known: no file name can have it."""
USER = re.compile(r"user(\.[\w-]+)+")
"""A value of the header's user data: `user_data` of stream2, the header appendix of SIMPLON stream v1."""
UNNAMED = "unnamed"
CHANGING = ("date", "time")
"""Fields that a restarted run would fill in differently: its file is found by its identity instead."""


class _Filling(string.Formatter):
    """Fills in whole names: `user.sample.name` is one."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return kwargs[field_name], field_name


class _Text(str):
    """A field's value; `{scan:05d}` works where it is a number."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return (
            format(int(self), spec) if spec.endswith("d") and self.isdecimal() else super().__format__(spec.rstrip("d"))
        )


def check_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValueError, for pydantic, if it has an unknown field or a malformed brace."""
    unknown = sorted(name for name in _fields(pattern) - set(KNOWN) if not USER.fullmatch(name))
    if unknown:
        known = ", ".join("{" + name + "}" for name in (*KNOWN, "user.KEY"))
        raise ValueError(f"unknown {{{unknown[0]}}}; known: {known}")
    try:
        for value in ("1", "a"):
            _Filling().vformat(pattern, (), dict.fromkeys(_fields(pattern), _Text(value)))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{pattern} has a format that no value can have: {error}") from error
    if not pattern.strip():
        raise ValueError("is empty: give a file name such as out/{scan}.h5")
    return pattern


def file_name(pattern: str, scan: ScanStart) -> Path:
    """Fill in the pattern: date and time are local, of the start of the scan; nothing in a value leaves its folder.

    A value of the user data that the header does not have is "unnamed": see `missing`.
    """
    return Path(_Filling().vformat(pattern, (), _values(pattern, scan))).expanduser()


def missing(pattern: str, scan: ScanStart) -> list[str]:
    """Fields of the pattern that the scan's header has no value for."""
    return sorted(name for name in _fields(pattern) if name.startswith("user.") and not _user(name, scan))


def numbered(path: Path) -> Iterator[Path]:
    """The path itself, then name_2, name_3 ..."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}_{number}{path.suffix}")
        number += 1


def earlier(pattern: str, scan: ScanStart, limit: int = 20) -> list[Path]:
    """Files that this pattern may have given the same scan at another time, newest first."""
    if not _fields(pattern).intersection(CHANGING):
        return []
    values = {**_values(pattern, scan), **dict.fromkeys(CHANGING, _Text(UNKNOWN))}
    marked = Path(_Filling().vformat(pattern, (), values)).expanduser()
    wanted = glob.escape(str(marked.with_name(f"{marked.stem}{UNKNOWN}{marked.suffix}"))).replace(UNKNOWN, "*")
    found = [Path(name) for name in glob.glob(wanted) if os.path.isfile(name)]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:limit]


def _fields(pattern: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}


def _values(pattern: str, scan: ScanStart) -> dict[str, _Text]:
    moment = time.localtime(scan.received)
    return {
        "scan": safe(scan.name),
        "date": _Text(time.strftime("%Y%m%d", moment)),
        "time": _Text(time.strftime("%H%M%S", moment)),
        "uid": safe(scan.uid),
        "source": safe(_source(scan.source)),
        "detector": safe(scan.detector.description or "detector"),
        **{name: safe(_user(name, scan) or UNNAMED) for name in _fields(pattern) if name.startswith("user.")},
    }


def _source(text: str) -> str:
    """host_port of an address, else the stem of a file's name."""
    if "://" in text:
        return text.partition("://")[2].rpartition(";")[2].replace("[", "").replace("]", "")
    return Path(text.partition("::")[0]).stem or text


def _user(name: str, scan: ScanStart) -> str:
    """The text or number at `user.KEY.KEY` of the header's user data; "" if there is none."""
    found: Any = scan.detector.metadata
    found = found.get("user_data", found.get("header_appendix"))
    for key in name.split(".")[1:]:
        found = found.get(key) if isinstance(found, Mapping) else None
    return str(found) if isinstance(found, str | int | float) else ""


def safe(text: str) -> _Text:
    """A value from the network as part of a file name: no separators, no leading dot, not too long."""
    plain = re.sub(r"[^\w.+-]+", "_", text).lstrip(".") or "_"
    if len(plain.encode()) > 120:
        plain = f"{plain[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return _Text(plain)
