"""The live progress line: frames, rate, latency, lost, queue fill."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.roles import Counters

LINE_EVERY_S = 2.0
LATENCY_OF_RECORDINGS_MS = 1e6
"""A capture keeps its arrival times: how long ago that was is no latency."""


@contextmanager
def show_progress() -> Iterator[Callable[[Counters], None]]:
    """On a terminal a line that is kept up to date, below the messages; elsewhere a line every two seconds."""
    if not sys.stderr.isatty():
        yield _lines()
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
        return "waiting for a scan" + (f" | {counters.bad_messages} unusable messages" if counters.bad_messages else "")
    total = f"/{counters.expected}" if counters.expected else ""
    lost = counters.missing + counters.corrupt + counters.failed + counters.dropped
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
    return " | ".join(parts + [f"{kind.replace('_', ' ')} {n}" for kind in kinds if (n := getattr(counters, kind))])


def _lines() -> Callable[[Counters], None]:
    said = time.monotonic()

    def show(counters: Counters) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY_S:
            said = time.monotonic()
            print(describe(counters), file=sys.stderr, flush=True)

    return show
