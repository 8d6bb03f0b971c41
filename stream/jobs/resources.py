"""Where jobs may run: a small YAML, or this machine alone without one.

folder: /data/me/jobs
resources:
  here: {type: local}
  cluster: {type: slurm, partition: short, cores: 8, time_min: 120, modules: [python/3.12]}
"""

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, StringConstraints, TypeAdapter, ValidationError, field_validator

from stream import wording
from stream.document import read
from stream.errors import ConfigError
from stream.registry import Options

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:=/@+*-]*$", max_length=200)]
"""Goes into the script of a queue: nothing that a shell would read as more than a word."""
DEFAULT_FILE = Path("inbeam-jobs.yaml")


class Local(Options):
    """This machine: the job begins at once."""

    type: Literal["local"] = "local"
    python: Path | None = Field(None, description="Python that has inbeam; null: the one that submits")


class Batch(Options):
    """A cluster's queue, reached through psij-python (`pip install inbeam[jobs]`)."""

    type: Literal["slurm", "pbs", "pbs_classic", "lsf", "cobalt"]
    partition: Word | None = Field(None, description="Partition or queue; null: the cluster's default")
    account: Word | None = Field(None, description="Account or project that is charged")
    nodes: PositiveInt = Field(1, description="Nodes; the command runs once, on the first")
    cores: PositiveInt = Field(1, description="Cores on each node")
    memory_gb: PositiveFloat | None = Field(None, description="Memory of the job, GB (10^9 bytes)")
    time_min: PositiveInt = Field(description="The queue ends the job after this, min")
    modules: tuple[Word, ...] = Field((), description="Environment modules that are loaded before")
    extra: Mapping[Word, Word] = Field({}, description="Further options of the queue by their long name: {qos: high}")
    python: Path | None = Field(None, description="Python that has inbeam on the nodes; null: the one that submits")

    @field_validator("time_min", mode="before")
    @classmethod
    def _no_clock(cls, value: Any) -> Any:
        if isinstance(value, str) and ":" in value:
            raise ValueError(f"must be minutes, such as 120, not {value!r}")
        return value


Resource = Annotated[Local | Batch, Field(discriminator="type")]


class Resources(Options):
    """The file: the folder of the jobs, the resources by name; `local` is there always."""

    folder: Path = Path("jobs")
    resources: Mapping[Word, Resource] = Field({})

    def find(self, name: str) -> Local | Batch:
        """The resource of a name. Raises ConfigError."""
        known = {"local": Local(), **self.resources}
        if name not in known:
            raise ConfigError([("--resource", f"{name!r} is not known: use one of {', '.join(known)}")])
        return known[name]


def load(path: Path | None, folder: Path | None) -> Resources:
    """path: None looks for `inbeam-jobs.yaml` here; folder: instead of the file's. Raises ConfigError."""
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    document = {} if path is None else read(path)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError([("", f"{path} must be a mapping with the keys folder and resources")])
    try:
        found = TypeAdapter(Resources).validate_python(document)
    except ValidationError as error:
        problems = wording.problems(error, document, Resources)
        raise ConfigError([(f"{path}{place}", text) for place, text in problems]) from error
    return found if folder is None else found.model_copy(update={"folder": folder})


def user() -> str:
    """The login name, or the number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
