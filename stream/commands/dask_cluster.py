"""The scheduler and the workers of Dask: those of an address, processes of this machine, or jobs of a queue."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stream.commands import dask_jobs
from stream.errors import ConfigError, InbeamError
from stream.jobs import resources
from stream.jobs.resources import Batch

log = logging.getLogger("inbeam")
CONNECT_S = 20.0
"""How long to wait for a scheduler to answer."""
SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")
TALKATIVE = ("distributed", "distributed.client", "tornado.application", "asyncio")


@contextmanager
def connected(
    scheduler: str,
    *,
    file: Path | None = None,
    threads: int | None = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Any]:
    """A client of Dask. file: of the resources that `scheduler` may name. threads: of workers, how many to wait for
    where a queue starts them; None: all that it is asked for. stopped: ends this wait.

    Raises ConfigError, InbeamError.
    """
    try:
        from distributed import Client
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise InbeamError("Dask is not installed: pip install 'inbeam[dask]'") from error
    with ExitStack() as stack:
        stack.enter_context(_quiet())  # that a scheduler is gone we say ourselves, without a traceback
        address, queue = _opened(scheduler, file, stack)
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_S))
        except OSError as error:
            raise InbeamError(f"no scheduler of Dask answers at {scheduler}: {error}") from error
        try:
            if queue is not None:
                queue.submit()
                _wait(client, queue, threads, stopped)
            if not client.nthreads():
                raise InbeamError(f"{scheduler} has no workers: start some with `dask worker {scheduler}`")
            yield client
        except CommClosedError as error:
            raise InbeamError(gone(scheduler)) from error


def gone(scheduler: str) -> str:
    """That there is no scheduler any more, and what to do."""
    return f"the scheduler of Dask at {scheduler} is gone: start it and its workers, then this command again"


def _opened(scheduler: str, file: Path | None, stack: ExitStack) -> tuple[Any, dask_jobs.Queue | None]:
    """(what a client connects to, the queue that starts its workers)."""
    kind = urlsplit(scheduler)
    if kind.scheme in SCHEMES:
        return scheduler, None
    if kind.scheme == "local":
        from distributed import LocalCluster

        if kind.netloc and not (kind.netloc.isdecimal() and int(kind.netloc)):
            raise ConfigError([("--dask", f"{scheduler}: {kind.netloc} is no number of workers, such as local://4")])
        workers = int(kind.netloc) if kind.netloc else os.cpu_count() or 1
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, scheduler_kwargs=dask_jobs.NO_DASHBOARD)
        stack.callback(cluster.close)
        return cluster, None
    queue = dask_jobs.slurm(scheduler) if kind.scheme == "slurm" else dask_jobs.of_resource(_resource(scheduler, file))
    stack.callback(queue.close)
    return queue.cluster, queue


def _resource(name: str, file: Path | None) -> Batch:
    """What a YAML of resources has under this name. Raises ConfigError."""
    known = resources.load(file, None)
    if "://" not in name and name in known.resources:
        found = known.find(name)
        if isinstance(found, Batch):
            return found
    names = [name for name, each in known.resources.items() if isinstance(each, Batch)]
    listed = f", or a cluster of the resources: {', '.join(names)}" if names else ""
    text = f"{name!r} is no scheduler: write tcp://host:port, local://4 or slurm://QUEUE?cores=8&memory=16GB{listed}"
    raise ConfigError([("--dask", text)])


def _wait(client: Any, queue: dask_jobs.Queue, threads: int | None, stopped: Callable[[], bool]) -> None:
    """Until the queue has started them; that takes as long as it takes."""
    told = False
    while True:
        there = dict(client.nthreads())
        if len(there) >= queue.jobs or (threads is not None and sum(there.values()) >= threads):
            return
        if stopped():
            raise InbeamError("stopped before the queue had started the workers: its jobs are cancelled")
        if not told:
            told = True
            log.info("waiting for the queue to start %d jobs with workers of Dask", queue.jobs)
        time.sleep(0.2)


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
