"""Files on their way into a watched folder: which of them are whole, and which never will be."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from stream.formats.folder.changes import Change


@dataclass(slots=True)
class Pending:
    """A file that has been seen but not taken. Times are of the watcher's clock, s."""

    path: str
    first: float
    changed: float
    looked: float
    offered: float = float("-inf")
    state: tuple[int, int, int] | None = None
    """Size and times of the last modification and change when last looked at."""
    closed: bool = False
    tried: bool = False
    problem: str = ""


class Incoming:
    """The files that are not taken yet: what is done per look depends on their number alone.

    settle_s: a file whose writer nobody has seen closing it counts as whole after this long without change.
    give_up_s: a file that cannot be read is given up after this long without change.
    grows: which files are taken before they are whole (HDF5, which may never lie still); one that cannot be read yet
    is tried every `retry_s`, as it may be waiting for another file (a master for its data files).
    """

    def __init__(self, settle_s: float, give_up_s: float, retry_s: float, grows: Callable[[str], bool]) -> None:
        self.settle_s = settle_s
        self.give_up_s = give_up_s
        self.stats = 0
        """Files looked at so far."""
        self._retry_s = retry_s
        self._grows = grows
        self._pending: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, path: str) -> bool:
        return path in self._pending

    def paths(self) -> list[str]:
        """All files that are awaited."""
        return list(self._pending)

    def age(self, path: str, now: float) -> float:
        """Seconds since the file was first seen."""
        return now - self._pending[path].first

    def note(self, change: Change, now: float, *, whole: bool = False) -> None:
        """Take notice of a change; `whole`: the file has been lying there unchanged for long enough."""
        if change.kind == "gone":
            self._pending.pop(change.path, None)
            return
        file = self._pending.get(change.path)
        if file is None:
            file = self._pending[change.path] = Pending(change.path, now, now, now)
        file.changed = now
        file.tried = False
        file.closed = change.kind == "closed" or whole

    def ready(self, now: float) -> list[str]:
        """Files that are worth a try: those that grow at once, others when closed or unchanged for `settle_s`."""
        found = []
        for file in list(self._pending.values()):
            if self._grows(file.path):
                if now - file.offered >= self._retry_s:
                    file.offered = now
                    found.append(file.path)
            elif file.closed:
                found.append(file.path)
            elif now - file.looked >= self.settle_s:
                self._look(file, now)
                if file.path in self._pending and not file.tried and now - file.changed >= self.settle_s:
                    found.append(file.path)
        return found

    def failed(self, path: str, problem: str, now: float) -> None:
        """The file could not be read: wait for its next change."""
        file = self._pending[path]
        self._look(file, now, quiet=not self._grows(path))
        file.closed, file.tried, file.problem = False, True, problem

    def done(self, path: str) -> None:
        """The file has been taken, or is not wanted."""
        self._pending.pop(path, None)

    def unreadable(self) -> list[tuple[str, str]]:
        """Files that could not be read as they are now, with the reason."""
        return [(file.path, file.problem) for file in self._pending.values() if file.tried]

    def given_up(self, now: float) -> list[tuple[str, str]]:
        """Files that cannot be read and have not changed for `give_up_s`, with the reason; each once."""
        lost = [file for file in self._pending.values() if file.tried and now - file.changed >= self.give_up_s]
        for file in lost:
            del self._pending[file.path]
        return [(file.path, file.problem) for file in lost]

    def _look(self, file: Pending, now: float, *, quiet: bool = False) -> None:
        self.stats += 1
        file.looked = now
        try:
            status = os.stat(file.path)
        except FileNotFoundError:
            self._pending.pop(file.path, None)
            return
        except OSError:  # what it is will be said when it cannot be read
            return
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)  # the last tells of a right that was given
        if file.state is not None and state != file.state and not quiet:
            file.changed = now
            file.tried = False
        file.state = state
