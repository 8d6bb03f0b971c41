"""Workers of Dask that are jobs of a cluster's queue, by dask-jobqueue: from an address, or a resource in a YAML.

slurm://QUEUE?cores=8&memory=16GB&jobs=4&walltime=01:00:00, or the name of a resource in inbeam-jobs.yaml (see
`stream.jobs.resources`): `nodes` jobs of one worker each, with as many threads as it has cores. The scheduler lives in
the process of the command; the workers connect to it.
"""

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from stream.errors import ConfigError, InbeamError
from stream.jobs.resources import Batch

SLURM = ("cores", "memory", "walltime", "jobs", "processes", "account")
UNSAID_MEMORY = "4GB"
"""Dask must be told; the queue then is not."""
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Without an address the scheduler's own pages want port 8787, and a second scheduler on a machine warns of it."""
COMMON = {
    "scheduler_options": NO_DASHBOARD,
    "worker_extra_args": ["--memory-limit", "0", "--no-dashboard"],
    "local_directory": "/tmp",
}
"""What needs memory are the processes beside a worker: Dask shall not judge by its own."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A cluster of Dask none of whose jobs has been submitted, and how many there are to be."""

    cluster: Any
    jobs: int

    def submit(self) -> None:
        """Raises InbeamError if the queue refuses them."""
        cluster = self.cluster

        async def settled() -> None:
            await cluster

        with suppress(RuntimeError):  # of one that is refused; it is asked below what was said
            cluster.scale(jobs=self.jobs)
            cluster.sync(settled)
        for job in list(cluster.workers.values()):
            if job.status.name == "created":
                try:
                    cluster.sync(job.start)
                except (RuntimeError, OSError) as error:
                    said = str(error).partition("stderr:")[2] or str(error)
                    raise InbeamError(f"the queue refused the workers of Dask: {' '.join(said.split())}") from error

    def close(self) -> None:
        """Cancel what waits or runs. Does nothing the second time."""
        from distributed.core import Status

        for job in list(self.cluster.workers.values()):
            job.status = Status.closed  # dask-jobqueue does not say so itself, which distributed takes for a fault
        self.cluster.close()


def slurm(address: str) -> Queue:
    """From slurm://QUEUE?cores=8&memory=16GB&... Raises ConfigError."""
    parts = urlsplit(address)
    told = dict(parse_qsl(parts.query))
    if unknown := sorted(set(told) - set(SLURM)):
        raise ConfigError([("--dask", f"unknown {unknown[0]}: slurm:// takes {', '.join(SLURM)}")])
    try:
        cores, processes, jobs = (int(told.get(name, "1")) for name in ("cores", "processes", "jobs"))
    except ValueError as error:
        raise ConfigError([("--dask", f"cores, processes and jobs are whole numbers: {error}")]) from error
    if min(cores, processes, jobs) < 1:
        raise ConfigError([("--dask", f"{address}: cores, processes and jobs are 1 or more")])
    memory = {"memory": told["memory"]} if "memory" in told else _unsaid("--mem")
    walltime = told.get("walltime", "01:00:00")
    queue = {"queue": parts.netloc or None, "account": told.get("account"), "walltime": walltime}
    return Queue(_class("SLURMCluster")(cores=cores, processes=processes, **queue, **memory, **COMMON), jobs)


def of_resource(batch: Batch) -> Queue:
    """From a resource of the YAML. Raises ConfigError."""
    hours, minutes = divmod(batch.time_min, 60)
    told: dict[str, Any] = {
        "queue": batch.partition,
        "account": batch.account,
        "walltime": f"{hours:02d}:{minutes:02d}" + ("" if batch.type == "lsf" else ":00"),
        "cores": batch.cores,
        "processes": 1,
        "python": str(batch.python or sys.executable),
        "job_script_prologue": [f"module load {name}" for name in batch.modules],
        **COMMON,
    }
    if batch.type == "slurm":
        name, unsaid = "SLURMCluster", "--mem"
        told["job_extra_directives"] = [f"--{key}={value}" for key, value in batch.extra.items()]
    elif batch.extra or batch.type == "cobalt":
        what = "cobalt is not known to dask-jobqueue" if batch.type == "cobalt" else "`extra` is for slurm only"
        raise ConfigError([("--dask", f"{what}: start a scheduler and its workers yourself, and give its address")])
    elif batch.type == "lsf":
        name, unsaid = "LSFCluster", "-M"
        told["project"] = told.pop("account")
    else:
        name, unsaid = "PBSCluster", ":mem="
        memory = "" if batch.memory_gb is None else f"mem={batch.memory_gb * 1000:.0f}mb"
        shape = f"nodes=1:ppn={batch.cores}" if batch.type == "pbs_classic" else f"select=1:ncpus={batch.cores}"
        told["resource_spec"] = f"{shape}{',' if batch.type == 'pbs_classic' else ':'}{memory}" if memory else shape
    told |= _unsaid(unsaid) if batch.memory_gb is None else {"memory": f"{batch.memory_gb:g}GB"}
    return Queue(_class(name)(**told), batch.nodes)


def _unsaid(directive: str) -> dict[str, Any]:
    return {"memory": UNSAID_MEMORY, "job_directives_skip": [directive]}


def _class(name: str) -> Any:
    try:
        import dask_jobqueue
    except ImportError as error:
        raise InbeamError("dask-jobqueue is not installed: pip install 'inbeam[dask]'") from error
    return getattr(dask_jobqueue, name)
