"""Runs in this process, with a bound on how long they may take."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.config import Config, validate
from stream.pipeline.report import Report
from stream.pipeline.runner import Run

LIMIT_S = 60.0


def configuration(folder: Path, stream: dict[str, Any], **run: Any) -> Config:
    sinks = [{"type": "archive", "path": str(folder / "{scan}.h5")}]
    return validate({"stream": stream, "sinks": sinks, "run": {"workers": 1, "journal": str(folder), **run}})


def finished(running: Run, meanwhile: Callable[[], object] = lambda: None) -> Any:
    """The report of a run that has to end by itself."""
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(running.execute()), name="inbeam-test-run")
    thread.start()
    try:
        meanwhile()
        thread.join(LIMIT_S)
        assert reports, f"the run has not ended within {LIMIT_S} s"
    finally:
        running.stop()
        thread.join(LIMIT_S)
    return reports[0]


@contextmanager
def background(running: Run) -> Iterator[list[Report]]:
    """A run in a thread; stopped, if it has not ended, when the block is left."""
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(running.execute()), name="inbeam-test-run")
    thread.start()
    try:
        yield reports
    finally:
        thread.join(0 if sys.exc_info()[0] else 120)
        running.stop()
        thread.join(30)
        assert not thread.is_alive()
