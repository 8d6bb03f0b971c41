"""Changes of options while the pipeline runs: each takes effect at a definite frame number, and is on disk before."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stream.context import Answer
from stream.errors import ConfigError
from stream.events import Change
from stream.pipeline.revisions import OptionSet, Revisions

MOST_BYTES = 16_000
"""Of one value as JSON: what a row of the file's table of changes holds."""
LONGEST_OPENING_S = 60.0
MOST_ASLEEP = 64


class RunControl:
    """The Control of one run. `begin`, `came` and `ended` are told by whoever puts events into the pipeline.

    keep: writes a change to disk. tell: passes a change on to the sinks of the scan that is open.
    repeat: changes that every scan of this run repeats (`inbeam process --changes`).
    """

    def __init__(
        self,
        options: OptionSet,
        *,
        keep: Callable[[Change], None] = lambda change: None,
        repeat: Sequence[Change] = (),
    ) -> None:
        self._written = options
        self._keep = keep
        self.repeated = tuple(repeat)
        self._standing: dict[str, Change] = {}
        """Path -> what was changed, and not by the user in the YAML: every later scan begins with it, and says so."""
        self._tables: dict[str, Revisions] = {}
        self._ended: dict[str, tuple[Revisions, int]] = {}
        """What a scan needs that goes on after it had fallen asleep: its table and its next frame number."""
        self._remembered: dict[str, tuple[Change, ...]] = {}
        self._scan: str | None = None
        self._open: str | None = None
        self._opened: Revisions | None = None
        self._next_frame = 0
        self._between = 0
        """Revision where no scan is open: that of the last scan, and one more for each change since."""
        self._tell: Callable[[Change], None] = lambda change: None
        self._lock = threading.Condition()

    def begin(self, scan: str) -> None:
        """The source has begun a scan, or gone on with one: its next frames get what was changed meanwhile."""
        with self._lock:
            asleep = scan in self._ended
            table, first = self._ended.pop(scan, (Revisions(self._written), 0))
            table.repeat(self._remembered.pop(scan, ()), scan)
            for change in self._standing.values():
                latest = table.latest
                layout = asleep and latest.options.when(change.path) == "scan"
                if not layout and latest.options.value(change.path) != change.value:
                    table.add(replace(change, scan=scan, frame=first, revision=latest.number + 1))
            self._tables[scan] = table
            self._scan, self._next_frame = scan, first

    def came(self, index: int) -> None:
        """Frame number `index` has come: changes hold for later numbers from now on."""
        if index >= self._next_frame:
            with self._lock:
                self._next_frame = index + 1

    def ended(self, scan: str) -> None:
        """The source has ended the scan: changes are for the next one."""
        with self._lock:
            if self._scan == scan:
                self._scan = None
                table = self._tables[scan]
                self._standing |= {change.path: change for change in table.changes}
                self._between = table.latest.number
                self._ended[scan] = table, self._next_frame
                while len(self._ended) > MOST_ASLEEP:
                    self._ended.pop(next(iter(self._ended)))
            self._lock.notify_all()

    def start_options(self, scan: str) -> OptionSet:
        """Those of the scan's first frame, before any change that an earlier process made."""
        with self._lock:
            return self._tables.setdefault(scan, Revisions(self._written)).at(0).options

    def remember(self, scan: str, changes: Sequence[Change]) -> None:
        """What the journal of an earlier process knows of a scan that will go on."""
        self._remembered[scan] = tuple(changes)

    def opened(self, scan: str, changes: Sequence[Change], tell: Callable[[Change], None]) -> Revisions:
        """The sinks have opened the scan; `changes`: what an earlier process made of it. From now on `tell` is called
        with each change, first with those. Returns the table for the workers."""
        with self._lock:
            table = self._tables.setdefault(scan, Revisions(self._written))
            table.repeat([*changes, *self.repeated], scan)
            for change in table.changes:
                tell(change)
            self._open, self._opened, self._tell = scan, table, tell
            self._lock.notify_all()
            return table

    def closed(self, scan: str) -> None:
        """The workers are through with the scan."""
        with self._lock:
            if self._open == scan:
                self._open = None
            if self._tables.get(scan) is self._opened:
                self._tables.pop(scan, None)

    @property
    def revision(self) -> int:
        """See `stream.context.Control`."""
        with self._lock:
            return self._revision()

    def value(self, path: str) -> Any:
        """See `stream.context.Control`."""
        with self._lock:
            return self._latest().value(path)

    def change(self, path: str, value: Any, who: str, revision: int | None = None) -> Answer:
        """See `stream.context.Control`."""
        if len(json.dumps(value, default=str)) > MOST_BYTES:
            raise ConfigError([(path, f"the value is longer than {MOST_BYTES} characters: divide it")])
        with self._lock:
            until = time.monotonic() + LONGEST_OPENING_S
            while self._scan is not None and self._open != self._scan:
                if not self._lock.wait(max(0.0, until - time.monotonic())):
                    raise ConfigError([(path, "the scan is still being opened: try again")])
            path, now = self._latest().canonical(path), self._revision()
            if revision is not None and revision != now:
                raise ConfigError([(path, f"was changed by someone else meanwhile: revision {now}, not {revision}")])
            if self._scan is None or self._latest().when(path) == "scan":
                return self._for_the_next_scan(path, value, who)
            table = self._tables[self._scan]
            change = Change(self._scan, self._next_frame, path, value, who, now + 1, time.time())
            table.latest.options.changed(path, value)  # refuses a wrong value before it is on disk
            self._keep(change)
            table.add(change)
            self._tell(change)
        text = f"{path} = {value!r} from frame {change.frame} on (revision {change.revision})"
        return Answer(change.scan, change.frame, change.revision, text)

    def _for_the_next_scan(self, path: str, value: Any, who: str) -> Answer:
        """Either no scan is open, or the change would alter the layout of its file."""
        latest = self._latest()
        latest.when(path)
        latest.changed(path, value)
        self._standing[path] = Change("", 0, path, value, who, 0, time.time())
        if self._scan is None:
            self._between += 1
        return Answer("", 0, self._revision(), f"{path} = {value!r} from the next scan on")

    def _revision(self) -> int:
        return self._between if self._scan is None else self._tables[self._scan].latest.number

    def _latest(self) -> OptionSet:
        """The options of the next frame, as far as it is known."""
        if self._scan is not None:
            return self._tables[self._scan].latest.options
        options = self._written
        for change in self._standing.values():
            options = options.changed(change.path, change.value)
        return options
