"""The files of a job's folder, and how they are written: whole, or not at all."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from stream.jobs.processes import Identity
from stream.jobs.resources import Resource

JOB, SUBMITTED, STARTED, CANCEL, ENDED = "job.json", "submitted.json", "started.json", "cancel.json", "ended.json"
RESERVED = "ended.json.reserved"
RESERVED_BYTES = 4096
"""Taken at submission, so that the end can be written on a disk that has become full."""
LARGEST_BYTES = 4_000_000
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$")]


class Record(BaseModel):
    """Frozen; a key that is not known makes the record one that this version cannot read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(Record):
    """A file that the command names, as it was at submission. fingerprint: see `stream/fingerprint.py`."""

    path: str
    bytes: int
    fingerprint: str


class Job(Record):
    """job.json: what is to be run. `command` as it was typed, `arguments` as the runner starts them, no shell.

    configuration: which of the arguments is the copy of the YAML in the job's folder.
    """

    id: int
    name: Name
    resource: str
    options: Resource
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    directory: Path
    configuration: int | None = None
    inputs: tuple[Input, ...] = ()
    rerun_of: int | None = None
    user: str
    host: str
    created: AwareDatetime


class Submitted(Record):
    """submitted.json: who has it now. runner: on this machine; None if a queue has it."""

    native_id: str
    runner: Identity | None = None
    time: AwareDatetime


class Started(Record):
    """started.json, written by the runner; its time of change is the runner's sign of life."""

    runner: Identity
    native_id: str | None = None
    time: AwareDatetime


class Cancel(Record):
    """cancel.json: somebody wants the job to end."""

    who: str
    time: AwareDatetime


class Ended(Record):
    """ended.json. exit_code: None if a signal ended it, or it never began; stopped: the runner was told to end it."""

    exit_code: int | None = None
    signal: int | None = None
    stopped: bool = False
    why: str | None = None
    time: AwareDatetime


class Unreadable(Exception):
    """A record that is there and cannot be used; the text says which and why."""


R = TypeVar("R", bound=Record)


def now() -> datetime:
    """The time of a record."""
    return datetime.now(UTC)


def read(folder: Path, name: str, model: type[R]) -> R | None:
    """The record, or None if it is not there. Raises Unreadable."""
    path = folder / name
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_BYTES:
        raise Unreadable(f"{path} is larger than any record")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Unreadable(f"{path} is no record of this version: {place or 'all of it'}: {first['msg']}") from error


def write(folder: Path, name: str, record: Record) -> None:
    """On the disk under its name when this returns; a reader sees all of it or nothing. Raises OSError."""
    temporary = folder / f".{name}.{os.getpid()}.new"
    try:
        with open(temporary, "wb") as file:
            file.write(_text(record).encode())
            _to_disk(file.fileno())
        os.replace(temporary, folder / name)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _folder_to_disk(folder)


def reserve(folder: Path) -> None:
    """Take the room that `end` will need. Raises OSError."""
    with open(folder / RESERVED, "xb") as file:
        file.write(b" " * RESERVED_BYTES)
        _to_disk(file.fileno())


def end(folder: Path, record: Ended) -> None:
    """Write ended.json into the room that was taken for it. Raises OSError."""
    if not (folder / RESERVED).exists():
        write(folder, ENDED, record)
        return
    data = _text(record).encode()
    if len(data) > RESERVED_BYTES:
        data = _text(record.model_copy(update={"why": (record.why or "")[:200]})).encode()
    with open(folder / RESERVED, "r+b") as file:
        file.write(data.ljust(RESERVED_BYTES))
        _to_disk(file.fileno())
    os.replace(folder / RESERVED, folder / ENDED)
    _folder_to_disk(folder)


def _text(record: Record) -> str:
    return json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=True) + "\n"


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
