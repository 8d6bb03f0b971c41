"""What changes in a folder and its sub-folders, at a cost per new file that does not depend on how many there are.

Native events (inotify, through watchdog) name each file. Where the file system has none, the modification time of
each folder is looked at, one `stat` per folder and look; only a folder that has changed is listed, names alone, and no
file in it is looked at again. The same look runs now and then beside native events, as an inotify queue can overflow.
"""

import os
import queue
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

REMOTE = ("nfs", "cifs", "smb", "gpfs", "lustre", "beegfs", "fuse", "9p", "ceph", "afs", "pvfs", "glusterfs")
"""File systems on which another host writes without this kernel knowing."""
RACY_NS = 2_000_000_000
"""A folder that changed less than this before it was listed may have changed again with the same time stamp."""
NET_S = 30.0
"""How often the folders' times are looked at beside native events."""
EVENTS = (
    *(FileCreatedEvent, FileModifiedEvent, FileClosedEvent, FileMovedEvent, FileDeletedEvent),
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
)


class Change(NamedTuple):
    """seen: new or grown; closed: its writer has closed it or renamed it into place; gone: deleted or renamed away."""

    kind: Literal["seen", "closed", "gone"]
    path: str


class Folder:
    """Follows one folder. Not thread-safe but for `wake`."""

    def __init__(
        self,
        root: str,
        events: Literal["auto", "native", "poll"] = "auto",
        poll_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.native = events == "native" or (events == "auto" and not is_remote(root))
        self.listings = 0
        """Folders listed so far."""
        self.looks = 0
        """Folders whose time was looked at so far."""
        self._poll_s = poll_s
        self._clock = clock
        self._queue: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._times: dict[str, tuple[int, bool]] = {}
        self._names: dict[str, set[str]] = {}
        self._observer: Observer | None = None  # type: ignore[valid-type]
        self._look_due = 0.0
        self._refused: set[str] = set()
        self._untold: list[str] = []

    def start(self) -> str | None:
        """Begin; returns what is odd, in words. Call `look` next for what is there already. Raises OSError."""
        os.stat(self.root)
        if not self.native:
            return None
        observer = Observer()
        try:
            observer.name = "inbeam-watch"
            observer.schedule(
                _Handler(self._queue),
                self.root,
                recursive=True,
                event_filter=list(EVENTS),
            )
            observer.start()
        except OSError as error:
            self.native = False
            return f"no native events for {self.root} ({error}): polling every {self._poll_s} s"
        self._observer = observer
        return None

    def wait(self, timeout_s: float) -> list[Change]:
        """Block until something changes, `wake` is called, or the time is over. Raises OSError if the root is gone."""
        due = self._look_due - self._clock()
        found: list[Change | None] = []
        try:
            found.append(self._queue.get(timeout=max(0.0, min(timeout_s, due))))
            while True:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        changes = [change for change in dict.fromkeys(found) if change is not None]
        if self._clock() >= self._look_due:
            changes += self.look()
        elif any(change.kind == "gone" for change in changes):
            os.stat(self.root)
        return changes

    def wake(self) -> None:
        """Make `wait` return. From any thread."""
        self._queue.put(None)

    def stop(self) -> None:
        """End the native events; waits for their thread."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def untold(self) -> list[str]:
        """What could not be looked at since this was last asked, one line each."""
        told, self._untold = self._untold, []
        return told

    def look(self) -> list[Change]:
        """New and deleted files of the folders that have changed since the last look. Raises OSError without root."""
        self._look_due = self._clock() + (NET_S if self.native else self._poll_s)
        os.stat(self.root)
        found: list[Change] = []
        for folder in [self.root, *(folder for folder in self._times if folder != self.root)]:
            if folder == self.root or folder in self._times:
                found += self.listed(folder)
        return found

    def listed(self, folder: str) -> Iterator[Change]:
        """What is new in one folder, and below it where a sub-folder is new."""
        self.looks += 1
        try:
            changed = os.stat(folder).st_mtime_ns
            if self._times.get(folder) == (changed, True):
                return
            now = time.time_ns()
            self.listings += 1
            with os.scandir(folder) as entries:
                inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except PermissionError:
            self._times[folder] = (0, False)  # looked at again and again, as the right may be given
            if folder not in self._refused:
                self._refused.add(folder)
                self._untold.append(f"{folder} may not be read: give the user of inbeam the right to list it")
            return
        except OSError:
            yield from self._vanished(folder)
            return
        self._refused.discard(folder)
        known = self._names.setdefault(folder, set())
        self._times[folder] = (changed, now - changed > RACY_NS)
        for name in known.difference(inside):
            known.discard(name)
            path = os.path.join(folder, name)
            yield from self._vanished(path) if path in self._times else [Change("gone", path)]
        for name in inside.keys() - known:
            known.add(name)
            path = os.path.join(folder, name)
            if inside[name]:
                yield from self.listed(path)
            else:
                yield Change("seen", path)

    def _vanished(self, folder: str) -> Iterator[Change]:
        for below in [name for name in self._times if name == folder or name.startswith(folder + os.sep)]:
            self._times.pop(below)
            for name in self._names.pop(below, ()):
                yield Change("gone", os.path.join(below, name))


class _Handler(FileSystemEventHandler):
    def __init__(self, changes: "queue.SimpleQueue[Change | None]") -> None:
        self._changes = changes

    def on_any_event(self, event: FileSystemEvent) -> None:
        """In watchdog's thread: only puts into the queue."""
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            # files made in a new folder before its watch was set have no events of their own
            for folder, _, names in os.walk(target or source):
                for name in names:
                    self._changes.put(Change("closed" if target else "seen", os.path.join(folder, name)))
        elif isinstance(event, FileMovedEvent):
            self._changes.put(Change("gone", source))
            self._changes.put(Change("closed", target))
        elif isinstance(event, FileDeletedEvent | DirDeletedEvent):
            self._changes.put(Change("gone", source))
        elif isinstance(event, FileClosedEvent):
            self._changes.put(Change("closed", source))
        elif isinstance(event, FileCreatedEvent | FileModifiedEvent):
            self._changes.put(Change("seen", source))


def is_remote(path: str) -> bool:
    """True if a path lies on a file system whose changes may come from another host."""
    best = ("", "")
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                _, mount, kind, *_ = line.split(" ")
                mount = mount.encode().decode("unicode_escape")
                inside = os.path.realpath(path) + "/"
                if inside.startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[0]):
                    best = (mount, kind)
    except (OSError, ValueError):
        return False
    return best[1].startswith(REMOTE)
