"""The scheduler and the workers of Dask: those of an address, processes of this machine, or jobs of SLURM."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from stream.errors import ConfigError, InbeamError

CONNECT_S = 20.0
"""How long to wait for a scheduler to answer."""
SLURM = ("cores", "memory", "walltime", "jobs", "processes", "account")


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client of Dask. Raises ConfigError, InbeamError."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InbeamError("Dask is not installed: pip install 'inbeam[dask]'") from error
    kind = urlsplit(scheduler)
    words = logging.getLogger("distributed")
    level = words.level
    words.setLevel(logging.CRITICAL)  # that a scheduler is gone we say ourselves, without a traceback
    cluster = None
    try:
        if kind.scheme == "local":
            workers = int(kind.netloc) if kind.netloc.isdecimal() else os.cpu_count() or 1
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        elif kind.scheme == "slurm":
            cluster = slurm(scheduler)
            cluster.scale(jobs=int(dict(parse_qsl(kind.query)).get("jobs", "1")))
        elif kind.scheme not in ("tcp", "tls", "ucx", "ws", "wss"):
            text = (
                f"{scheduler!r} is no scheduler: write tcp://host:port, local://4 or slurm://QUEUE?cores=8&memory=16GB"
            )
            raise ConfigError([("--dask", text)])
        with Client(scheduler if cluster is None else cluster, timeout=CONNECT_S) as client:
            if kind.scheme == "slurm":
                client.wait_for_workers(1)
            if not client.nthreads():
                raise InbeamError(f"{scheduler} has no workers: start some with `dask worker {scheduler}`")
            yield client
    except OSError as error:
        raise InbeamError(f"no scheduler of Dask answers at {scheduler}: {error}") from error
    finally:
        if cluster is not None:
            cluster.close()
        words.setLevel(level)


def slurm(address: str) -> Any:
    """A cluster whose workers are jobs of SLURM, from slurm://QUEUE?cores=8&memory=16GB&... Raises ConfigError."""
    from dask_jobqueue import SLURMCluster

    parts = urlsplit(address)
    told = dict(parse_qsl(parts.query))
    if unknown := sorted(set(told) - set(SLURM)):
        raise ConfigError([("--dask", f"unknown {unknown[0]}: slurm:// takes {', '.join(SLURM)}")])
    try:
        cores, processes = int(told.get("cores", "1")), int(told.get("processes", "1"))
        int(told.get("jobs", "1"))
    except ValueError as error:
        raise ConfigError([("--dask", f"cores, processes and jobs are whole numbers: {error}")]) from error
    return SLURMCluster(
        queue=parts.netloc or None,
        cores=cores,
        processes=processes,
        memory=told.get("memory", "8GB"),
        walltime=told.get("walltime", "01:00:00"),
        account=told.get("account"),
        scheduler_options={"dashboard": False},
    )
