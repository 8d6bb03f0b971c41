"""A scheduler of Dask and its workers, each a process of its own that a test may kill or stop."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from commands import wait_for

from stream.commands.demo import free_port


class Scheduler:
    """address: of the scheduler, whose process is `process`. workers: address -> the process of each."""

    def __init__(self, folder: Path, options: dict[str, str]) -> None:
        self._at = folder / "dask"
        self._at.mkdir(exist_ok=True)
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **options}
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.process = self._started("scheduler", "--host", self.address, "--no-show")
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def add_worker(self) -> str:
        """One more, of two threads; its address."""
        own = f"tcp://127.0.0.1:{free_port()}"
        scratch = ("--local-directory", str(self._at / own.rpartition(":")[2]))
        options = ("--no-nanny", "--nthreads", "2", "--death-timeout", "60", "--listen-address", own, *scratch)
        self.workers[own] = self._started("worker", self.address, *options)
        return own

    def ready(self, count: int) -> None:
        """So many workers live, some of them perhaps new; waits until the scheduler says so."""
        from distributed import Client

        self.workers = {address: each for address, each in self.workers.items() if each.poll() is None}
        while len(self.workers) < count:
            self.add_worker()
        with Client(self.address, timeout="60s") as client:
            wait_for(lambda: set(client.nthreads()) == set(self.workers), "the workers")

    def close(self) -> None:
        for process in (*self.workers.values(), self.process):
            process.kill()
            process.wait()

    def _started(self, kind: str, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *words]
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=self._at, env=self._environment, stdout=nowhere, stderr=nowhere)


@contextmanager
def scheduler(folder: Path, workers: int = 2, **options: str) -> Iterator[Scheduler]:
    """Running, with all its workers. options: of Dask, as environment variables."""
    made = Scheduler(folder, options)
    try:
        made.ready(workers)
        yield made
    finally:
        made.close()


def children_of(pid: int) -> list[int]:
    """The processes that one has started, itself or by way of others."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[1])
    found, fresh = [], [pid]
    while fresh:
        fresh = [child for child, parent in parents.items() if parent in fresh]
        found += fresh
    return found
