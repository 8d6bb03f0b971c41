"""Pairs of CURVE keys in files: `NAME.key` for everybody, `NAME.key_secret` for its owner alone."""

import logging
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import zmq
import zmq.auth

from stream.errors import InbeamError

log = logging.getLogger("inbeam")
EXCLUSIVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make(folder: Path, name: str) -> tuple[Path, Path]:
    """A new pair, as zmq.auth reads it: paths of the public half and of the whole, which only its owner may read.

    Raises InbeamError if there is one of this name already: a key that is in use must not be lost.
    """
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    halves = [half.decode() for half in zmq.curve_keypair()]
    head = f"# CURVE, made by inbeam {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\nmetadata\ncurve\n"
    open_half = f'{head}    public-key = "{halves[0]}"\n'
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(secret, f'{open_half}    secret-key = "{halves[1]}"\n', 0o600)
        _write(public, open_half, 0o644)
    except FileExistsError as error:
        raise InbeamError(f"{error.filename} exists and is left alone: choose another name, or move it away") from error
    except OSError as error:
        raise InbeamError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    return public, secret


def load(path: Path) -> tuple[bytes, bytes | None]:
    """Both halves of a key file; says so if others may read the secret one. Raises OSError, ValueError."""
    public, secret = zmq.auth.load_certificate(path)
    if secret is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        log.warning("%s may be read by others, who then pass for us: chmod 600 %s", path, path)
    return public, secret


def _write(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, EXCLUSIVE, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        path.unlink()  # half a key would be in the way of the next
        raise
