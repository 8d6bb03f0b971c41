"""`python -m stream.jobs.runner FOLDER`: starts the job of a folder, waits for it, and writes what became of it.

It belongs to nobody: the client that submitted it may be gone. If it is killed itself, its job goes with it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stream.jobs import records
from stream.jobs.processes import identify
from stream.jobs.provenance import provenance
from stream.jobs.records import Ended, Job, Started

LOOK_S = 0.5
"""Between two looks for a wish to cancel."""
SIGN_OF_LIFE_S = 10.0
GRACE_S = 10.0
"""From SIGTERM to SIGKILL."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""As shells say it."""
TOLD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
QUEUE_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID")
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """0: the end is in the folder. With --detach: print the process that goes on, and leave it."""
    folder = Path(arguments[0]).absolute()
    if "--detach" in arguments[1:]:
        _detach()
    signal.pthread_sigmask(signal.SIG_BLOCK, {*TOLD, signal.SIGCHLD})
    try:
        ended = _run(folder)
    except (OSError, records.Unreadable) as error:
        ended = Ended(why=f"could not begin: {error}", time=records.now())
    records.end(folder, ended)
    return 0


def _run(folder: Path) -> Ended:
    job = records.read(folder, records.JOB, Job)
    if job is None:
        raise records.Unreadable(f"{folder / records.JOB} is not there")
    if _cancelled(folder):
        return Ended(stopped=True, why="cancelled before it began", time=records.now())
    itself = identify(os.getpid())
    if itself is None:
        raise OSError("this system has no /proc: jobs need Linux")
    native = next((os.environ[name] for name in QUEUE_IDS if name in os.environ), None)
    (folder / "provenance.json").write_text(provenance(job), encoding="utf-8")
    with open(folder / "stdout", "ab") as out, open(folder / "stderr", "ab") as err:
        records.write(folder, records.STARTED, Started(runner=itself, native_id=native, time=records.now()))
        try:
            child = subprocess.Popen(
                job.arguments,
                cwd=job.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_goes_with(os.getpid()),
            )
        except FileNotFoundError as error:
            return Ended(exit_code=NOT_FOUND, why=f"{error.filename}: not found", time=records.now())
        except PermissionError as error:
            return Ended(exit_code=NOT_EXECUTABLE, why=f"{error.filename}: may not be run", time=records.now())
    return _wait(folder, child)


def _wait(folder: Path, child: "subprocess.Popen[bytes]") -> Ended:
    told: str | None = None
    seen = time.monotonic()
    while child.poll() is None:
        came = signal.sigtimedwait({*TOLD, signal.SIGCHLD}, LOOK_S)
        if came is not None and came.si_signo in TOLD:
            told = f"the runner was told to end by {signal.Signals(came.si_signo).name}"
        if _cancelled(folder):
            told = "cancelled"
        if told is not None:
            _end_group(child)
        elif time.monotonic() - seen > SIGN_OF_LIFE_S:
            seen = time.monotonic()
            os.utime(folder / records.STARTED)
    code = child.returncode
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return Ended(signal=-code, stopped=told is not None, why=told or f"killed by {name}", time=records.now())
    return Ended(exit_code=code, stopped=told is not None, why=told, time=records.now())


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to all of its processes, then SIGKILL to those that are left after the grace."""
    limit = time.monotonic() + GRACE_S
    signal_group(child.pid, signal.SIGTERM)
    while time.monotonic() < limit and (child.poll() is None or signal_group(child.pid, 0)):
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)
    signal_group(child.pid, signal.SIGKILL)
    child.wait()


def signal_group(group: int, number: int) -> bool:
    """False if none of the group is left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _cancelled(folder: Path) -> bool:
    return (folder / records.CANCEL).exists()


def _goes_with(runner: int) -> Callable[[], None]:
    """What the job's process does before it is the job: signals as they were, and it dies with its runner."""
    library = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*TOLD, signal.SIGCHLD})
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != runner:
            os._exit(1)

    return prepare


def _detach() -> None:
    """A process in a session of its own goes on; this one names it and ends."""
    going_on = os.fork()
    if going_on:
        print(going_on, flush=True)
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
