"""The folder of the jobs: a numbered folder for each, in which everything lies that is known of it."""

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from stream import fingerprint
from stream.errors import ConfigError, InbeamError
from stream.jobs import local, queue, records
from stream.jobs.records import Cancel, Ended, Input, Job, Submitted, Unreadable, now
from stream.jobs.resources import Batch, Local, user
from stream.jobs.state import Status, status

CONFIGURATION = "configuration.yaml"


def submit(
    root: Path,
    name: str,
    resource: str,
    options: Local | Batch,
    command: Sequence[str],
    arguments: Sequence[str],
    *,
    directory: Path,
    configuration: tuple[int, Path] | None = None,
    rerun_of: int | None = None,
) -> tuple[Job, Submitted]:
    """Make the job's folder and hand it to its resource.

    arguments: what is started; configuration: which of them is a YAML, and where it is now. The job runs with a copy in
    its folder, so that a change of the file while it waits changes nothing.
    Raises ConfigError before anything is begun, else InbeamError.
    """
    root = root.absolute()
    if isinstance(options, Batch):
        queue.needed(f"resources.{resource}", options)
        queue.check_folder(root)
    try:
        number, folder = _made(root)
        words = list(arguments)
        if configuration is not None:
            shutil.copyfile(directory / configuration[1], folder / CONFIGURATION)
            words[configuration[0]] = str(folder / CONFIGURATION)
        job = Job(
            id=number,
            name=name,
            resource=resource,
            options=options,
            command=tuple(command),
            arguments=tuple(words),
            directory=directory,
            configuration=None if configuration is None else configuration[0],
            inputs=tuple(_inputs(directory, command)),
            rerun_of=rerun_of,
            user=user(),
            host=socket.gethostname(),
            created=now(),
        )
        records.reserve(folder)
        records.write(folder, records.JOB, job)
    except OSError as error:
        raise InbeamError(f"the job's folder cannot be written in {root}: {error.strerror}; nothing runs") from error
    try:
        made = queue.submit(folder, job, options) if isinstance(options, Batch) else local.submit(folder, job)
    except InbeamError as error:
        records.end(folder, Ended(why=str(error), time=now()))
        raise InbeamError(f"job {number} was not begun: {error}") from error
    records.write(folder, records.SUBMITTED, made)
    return job, made


def cancel(root: Path, number: int) -> str:
    """Ask for the end of a job; returns what was done, in words. Raises ConfigError, InbeamError."""
    folder, job = find(root, number)
    before = status(folder, job, lambda *_: None)
    if before.state in ("done", "failed", "cancelled", "lost"):
        return f"job {number} is {before.state} already"
    try:
        records.write(folder, records.CANCEL, Cancel(who=user(), time=now()))
    except OSError as error:
        raise InbeamError(f"job {number} cannot be cancelled: {folder} cannot be written: {error.strerror}") from error
    if isinstance(job.options, Batch) and before.native_id:
        queue.needed(f"job {number}", job.options)
        queue.cancel(folder, job.options, before.native_id)
    return f"job {number} is told to end"


def find(root: Path, number: int) -> tuple[Path, Job]:
    """The folder and description of a job. Raises ConfigError if it is not there, InbeamError if it is damaged."""
    folder = root.absolute() / f"{number:04d}"
    try:
        job = records.read(folder, records.JOB, Job)
    except Unreadable as error:
        raise InbeamError(str(error)) from error
    if job is None:
        raise ConfigError([("ID", f"there is no job {number} in {root.absolute()}: see `inbeam jobs list`")])
    return folder, job


def all_of(root: Path, most: int | None = None) -> Iterator[tuple[int, Job | None, Status]]:
    """Every job by its number, or the latest `most`; None for one whose description cannot be read."""
    asked: dict[str, frozenset[str] | None] = {}

    def known(job: Job, native: str) -> bool | None:
        if not isinstance(job.options, Batch) or not native:
            return None
        if job.options.type not in asked:
            asked[job.options.type] = queue.known(root.absolute() / f"{job.id:04d}", job.options)
        found = asked[job.options.type]
        return None if found is None else native in found

    for number in _numbers(root)[-most if most else 0 :]:
        folder = root.absolute() / f"{number:04d}"
        try:
            job = records.read(folder, records.JOB, Job)
        except Unreadable as error:
            yield number, None, Status("unknown", why=str(error))
            continue
        if job is None:
            yield number, None, Status("unknown", why="whoever submitted it was killed before it was described")
        else:
            yield number, job, status(folder, job, known)


def _numbers(root: Path) -> list[int]:
    try:
        return sorted(int(each) for each in os.listdir(root) if each.isdecimal() and each.isascii())
    except FileNotFoundError:
        return []


def _made(root: Path) -> tuple[int, Path]:
    root.mkdir(parents=True, exist_ok=True)
    number = max(_numbers(root), default=0)
    while True:
        number += 1
        try:
            (root / f"{number:04d}").mkdir()
        except FileExistsError:
            continue
        return number, root / f"{number:04d}"


def _inputs(directory: Path, command: Sequence[str]) -> Iterator[Input]:
    for word in command[1:]:
        path = directory / word.partition("::")[0]
        if path.is_file():
            yield Input(path=str(path), bytes=path.stat().st_size, fingerprint=fingerprint.of_files([str(path)]))
