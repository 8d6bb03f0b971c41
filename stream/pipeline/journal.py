"""What a restarted process needs to go on in the middle of a scan: the messages that began it, kept beside the output.

A detector says only once what a scan is. Without its start message the frames that follow a restart mean nothing.
"""

import hashlib
import json
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import cbor2

from stream.claim import replacing
from stream.config import Config
from stream.errors import SinkFailed
from stream.events import Change, ScanStart

log = logging.getLogger("inbeam")
CHANGE = tuple(item.name for item in fields(Change))


@dataclass(frozen=True, slots=True)
class Entry:
    """The scan that was open when the last process ended."""

    uid: str
    header: tuple[tuple[bytes, ...], ...]


class Journal:
    """One small file per source: written when a scan opens, removed when it has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changing = threading.Lock()
        """A scan may begin, in the source's thread, just when the one before it is found completed."""

    @classmethod
    def of(cls, config: Config) -> "Journal":
        """Beside the first sink that writes a file, or where run.journal says; one per source."""
        folder = config.run.journal
        if folder is None:
            paths = [Path(path).expanduser() for sink in config.sinks if (path := getattr(sink, "path", None))]
            fixed = [part for part in paths[0].parent.parts if "{" not in part] if paths else ["."]
            folder = Path(*fixed) if fixed else Path()
        source = json.dumps(config.stream.model_dump(mode="json"), sort_keys=True)
        return cls(folder / f".inbeam-{hashlib.sha256(source.encode()).hexdigest()[:12]}.journal")

    def begin(self, scan: ScanStart) -> None:
        """Keep the header of a scan that has begun; nothing if the source can find its scan again by itself."""
        if not scan.header:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = cbor2.dumps({"uid": scan.uid, "header": [list(parts) for parts in scan.header]})
        with self._changing, replacing(self.path) as fresh:
            with open(fresh.descriptor, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(fresh.descriptor)

    def end(self, uid: str) -> None:
        """That scan has been completed: nothing of it to resume."""
        with self._changing:
            with suppress(OSError):  # an old table of changes does no harm: it names its scan
                self._changes.unlink(missing_ok=True)
            entry = self.read()
            if entry is None or entry.uid != uid:
                return
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning(
                    "%s cannot be removed (%s): remove it, or the next start goes on with a scan that has ended",
                    self.path,
                    error.strerror,
                )

    def keep(self, change: Change) -> None:
        """Put a change of options on disk, before it takes effect. Raises SinkFailed."""
        line = json.dumps({name: getattr(change, name) for name in CHANGE}, default=str) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._changing, open(self._changes, "a", encoding="utf-8", opener=_safely) as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkFailed(f"{self._changes} cannot be written ({error.strerror}): nothing was changed") from error

    def changes(self, uid: str) -> tuple[Change, ...]:
        """The changes that an earlier process kept for this scan."""
        found = []
        try:
            with self._changing:
                lines = self._changes.read_text(encoding="utf-8").splitlines()
            for line in lines:
                values = json.loads(line)
                if values["scan"] == uid:
                    found.append(Change(**{name: values[name] for name in CHANGE}))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:  # the last line may be half written
            log.warning("%s: a change of options cannot be read (%s)", self._changes, error)
        if not found:
            with suppress(OSError):
                self._changes.unlink(missing_ok=True)
        return tuple(found)

    @property
    def _changes(self) -> Path:
        return self.path.with_suffix(".changes")

    def read(self) -> Entry | None:
        """The scan to go on with, or None. A journal that cannot be read is set aside, or said to be unreadable."""
        try:
            content = cbor2.loads(self.path.read_bytes())
            header = tuple(tuple(bytes(part) for part in parts) for parts in content["header"])
            return Entry(str(content["uid"]), header)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            log.warning("%s cannot be read (%s): no scan is gone on with", self.path, error.strerror)
            return None
        except Exception:  # whatever the decoder raises on damaged bytes: it must not keep inbeam from starting
            try:
                self.path.replace(self.path.with_suffix(".unreadable"))
            except OSError as error:
                log.warning("%s is damaged, and cannot be set aside (%s)", self.path, error.strerror)
            return None


def _safely(path: str, flags: int) -> int:
    """Open, but never through a symbolic link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
