"""`inbeam process CONFIG FILES --dask SCHEDULER`: recorded scans, divided by frame numbers among the workers of Dask.

Each part is a process beside its worker, with files of its own, and the values are those of a single process, bit for
bit: every frame is processed alone. Dask gives the part of a worker that was lost to another. The parts of a scan are
then one master file, as those of receivers are; the folder of the files must be reachable by all workers.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from stream.commands import dividing
from stream.commands.progress import show_counts
from stream.config import Config
from stream.errors import ConfigError, InbeamError
from stream.preflight import preflight

log = logging.getLogger("inbeam")
PARTS_PER_THREAD = 2
RETRIES = 3
"""How often Dask gives a part away again whose worker was lost, or which has failed."""
SLURM = ("cores", "memory", "walltime", "jobs", "processes", "account")


def process_on(scheduler: str, config: Config, *, parts: int | None, quiet: bool) -> int:
    """Process, make the masters; the exit code. Raises ConfigError, InbeamError."""
    found = list(dividing.problems(config))
    if config.document["stream"].get("join"):
        found.append(("stream.join", "joined recordings cannot be divided: leave it out"))
    if found:
        raise ConfigError(found)
    preflight(config)
    with connected(scheduler) as client:
        count = parts or PARTS_PER_THREAD * max(1, sum(client.nthreads().values()))
        documents = [document_of(config, number, count) for number in range(count)]
        told = _results(client, documents, quiet=quiet)
    return _finish(config, documents, told)


def document_of(config: Config, number: int, count: int) -> dict[str, Any]:
    """The configuration of one part."""
    made = deepcopy(dict(config.document))
    made["stream"] = {**made["stream"], "part": [number, count]}
    made["sinks"] = dividing.part_sinks(config, number)
    made["run"] = {**(made.get("run") or {}), "reorder_frames": 0, "reorder_ms": 0.0, "workers": 1}
    return made


def run_part(document: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """In a worker: what a process of its own tells of its part. Raises RuntimeError if it has died."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.commands.part_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=dividing.environment(),
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        process.stdin.write(json.dumps(document, default=str).encode() + b"\n")
        process.stdin.flush()
        told = [json.loads(line) for line in process.stdout]
    if process.returncode or not told or "trouble" not in told[-1]:
        raise RuntimeError(f"part {document['stream']['part'][0]} ended with exit code {process.returncode}")
    return told


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client of Dask. Raises ConfigError, InbeamError."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InbeamError("Dask is not installed: pip install 'inbeam[dask]'") from error
    kind = urlsplit(scheduler)
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
        with Client(scheduler if cluster is None else cluster, timeout="20s") as client:
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


def _results(client: Any, documents: list[dict[str, Any]], *, quiet: bool) -> dict[int, list[dict[str, Any]] | str]:
    """Part -> what its process told, or why there is none."""
    from distributed import as_completed

    futures = {
        client.submit(run_part, document, os.getcwd(), pure=False, retries=RETRIES): number
        for number, document in enumerate(documents)
    }
    told: dict[int, list[dict[str, Any]] | str] = {}
    with show_counts("parts", len(futures), quiet=quiet) as show:
        for future in as_completed(list(futures)):
            try:
                told[futures[future]] = future.result()
            except Exception as error:  # what a worker raised, or that it was lost too often
                told[futures[future]] = f"{type(error).__name__}: {error}"
            show(len(told))
    return told


def _finish(config: Config, documents: list[dict[str, Any]], told: Mapping[int, list[dict[str, Any]] | str]) -> int:
    masters = dividing.Masters(config, len(documents))
    scans: dict[str, tuple[str, dict[int, list[str | None]]]] = {}
    troubles: dict[str, None] = {}
    for number, lines in told.items():
        if isinstance(lines, str):
            troubles[f"part {number} of {len(documents)}: {lines}"] = None
            continue
        for line in lines:
            if line.get("trouble"):
                troubles[line["trouble"]] = None
            elif "scan" in line:
                _, files = scans.setdefault(line["scan"], (line["name"], {}))
                files[number] = dividing.files_of(documents[number], line["files"])
    for uid, (name, files) in scans.items():
        if not any(file for found in files.values() for file in found):
            log.info("scan %s: already there, left alone", name)
            continue
        made, parts = masters.make(name, uid, files)
        if len(parts) < len(documents):
            troubles[f"scan {name}: {len(documents) - len(parts)} of {len(documents)} parts are missing"] = None
        if made:
            became = dividing.told(made[0], name)
            troubles |= dict.fromkeys(became.troubles)
            log.info("%s, %d parts -> %s", became.line, len(parts), ", ".join(map(str, made)))
    troubles |= masters.troubles
    if troubles:
        print(f"inbeam: {'; '.join(troubles)}", flush=True)
    return 1 if troubles else 0
