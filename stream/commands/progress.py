"""The live progress line: frames, rate, latency, lost, queue fill; for recorded files which one, and how long still."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from stream.commands.terminal import StatusLine
from stream.roles import Counters

log = logging.getLogger("inbeam")
FIRST_LINE_S, LONGEST_S = 2.0, 300.0
"""Lines in a log: the first of a scan after this time, then after ever longer times; none while nothing happens."""
LATENCY_OF_RECORDINGS_MS = 1e6
"""A capture keeps its arrival times: how long ago that was is no latency."""
GUESS_S = 3.0
"""Run this long before saying how long it still takes."""


@contextmanager
def show_progress() -> Iterator[Callable[[Counters], None]]:
    """On a terminal a line that is kept up to date, below the messages; elsewhere a line in the log now and then."""
    clock = time.monotonic
    pace = Pace(clock())
    if not sys.stderr.isatty():
        show = Lines(clock())
        yield lambda counters: show(counters, clock(), pace.left(counters, clock()))
        return
    line = StatusLine(sys.stderr)
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [line]
    try:
        yield lambda counters: line.show(describe(counters, pace.left(counters, clock())))
    finally:
        root.handlers = handlers
        line.close()


@contextmanager
def show_counts(what: str, of: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """How many of so many are done: on a terminal as a bar, elsewhere nowhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    line = StatusLine(sys.stderr)
    try:
        yield lambda done: line.show(f"{'█' * (20 * done // of):░<20} {done} of {of} {what}")
    finally:
        line.close()


class Pace:
    """How long recorded files will still take, from how long they have taken so far. `now`: monotonic, seconds."""

    def __init__(self, now: float) -> None:
        self._began = now

    def left(self, counters: Counters, now: float) -> str:
        """In words, or "" where nobody can know."""
        elapsed = now - self._began
        if not counters.files or elapsed < GUESS_S:
            return ""
        part = counters.finished / counters.expected if counters.scan and counters.expected else 0.0
        done = (counters.file - 1 + min(part, 1.0)) / counters.files
        return f"{duration(elapsed * (1 - done) / done)} left" if 0 < done < 1 else ""


def duration(seconds: float) -> str:
    """A time that is guessed, with the units that matter."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe(counters: Counters, left: str = "") -> str:
    """One line with the counters; what is zero and should be zero is short. left: how long it still takes."""
    if not counters.scan:
        waiting = counters.connection or "waiting for a scan"
        return waiting + (f" | {counters.bad_messages} unusable messages" if counters.bad_messages else "")
    total = f"/{counters.expected}" if counters.expected else ""
    lost = _lost(counters)
    parts = [
        f"scan {counters.scan}",
        f"{counters.finished}{total} frames",
        f"{counters.rate:.0f}/s",
        f"lost {lost}",
        f"queue {100 * max(counters.inbox_fill, counters.sink_fill):.0f} %",
    ]
    if counters.latency_ms < LATENCY_OF_RECORDINGS_MS:
        parts.insert(3, f"latency {counters.latency_ms:.0f} ms")
    if counters.files > 1:
        parts.insert(1, f"file {counters.file} of {counters.files}")
    if left:
        parts.append(left)
    kinds = ("missing", "corrupt", "failed", "dropped", "late", "duplicate", "bad_messages")
    parts += [f"{kind.replace('_', ' ')} {n}" for kind in kinds if (n := getattr(counters, kind))]
    return " | ".join([*parts, counters.connection] if counters.connection else parts)


class Lines:
    """Progress lines for a log. `now`: time of a monotonic clock, seconds."""

    def __init__(self, now: float) -> None:
        self._due, self._pause = now + FIRST_LINE_S, FIRST_LINE_S
        self._told: Counters | None = None

    def __call__(self, counters: Counters, now: float, left: str = "") -> None:
        """Write a line if one is due and something has happened since the last."""
        if not counters.scan and counters.connection:
            return  # the source has said so
        if self._told is None or _state(counters) != _state(self._told):
            self._due, self._pause = min(self._due, now + FIRST_LINE_S), FIRST_LINE_S
        news = replace(counters, rate=0.0, latency_ms=0.0, inbox_fill=0.0, sink_fill=0.0)
        if now < self._due or news == self._told:
            return
        self._told = news
        self._pause = min(2 * self._pause, LONGEST_S)
        self._due = now + self._pause
        log.info(describe(counters, left))


def _state(counters: Counters) -> tuple[str, str, bool]:
    """What is worth a line soon if it changes."""
    return counters.scan, counters.connection, _lost(counters) > 0


def _lost(counters: Counters) -> int:
    return counters.missing + counters.corrupt + counters.failed + counters.dropped
