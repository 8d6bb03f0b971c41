"""Jobs as a user has them: submitted by a process of its own, and looked at until they are over."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from commands import wait_for

from stream.jobs import folders, records
from stream.jobs.records import Started
from stream.jobs.state import State, Status

ROOT = Path(__file__).parents[2]


def jobs(folder: Path, *words: str, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    """`inbeam jobs ...` in a folder. path: instead of PATH."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if path is not None:
        environment["PATH"] = path
    command = [sys.executable, "-P", "-m", "stream.commands.main", "jobs", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def submitted(folder: Path, *command: str, options: Sequence[str] = ()) -> Path:
    """The folder of a new job."""
    made = jobs(folder, "submit", *options, *command)
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip().rpartition(": ")[2])


def look(job: Path) -> Status:
    """Its row, as the list has it."""
    return {number: status for number, _, status in folders.all_of(job.parent)}[int(job.name)]


def until(job: Path, *states: State) -> Status:
    """Wait until it is in one of the states."""
    return wait_for(lambda: found if (found := look(job)).state in states else None, f"{job} to be {states}")


def over(job: Path) -> Status:
    """Wait for the end."""
    return until(job, "done", "failed", "cancelled", "lost")


def runner(job: Path) -> int:
    """The process that writes its state, when it has begun."""
    started = wait_for(lambda: records.read(job, records.STARTED, Started), "the job to begin")
    return int(started.runner.pid)


def said(job: Path, text: str) -> None:
    """Wait until the job has printed a text."""
    out = job / "stdout"
    wait_for(lambda: out.exists() and text in out.read_text(), f"{text!r} in {out}")
