"""Kept code on disk: one file for each kernel and form of arguments, replaced when it is of something else.

Beside the source, else in the user's own cache folder; where NUMBA_CACHE_DIR says, if it is set. A file is run only if
it belongs to who runs it, to root or to whom the source belongs, and nobody else may write it. It is data that is
checked, not a pickle.
"""

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import xxhash

from stream.codec.kept.code import Code

MAGIC = b"inbeam-kernel-1\n"
CHECKSUM_BYTES = 16
"""Behind it; of all that follows."""


def save(source: Path, name: str, key: str, code: Code) -> None:
    """Write it where it can be written; nowhere is no error."""
    head = json.dumps({**asdict(code), "content": len(code.content), "key": key}).encode()
    body = head + b"\n" + code.content
    for folder in _folders(source):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=f"{name}.", dir=folder)
            os.fchmod(handle, 0o644)
        except OSError:
            continue
        try:
            with open(handle, "wb") as file:
                file.write(MAGIC + _checksum(body) + body)
            os.replace(aside, folder / name)
        except OSError:
            Path(aside).unlink(missing_ok=True)
            continue
        return


def saved(source: Path, name: str, key: str) -> Code | None:
    """What was kept under this name, if it is whole and was made for this key."""
    for folder in _folders(source):
        try:
            found = _read(_trusted(folder / name, source), key)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if found is not None:
            return found
    return None


def _read(content: bytes, key: str) -> Code | None:
    """Raises ValueError, KeyError and TypeError for what is no kept code."""
    start = len(MAGIC) + CHECKSUM_BYTES
    body = content[start:]
    if content[:start] != MAGIC + _checksum(body):
        return None
    head, _, code = body.partition(b"\n")
    told = json.loads(head)
    own, named = tuple(map(int, told["own"])), tuple((int(at), str(name)) for at, name in told["named"])
    found = Code(code, int(told["start"]), own, named)
    places = (*own, *(at for at, _ in named))
    inside = 0 <= found.start < len(code) and all(0 <= at <= len(code) - 8 for at in places)
    return found if inside and told["key"] == key and told["content"] == len(code) else None


def _checksum(body: bytes) -> bytes:
    return xxhash.xxh3_128_digest(body)


def _trusted(path: Path, source: Path) -> bytes:
    """Raises OSError for a file that others could have written."""
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        owners = (os.geteuid(), 0, source.stat().st_uid)
        if about.st_uid not in owners or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path} could have been written by others")
        return file.read()


def _folders(source: Path) -> Iterator[Path]:
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named)
        return
    yield source.parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inbeam" / "kernels"
