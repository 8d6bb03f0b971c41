"""The live progress line: frames, rate, latency, lost, queue fill."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from stream.roles import Counters

FIRST_LINE_S, LONGEST_S = 2.0, 300.0
"""Lines in a log: the first of a scan after this time, then after ever longer times; none while nothing happens."""
LATENCY_OF_RECORDINGS_MS = 1e6
"""A capture keeps its arrival times: how long ago that was is no latency."""


@contextmanager
def show_progress() -> Iterator[Callable[[Counters], None]]:
    """On a terminal a line that is kept up to date, below the messages; elsewhere a line now and then."""
    if not sys.stderr.isatty():
        show = Lines(time.monotonic())
        yield lambda counters: show(counters, time.monotonic())
        return
    # Imported here: 60 ms of every start that has no terminal.
    from rich.console import Console
    from rich.live import Live
    from rich.logging import RichHandler
    from rich.text import Text

    console = Console(stderr=True)
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [RichHandler(console=console, show_path=False, show_level=False)]
    try:
        with Live(Text("waiting for a scan"), console=console, refresh_per_second=4, transient=False) as live:
            yield lambda counters: live.update(Text(describe(counters)))
    finally:
        root.handlers = handlers


def describe(counters: Counters) -> str:
    """One line with the counters; what is zero and should be zero is short."""
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
    kinds = ("missing", "corrupt", "failed", "dropped", "late", "duplicate", "bad_messages")
    parts += [f"{kind.replace('_', ' ')} {n}" for kind in kinds if (n := getattr(counters, kind))]
    return " | ".join([*parts, counters.connection] if counters.connection else parts)


class Lines:
    """Progress lines for a log, on stderr. `now`: time of a monotonic clock, seconds."""

    def __init__(self, now: float) -> None:
        self._due, self._pause = now + FIRST_LINE_S, FIRST_LINE_S
        self._told: Counters | None = None

    def __call__(self, counters: Counters, now: float) -> None:
        """Print a line if one is due and something has happened since the last."""
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
        print(describe(counters), file=sys.stderr, flush=True)


def _state(counters: Counters) -> tuple[str, str, bool]:
    """What is worth a line soon if it changes."""
    return counters.scan, counters.connection, _lost(counters) > 0


def _lost(counters: Counters) -> int:
    return counters.missing + counters.corrupt + counters.failed + counters.dropped
