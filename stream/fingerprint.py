"""What tells a recording from another one under the same name, cheaply: `ScanStart.fingerprint`.

"KIND VALUE": two starts of scans with one uid are of different recordings if their kinds agree and their values do not.
A file that still grows is known by its beginning, one that is read as a whole by all that can be seen of it at once.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

import xxhash

PART_BYTES = 16_384
LOOKED_INTO = 8
"""Files of a recording of which a few parts are read; the others are known by name, size and time."""
STATED = 1000
"""Files whose size and time are asked for: a network file system needs a millisecond for each."""


def of_files(paths: Sequence[str], options: Any = None) -> str:
    """Of a finished recording: names, sizes and times of its files, and parts of some of them.

    options: JSON-like, what else decides on the frames that are read.
    """
    found = xxhash.xxh3_128(json.dumps([options, [os.path.basename(path) for path in paths]], default=str).encode())
    for path in _some(paths, STATED):
        try:
            status = os.stat(path)
        except OSError:
            found.update(b"gone")
        else:
            found.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
    for path in _some(paths, LOOKED_INTO):
        for part in _parts(path):
            found.update(part)
    return f"whole {found.hexdigest()}"


def of_beginning(number: int, *parts: bytes | memoryview | bytearray) -> str:
    """Of a recording that may grow: the bytes of one frame, or a part of them. number: which."""
    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    return f"frame-{number} {found.hexdigest()}"


def head(path: str) -> bytes:
    """The first bytes of a file, none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(PART_BYTES)
    except OSError:
        return b""


def is_of_beginning(fingerprint: str) -> bool:
    """True if it says nothing of what comes behind the beginning."""
    return fingerprint.startswith("frame-")


def differ(one: str, other: str) -> bool:
    """True if these are fingerprints of different recordings; False also where that cannot be known."""
    (kind, _, value), (other_kind, _, other_value) = one.partition(" "), other.partition(" ")
    return kind == other_kind and value != other_value


def _some(paths: Sequence[str], most: int) -> Sequence[str]:
    """All of them, or so many from the first to the last."""
    if len(paths) <= most:
        return paths
    return [paths[number * (len(paths) - 1) // (most - 1)] for number in range(most)]


def _parts(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = []
            for place in (0, size // 2, max(0, size - PART_BYTES)):
                file.seek(place)
                found.append(file.read(PART_BYTES))
            return found
    except OSError:
        return []
