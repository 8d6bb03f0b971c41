"""`inbeam run CONFIG --dask SCHEDULER`: the receivers run on the workers of Dask, wherever these are.

A receiver is a task that is pinned on a worker and lasts as long as the run: it starts a process beside the worker and
waits for it. Not an actor: an actor is gone with its worker, and so is everything that it holds. The process is linked
to us directly (`stream.receivers.link`), goes on if its worker or the scheduler dies, and ends when we do. Dask gives
the task of a lost worker to another; the process that comes then is sent away as long as the first one lives.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import zmq

from stream.commands import dividing
from stream.commands.children import Child, Crews, Said
from stream.commands.dask_cluster import connected, gone
from stream.config import Config
from stream.errors import ConfigError, InbeamError
from stream.pipeline.journal import Journal
from stream.pipeline.runner import worker_count
from stream.receivers.roster import Roster, Seat

log = logging.getLogger("inbeam")
SILENT_S, COMING_S = 10.0, 60.0
"""A receiver of which nothing was heard for so long is silent; so long may one take that has just been started."""
LAST_WORDS_S = 3.0
"""How long the last words may be on the way after the process has ended."""


def hold(link: Mapping[str, str], folder: str) -> int:
    """In a worker: start a receiver, and wait for its end."""
    with subprocess.Popen(
        [sys.executable, "-m", "stream.commands.part_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
        env=dividing.environment(),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"link": link}).encode() + b"\n")
        process.stdin.close()
        return process.wait()


def crews(scheduler: str, config: Config) -> Crews:
    """Opens a crew on the workers of this scheduler. Raises ConfigError, InbeamError."""

    @contextmanager
    def opened(count: int | None, stopped: Callable[[], bool]) -> Iterator[DaskCrew]:
        wanted = connected(scheduler, file=config.run.resources, threads=count, stopped=stopped)
        with wanted as client, marked(config) as marker:
            crew = DaskCrew(client, scheduler, count, marker)
            try:
                yield crew
            finally:
                crew.roster.close()

    return opened


class DaskCrew:
    """See `stream.commands.children.Crew`."""

    def __init__(self, client: Any, scheduler: str, count: int | None, marker: Path) -> None:
        self.client, self._scheduler, self.marker = client, scheduler, marker
        threads: dict[str, int] = dict(client.nthreads())
        count = self.count = len(threads) if count is None else count
        if sum(threads.values()) < count:
            text = f"{count} receivers take a thread of a worker each, and {scheduler} has {sum(threads.values())}"
            raise ConfigError([("--receivers", f"{text}: start more workers, or ask for fewer")])
        self._threads = threads
        self.places = placed(threads, count)
        self.keys: tuple[bytes, bytes] | None = zmq.curve_keypair()
        self.endpoint = f"tcp://{own_address(client.scheduler.address)}:0"
        self.roster = Roster(self.endpoint, self.keys)

    @property
    def lost(self) -> str:
        """See `Crew`."""
        if self.client.status == "running":
            return ""
        return gone(self._scheduler)

    def workers(self, config: Config, place: int) -> int:
        """As configured, for each receiver; auto: the threads of its worker, shared with the others there."""
        if config.run.workers != "auto":
            return worker_count(config)
        address = self.places[place]
        return max(1, self._threads[address] // self.places.count(address))

    def child(self, number: int, document: Mapping[str, Any], said: Said) -> Child:
        """See `Crew`."""
        return DaskChild(self, number, document, said, self.places[number % len(self.places)])


class DaskChild:
    """See `stream.commands.children.Child`."""

    def __init__(self, crew: DaskCrew, number: int, document: Mapping[str, Any], said: Said, worker: str) -> None:
        self.number, self.document = number, document
        self._crew, self._said, self.worker = crew, said, worker
        self._token = ""
        self._seat: Seat
        self._future: Any = None
        self._done: float | None = None
        self._stopping = False

    def start(self) -> None:
        """See `Child`."""
        crew = self._crew
        crew.roster.withdraw(self._token)  # who comes late with the old one is not another process of this number
        self._token, self._done = uuid.uuid4().hex, None
        order = {"document": json.loads(json.dumps(self.document, default=str)), "marker": str(crew.marker)}
        self._seat = crew.roster.expect(self._token, order, lambda told: self._said.put((self.number, dict(told))))
        assert crew.keys is not None
        link = {"endpoint": crew.roster.endpoint, "key": crew.keys[0].decode(), "token": self._token}
        self._future = crew.client.submit(
            hold,
            link,
            os.getcwd(),
            key=f"inbeam-receiver-{self.number}-{self._token}",
            workers=[self.worker],
            allow_other_workers=True,
            pure=False,
        )

    @property
    def pid(self) -> int:
        """See `Child`."""
        return self._seat.pid

    @property
    def where(self) -> str:
        """See `Child`."""
        return self._seat.host

    @property
    def ended(self) -> bool:
        """True after its last words; or when whoever waits for the process in the worker says that it is gone."""
        seat, status = self._seat, self._future.status
        if seat.bye is not None or (self._stopping and seat.peer is None):
            return True
        if seat.left:  # what is done then may be the task of another, which was sent away
            return False
        if status == "finished" and self._done is None:
            self._done = time.monotonic()
        if status == "error" and seat.peer is None:
            return True
        return self._done is not None and time.monotonic() - self._done > LAST_WORDS_S

    @property
    def silent(self) -> bool:
        """See `Child`."""
        seat = self._seat
        longest = SILENT_S if seat.peer is not None else COMING_S
        return not self.ended and time.monotonic() - seat.heard > longest

    @property
    def abandoned(self) -> bool:
        """See `Child`."""
        return self.silent and self._future.status != "pending"

    @property
    def hopeless(self) -> bool:
        """See `Child`."""
        return bool(self._seat.bye and self._seat.bye.get("hopeless"))

    @property
    def how(self) -> str:
        """See `Child`."""
        if self._seat.bye is not None:
            return str(self._seat.bye.get("trouble")) or "by itself"
        if self._future.status == "error":
            with suppress(Exception):  # whatever the worker raised, or that it cannot be had any more
                return " ".join(str(self._future.exception(timeout=5)).split())
        return "its process is gone"

    def stop(self) -> None:
        """See `Child`."""
        self._stopping = True
        if self._seat.peer is None:
            self._crew.roster.withdraw(self._token)
        self._crew.roster.stop(self._seat)

    def kill(self) -> None:
        """See `Child`."""
        self._crew.roster.withdraw(self._token)
        self._crew.roster.end(self._seat)


def placed(threads: Mapping[str, int], count: int) -> list[str]:
    """The worker of each receiver: first one on each machine, as each has a network of its own, then the next there.

    threads: address of a worker -> its threads, as many as it takes receivers.
    """
    taken = dict.fromkeys(threads, 0)
    hosts: dict[str, int] = {}
    found = []
    for _ in range(count):
        free = [address for address in threads if taken[address] < threads[address]]
        best = min(free, key=lambda address: (hosts.get(_host(address), 0), taken[address], address))
        taken[best] += 1
        hosts[_host(best)] = hosts.get(_host(best), 0) + 1
        found.append(best)
    return found


def own_address(other: str) -> str:
    """The address of this machine that another one reaches it at, who has the address `other`. Raises InbeamError."""
    parts = urlsplit(other)
    host, port = parts.hostname or "127.0.0.1", parts.port or 8786
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # nothing is sent
            own = str(probe.getsockname()[0])
    except OSError as error:
        raise InbeamError(f"this machine has no way to {other}: {error}") from error
    return f"[{own}]" if ":" in own else own


@contextmanager
def marked(config: Config) -> Iterator[Path]:
    """A file beside the output, by which a worker knows that it sees the same folder. Raises InbeamError."""
    folder = Journal.of(replace(config, run=config.run.model_copy(update={"journal": None}))).path.parent
    marker = (folder / f".inbeam-{uuid.uuid4().hex[:12]}.here").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch(exist_ok=False)
    except OSError as error:
        raise InbeamError(f"{folder} cannot be written ({error.strerror}): choose another `path`") from error
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _host(address: str) -> str:
    return urlsplit(address).hostname or address
