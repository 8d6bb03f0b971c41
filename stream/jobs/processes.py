"""Which process it is, told so that a number that was given to another one later is not taken for it."""

import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Identity(BaseModel):
    """host: its name; boot: of its running system; pid; ticks: when the process began, clock ticks since the boot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    boot: str
    pid: int
    ticks: int


def identify(pid: int) -> Identity | None:
    """A process of this machine, None if there is none that runs."""
    ticks = _ticks(pid)
    return None if ticks is None else Identity(host=socket.gethostname(), boot=_boot(), pid=pid, ticks=ticks)


def is_here(process: Identity) -> bool:
    """True if this machine can tell whether it runs."""
    return process.host == socket.gethostname()


def runs(process: Identity) -> bool:
    """True if that very process, of this machine, runs; a zombie does not."""
    return process.boot == _boot() and _ticks(process.pid) == process.ticks


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # sandboxes that have none
        return ""


def _ticks(pid: int) -> int | None:
    """Fields 3 (state) and 22 (start) of proc(5)'s stat; the name before them may hold blanks and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if len(fields) < 20 or fields[0] in (b"Z", b"X") else int(fields[19])
