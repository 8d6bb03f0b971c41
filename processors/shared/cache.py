"""What takes seconds to prepare, kept on disk under a name made from all that it depends on.

One file per key, written aside and renamed into place, mapped copy-on-write: every worker and every process shares the
same pages. A file that is cut, altered or of another format is as good as none, and is made anew. The folder is
INBEAM_CACHE, else the platform's cache folder; the oldest files go when it holds more than LIMIT_BYTES.
"""

import json
import logging
import mmap
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from stream.events import Array

log = logging.getLogger("inbeam")

MAGIC = b"inbeam-cache-1\n\0"
ALIGN = 64
LIMIT_BYTES = 4 << 30

PREPARING = threading.Lock()
"""Workers that start together ask for the same thing: the first prepares it, the others find it on disk."""


def folder() -> Path:
    """Where prepared things are kept; the environment variable INBEAM_CACHE decides, if it is set."""
    if named := os.environ.get("INBEAM_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "inbeam"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "inbeam"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "inbeam"


def key_of(parameters: Mapping[str, Any], *arrays: Array) -> str:
    """The name of what depends on these JSON-like parameters and these arrays, and on nothing else."""
    digest = xxhash.xxh3_128(json.dumps(parameters, sort_keys=True, default=str).encode())
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def prepared(key: str, make: Callable[[], dict[str, Array]], announce: str) -> dict[str, Array]:
    """The arrays kept under `key`, or those that `make` makes, which are then kept.

    `announce` is logged before a long preparation. A folder that cannot be written costs a warning and the time of
    preparing again, nothing else.
    """
    with PREPARING:
        path = folder() / f"{key}.arrays"
        found = load(path)
        if found is not None:
            return found
        log.info("preparing %s: some seconds, the first time only", announce)
        made = make()
        try:
            store(path, made)
        except OSError as error:
            log.warning("cannot keep %s (%s): set INBEAM_CACHE to a folder that can be written", path, error)
            return made
        return load(path) or made


def remembered(key: str) -> bool:
    """True if `first_time` has been asked this key before."""
    return (folder() / f"{key}.seen").exists()


def first_time(key: str) -> bool:
    """True once for every key (and always, where nothing can be kept): for lines that announce slow things."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        (folder() / f"{key}.seen").touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def store(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write all arrays into one file, atomically, and make room. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = bytearray()
    entries = []
    for name, array in arrays.items():
        body.extend(bytes(-len(body) % ALIGN))
        entries.append({"name": name, "dtype": array.dtype.str, "shape": array.shape, "offset": len(body)})
        body.extend(np.ascontiguousarray(array).tobytes())
    head = {"entries": entries, "bytes": len(body), "checksum": xxhash.xxh3_64_hexdigest(body)}
    text = MAGIC + json.dumps(head).encode()
    text += b" " * (-(len(text) + 1) % ALIGN) + b"\n"
    aside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with aside.open("xb") as file:
            file.write(text + body)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _make_room(path)


def load(path: Path) -> dict[str, Array] | None:
    """The arrays of a file, or None if there is none or it is damaged (it is then removed)."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        path.touch()
    except (OSError, ValueError):
        return None
    try:
        if mapped[: len(MAGIC)] != MAGIC:
            raise ValueError("not a file of this version")
        end = mapped.find(b"\n", len(MAGIC)) + 1
        head = json.loads(mapped[len(MAGIC) : end])
        body = memoryview(mapped)[end:]
        if len(body) != head["bytes"] or xxhash.xxh3_64_hexdigest(body) != head["checksum"]:
            raise ValueError("cut or altered")
        arrays = {}
        for entry in head["entries"]:
            dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            arrays[entry["name"]] = np.frombuffer(body, dtype, count, entry["offset"]).reshape(shape)
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be used (%s): preparing it anew", path, error)
        path.unlink(missing_ok=True)
        return None
    return arrays


def _make_room(newest: Path) -> None:
    files = sorted(newest.parent.glob("*.arrays"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > LIMIT_BYTES and path != newest:
            path.unlink(missing_ok=True)
