"""What became of a job, from its folder; a queue or a process table is asked only whether somebody still has it."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stream.jobs import records
from stream.jobs.processes import is_here, runs
from stream.jobs.records import Cancel, Ended, Job, Started, Submitted, Unreadable

State = Literal["pending", "running", "done", "failed", "cancelled", "lost", "unknown"]
Known = Callable[[Job, str], bool | None]
"""Whether the job's queue still knows a native id; None: that cannot be told from here."""
SILENT_S = 60.0
"""A runner on another machine gives a sign of life every 10 s."""
GONE = "its runner is gone and has left no end: submit it again with `inbeam jobs rerun`"


@dataclass(frozen=True)
class Status:
    """exit_text: the exit code, or the signal that ended the job; why: in words, where there is more to say."""

    state: State
    native_id: str = ""
    exit_text: str = ""
    why: str = ""


def status(folder: Path, job: Job, known: Known) -> Status:
    """The state of a job that could be read."""
    try:
        found = _status(folder, job, known)
        if found.state == "lost":  # it may have ended between two looks
            found = _status(folder, job, known)
    except Unreadable as error:
        return Status("unknown", why=str(error))
    return found


def _status(folder: Path, job: Job, known: Known) -> Status:
    ended = records.read(folder, records.ENDED, Ended)
    started = records.read(folder, records.STARTED, Started)
    submitted = records.read(folder, records.SUBMITTED, Submitted)
    cancel = records.read(folder, records.CANCEL, Cancel)
    native = (submitted.native_id if submitted else None) or (started.native_id if started else None) or ""
    if ended is not None:
        return _ended(ended, native, cancel is not None)
    if started is not None:
        return _running(folder, job, started, native, known)
    if cancel is not None:
        return Status("cancelled", native, why="cancelled before it began")
    if submitted is None:
        return Status("unknown", why=f"whoever submitted it on {job.host} was killed, or is about to hand it over")
    if submitted.runner is not None:
        if not is_here(submitted.runner):
            return Status("unknown", native, why=f"only {submitted.runner.host} can tell")
        return Status("pending", native) if runs(submitted.runner) else Status("lost", native, why=GONE)
    if known(job, native) is False:
        return Status("lost", native, why="its queue does not know it any more, and it never began")
    return Status("pending", native)


def _ended(ended: Ended, native: str, cancelled: bool) -> Status:
    text = "" if ended.exit_code is None else str(ended.exit_code)
    if ended.signal is not None:
        text = signal.Signals(ended.signal).name if ended.signal in set(signal.Signals) else f"signal {ended.signal}"
    if ended.stopped and cancelled:
        return Status("cancelled", native, text, "")
    return Status("done" if ended.exit_code == 0 and not ended.stopped else "failed", native, text, ended.why or "")


def _running(folder: Path, job: Job, started: Started, native: str, known: Known) -> Status:
    if is_here(started.runner):
        return Status("running", native) if runs(started.runner) else Status("lost", native, why=GONE)
    silent = _now_of(folder) - (folder / records.STARTED).stat().st_mtime
    if silent < SILENT_S:
        return Status("running", native)
    if known(job, native) is False:
        return Status("lost", native, why=GONE)
    return Status("unknown", native, why=f"no sign of life from {started.runner.host} for {silent:.0f} s")


def _now_of(folder: Path) -> float:
    """The time, s, by the clock of the file system, which may be another machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()
