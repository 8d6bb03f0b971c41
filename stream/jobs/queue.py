"""Clusters' queues through psij-python: hand over, cancel, ask which jobs are known. Never: how a job ended.

psij-python says COMPLETED of a job whose exit code it did not see, hence the runner and its folder.
"""

import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from stream.errors import ConfigError, InbeamError
from stream.jobs.records import Job, Submitted, now
from stream.jobs.resources import Batch

PLAIN = re.compile(r"[A-Za-z0-9_./+@,:-]+")


def needed(name: str, options: Batch) -> None:
    """Raises ConfigError if psij-python is not there."""
    try:
        import psij  # noqa: F401
    except ImportError as error:
        text = f"a resource of type {options.type} needs psij-python: pip install 'inbeam[jobs]'"
        raise ConfigError([(name, text)]) from error


def check_folder(folder: Path) -> None:
    """Raises ConfigError if the scripts of the queue could not name it."""
    if not PLAIN.fullmatch(str(folder)):
        text = f"{folder}: for a cluster, choose a folder without blanks and signs that mean something to a shell"
        raise ConfigError([("folder", text)])


def submit(folder: Path, job: Job, options: Batch) -> Submitted:
    """Hand the runner over to the queue. Raises InbeamError with the queue's own words."""
    import psij

    python = str(options.python or sys.executable)
    further: dict[str, object] = {f"{options.type}.{key}": value for key, value in options.extra.items()}
    if options.type == "slurm":  # psij's script looks for the name where it is not
        further.setdefault("slurm.job-name", job.name)
    spec = psij.JobSpec(
        executable=python,
        arguments=["-P", "-m", "stream.jobs.runner", str(folder)],
        name=job.name,
        stderr_path=folder / "runner.log",
        resources=psij.ResourceSpecV1(
            node_count=options.nodes,
            processes_per_node=1,
            cpu_cores_per_process=options.cores,
            memory=None if options.memory_gb is None else int(options.memory_gb * 1e9),
        ),
        attributes=psij.JobAttributes(
            duration=timedelta(minutes=options.time_min),
            queue_name=options.partition,
            account=options.account,
            custom_attributes=further,
        ),
        launcher="single",
    )
    if options.modules:
        spec.pre_launch = folder / "modules.sh"
        lines = [f"module load {shlex.quote(each)}\n" for each in options.modules]
        spec.pre_launch.write_text("".join(lines), encoding="utf-8")
    made = psij.Job(spec)
    _told(options, lambda: _executor(options, folder).submit(made))
    if not made.native_id:
        raise InbeamError(f"{options.type} gave no id for the job: look for it in the queue before you submit it again")
    return Submitted(native_id=made.native_id, time=now())


def cancel(folder: Path, options: Batch, native_id: str) -> None:
    """Take it out of the queue. Raises InbeamError."""
    import psij

    made = psij.Job()
    executor = _executor(options, folder)
    executor.attach(made, native_id)
    _told(options, lambda: executor.cancel(made))


def known(folder: Path, options: Batch) -> frozenset[str] | None:
    """The native ids of this user's jobs in the queue; None if it cannot be asked from here."""
    try:
        return frozenset(_executor(options, folder).list())
    except (ImportError, OSError, subprocess.SubprocessError):
        return None


def _executor(options: Batch, folder: Path) -> Any:
    import psij

    config = psij.JobExecutorConfig(work_directory=folder / "queue")
    return psij.JobExecutor.get_instance(options.type, config=config)


def _told(options: Batch, act: Any) -> None:
    import psij

    try:
        act()
    except FileNotFoundError as error:
        text = f"{error.filename} is not on this machine: use a login node of the cluster ({options.type})"
        raise InbeamError(text) from error
    except psij.SubmitException as error:
        words = " ".join(str(error).split())
        raise InbeamError(f"the queue ({options.type}) refused the job: {words}") from error
