"""This machine: a runner in a session of its own, which nobody waits for."""

import os
import subprocess
import sys
from pathlib import Path

from stream.errors import InbeamError
from stream.jobs.processes import identify
from stream.jobs.records import Job, Submitted, now


def submit(folder: Path, job: Job) -> Submitted:
    """Start the runner. Raises InbeamError."""
    python = str(job.options.python or sys.executable)
    command = [python, "-P", "-m", "stream.jobs.runner", os.fspath(folder), "--detach"]
    try:
        with open(folder / "runner.log", "ab") as log:
            made = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=False, text=True
            )
    except OSError as error:
        raise InbeamError(f"{python} cannot be started: {error.strerror}; correct the resource's python") from error
    if made.returncode or not made.stdout.strip().isdigit():
        raise InbeamError(f"{python} could not run the job: see {folder / 'runner.log'}")
    pid = int(made.stdout)
    return Submitted(native_id=str(pid), runner=identify(pid), time=now())
