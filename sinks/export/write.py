"""Put a small file into its place: whole or not at all, through no link, over nothing that is there unless asked."""

import errno
import os
import secrets
from pathlib import Path

from stream.errors import SinkFailed

EXCLUSIVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def put(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write `content`. Raises SinkFailed: exists, no room, no permission. A link at `path` is never followed."""
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, EXCLUSIVE, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            if overwrite:
                os.replace(temporary, path)
            else:
                _give_name(temporary, path, content)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError as error:
        raise SinkFailed(f"{path} exists and is left alone: add --overwrite, or choose another --output") from error
    except OSError as error:
        raise SinkFailed(f"cannot write {path}: {error.strerror}") from error


def _give_name(temporary: Path, path: Path, content: bytes) -> None:
    """The name `path`, only if nobody has it."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        with os.fdopen(os.open(path, EXCLUSIVE, 0o666), "wb") as file:  # a file system without hard links
            file.write(content)
