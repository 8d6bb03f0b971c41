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
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError
from copy import deepcopy
from typing import Any

from stream.commands import dividing, divisions
from stream.commands.dask_cluster import connected, gone
from stream.commands.progress import show_counts
from stream.config import Config
from stream.errors import ConfigError, InbeamError
from stream.preflight import preflight

log = logging.getLogger("inbeam")
PARTS_PER_THREAD = 2
RETRIES = 3
"""How often Dask gives a part away again whose worker was lost, or which has failed."""
LOOK_S, FETCH_S, WORKERLESS_S = 0.2, 20.0, 120.0
"""How often to look; how long to wait for what a part has told, and for a worker where all are gone."""


def process_on(scheduler: str, config: Config, *, parts: int | None, quiet: bool) -> int:
    """Process, make the masters; the exit code. Raises ConfigError."""
    found = list(dividing.problems(config))
    if config.document["stream"].get("join"):
        found.append(("stream.join", "joined recordings cannot be divided: leave it out"))
    if found:
        raise ConfigError(found)
    preflight(config)
    with connected(scheduler, file=config.run.resources) as client:
        count = divisions.parts(config, parts, PARTS_PER_THREAD * max(1, sum(client.nthreads().values())))
        documents = [document_of(config, number, count) for number in range(count)]
        told = _results(client, documents, quiet=quiet)
        if len(told) < count:
            done = f"{len(told)} of {count} parts are done: it goes on with the rest"
            raise InbeamError(f"{_lost(client, scheduler)}. {done}")
    return _finish(config, documents, told)


def document_of(config: Config, number: int, count: int) -> dict[str, Any]:
    """The configuration of one part."""
    made = deepcopy(dict(config.document))
    made["stream"] = {**made["stream"], "part": [number, count]}
    made["sinks"] = dividing.part_sinks(config, number)
    made["run"] = {**(made.get("run") or {}), "reorder_frames": 0, "reorder_ms": 0.0, "workers": 1}
    return made


def run_part(document: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """In a worker: what a process of its own tells of its part. Raises RuntimeError if it has died.

    It stops in order if the worker is at its end, as it is when the scheduler is gone.
    """
    from distributed import get_worker

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
        threading.Thread(target=_as_long_as, args=(get_worker(), process), daemon=True).start()
        told = [json.loads(line) for line in process.stdout]
    if process.returncode or not told or "trouble" not in told[-1]:
        raise RuntimeError(f"part {document['stream']['part'][0]} ended with exit code {process.returncode}")
    return told


def _as_long_as(worker: Any, process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    while process.poll() is None:
        if worker.status.name not in ("running", "paused"):
            process.stdin.close()
            return
        time.sleep(LOOK_S)


def _results(client: Any, documents: list[dict[str, Any]], *, quiet: bool) -> dict[int, list[dict[str, Any]] | str]:
    """Part -> what its process told, or why there is none. Not all, if nobody works on them any more."""
    futures = {
        client.submit(run_part, document, os.getcwd(), pure=False, retries=RETRIES): number
        for number, document in enumerate(documents)
    }
    told: dict[int, list[dict[str, Any]] | str] = {}
    worked = looked = time.monotonic()
    with show_counts("parts", len(futures), quiet=quiet) as show:
        while len(told) < len(futures) and client.status == "running":
            for future, number in futures.items():
                if number not in told and future.status in ("finished", "error"):
                    try:
                        told[number] = future.result(timeout=FETCH_S)
                    except CancelledError:  # the scheduler is gone
                        continue
                    except Exception as error:  # what a worker raised, or that it was lost too often
                        told[number] = f"{type(error).__name__}: {error}"
                    show(len(told))
            now = time.monotonic()
            if now - looked > 1.0:
                looked = now
                worked = now if client.scheduler_info(n_workers=0)["n_workers"] else worked
            if now - worked > WORKERLESS_S:
                break
            time.sleep(LOOK_S)
    return told


def _lost(client: Any, scheduler: str) -> str:
    if client.status != "running":
        return gone(scheduler)
    return f"{scheduler} has had no worker for {WORKERLESS_S:g} s: start some with `dask worker`"


def _finish(config: Config, documents: list[dict[str, Any]], told: Mapping[int, list[dict[str, Any]] | str]) -> int:
    masters = dividing.Masters(config, len(documents))
    scans: dict[str, tuple[str, dict[int, list[str | None]]]] = {}
    troubles: dict[str, None] = {}
    fresh: set[str] = set()
    for number, lines in told.items():
        if isinstance(lines, str):
            troubles[f"part {number} of {len(documents)}: {lines}"] = None
            continue
        for line in lines:
            if line.get("trouble"):
                troubles[line["trouble"]] = None
            elif "scan" in line:
                _, files = scans.setdefault(line["scan"], (line["name"], {}))
                files[number] = dividing.files_of(documents[number], line)
                if any(line["files"]):
                    fresh.add(line["scan"])
    for uid, (name, files) in scans.items():
        made, parts = masters.make(name, uid, files)
        if len(set(parts)) < len(documents):
            troubles[f"scan {name}: {len(documents) - len(set(parts))} of {len(documents)} parts are missing"] = None
        if made:
            became = dividing.told_of(made, name)
            if uid in fresh:  # what was there already is no loss of this run
                troubles |= dict.fromkeys(became.troubles)
            place = ", ".join(map(str, made)) + ("" if uid in fresh else " (was there already)")
            log.info("%s, %d parts -> %s", became.line, len(set(parts)), place)
    troubles |= masters.troubles
    if troubles:
        print(f"inbeam: {'; '.join(troubles)}", flush=True)
    return 1 if troubles else 0
