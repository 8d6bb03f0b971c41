"""The configuration: one YAML, its sections are the folders, `type` is the module, the rest its options.

Every error is found at once and told with its YAML path, such as `processors[1].poni`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, PositiveInt, ValidationError, field_validator

from stream import listening, registry, wording
from stream.document import parse, read
from stream.errors import ConfigError
from stream.registry import Options, Section


class JobAfter(Options):
    """A job that a scan submits when it has ended, as `inbeam jobs submit` does."""

    submit: str = Field(
        min_length=1,
        description="The command, such as `inbeam reconstruct {hdf5}`: {hdf5} is the scan's file of the sink of that "
        "type, {sinks[1]} that of the second sink, {scan} its name. No shell looks at it",
    )
    resource: str = Field("local", description="Where it runs: local, or a name in run.resources")
    name: str | None = Field(None, description="Its name in the table of jobs; null: that of the command")
    when: Literal["complete", "always"] = Field(
        "complete",
        description="complete: only where no frame and no sink is missing; always: also stopped, aborted or with holes",
    )


class RunOptions(Options):
    """How the pipeline runs."""

    scans: int | None = Field(None, ge=1, description="Stop after this many scans; null: until stopped")
    workers: PositiveInt | Literal["auto"] = Field(
        "auto", description="Worker threads; auto: one per usable core, at most 8"
    )
    inbox_mb: float = Field(
        512.0,
        gt=0,
        description="Encoded frames held before the workers, MB (10^6 bytes); `process` reads only 32 MB ahead unless "
        "this is given",
    )
    sink_mb: float = Field(256.0, gt=0, description="Frames held before each sink, MB (10^6 bytes)")
    when_full: Literal["block", "drop_oldest"] = Field(
        "block", description="A full inbox blocks the source (the detector buffers), or gives up its oldest frame"
    )
    gather_when_full: Literal["block", "give_up"] = Field(
        "block",
        description="A gatherer that cannot keep up (its queue is sink_mb long) makes the frames wait, or gives up "
        "frames, which its product then does not cover",
    )
    reorder_frames: int = Field(64, ge=0, description="Later frames awaited before a missing one is given up")
    reorder_ms: float = Field(500.0, ge=0, description="Time after which a missing frame is given up, ms")
    scan_timeout_s: float | None = Field(
        None,
        gt=0,
        description="Close the files of a scan without any message for this long, s, until more comes; null: wait for "
        "its end message",
    )
    control: str | None = Field(
        None,
        description="ZMQ address at which `inbeam set` changes options while a scan runs, such as "
        "tcp://127.0.0.1:45455 or ipc:///run/inbeam; null: nobody can",
    )
    control_secret_key: Path | None = Field(None, description="CURVE: our certificate (*.key_secret)")
    control_clients: Path | None = Field(None, description="CURVE: folder of public keys of those who may; null: all")
    metrics: str | None = Field(
        None,
        description="Where Prometheus finds the figures of the run (http, /metrics), such as 127.0.0.1:9464; a port "
        "without host, :9464, is on this machine only; null: nowhere",
    )
    changes: Path | None = Field(
        None, description="Repeat the changes of options that this file of ours recorded (`inbeam process --changes`)"
    )
    again: bool = Field(
        False, description="Process what is there already once more, into other files (`inbeam process --force`)"
    )
    on_end: tuple[JobAfter, ...] = Field((), description="Jobs that each live scan submits when it has ended")
    resources: Path | None = Field(
        None, description="YAML of the resources and folder of these jobs; null: inbeam-jobs.yaml, if it is here"
    )
    journal: Path | None = Field(
        None, description="Folder for what a restart needs to go on in mid-scan; null: beside the first file sink"
    )

    @field_validator("metrics")
    @classmethod
    def _listens(cls, address: str | None) -> str | None:
        if address is not None:
            listening.parts(address)
        return address


@dataclass(frozen=True)
class Config:
    """A validated configuration: one source, the chain of processors, the sinks, the run."""

    stream: Options
    processors: tuple[Options, ...]
    sinks: tuple[Options, ...]
    run: RunOptions
    document: Mapping[str, Any]
    """The YAML as read, after --set: the provenance."""


def load(path: Path, overrides: Sequence[str] = (), *, replace: Mapping[str, Any] | None = None) -> Config:
    """Read and validate a YAML file; `overrides` are `key.path=value` of --set, `replace` swaps whole sections.

    Raises ConfigError with every problem at once. File names in it are relative to the working directory.
    """
    document = read(path)
    if not isinstance(document, dict):
        raise ConfigError([("", f"{path} must be a mapping with the keys stream, processors, sinks and run")])
    document |= replace or {}
    for override in overrides:
        _override(document, override)
    return validate(document)


def validate(document: Mapping[str, Any]) -> Config:
    """Check a configuration that is already a mapping. Raises ConfigError with every problem at once."""
    known = ("stream", "processors", "sinks", "run")
    problems = [(str(key), f"unknown section: use {', '.join(known)}") for key in document if key not in known]
    stream = _entry("stream", "stream", document.get("stream"), problems)
    processors = _entries("processors", document.get("processors") or [], problems)
    sinks = _entries("sinks", document.get("sinks") or [], problems)
    if not sinks and "sinks" not in {path.split("[")[0] for path, _ in problems}:
        problems.append(("sinks", "empty: nothing would be kept; add e.g. {type: hdf5, path: out/{scan}.h5}"))
    names = [getattr(options, "name", None) for options in processors]
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            problems.append((f"processors[{index}].name", f"{name!r} is taken by an earlier processor: give another"))
    run = _model("run", RunOptions, document.get("run") or {}, problems)
    if problems or stream is None or run is None:
        raise ConfigError(problems)
    return Config(stream, tuple(processors), tuple(sinks), cast(RunOptions, run), document)


def check_files(config: Config) -> None:
    """Raise ConfigError for every file that the processors shall read and that is not there, all at once."""
    problems = [
        (f"processors[{index}].{option}", text)
        for index, options in enumerate(config.processors)
        for option, text in registry.missing_files(options)
    ]
    if problems:
        raise ConfigError(problems)


def check_options(path: str, model: type[Options], item: Any) -> Options:
    """The options of one entry, checked again after a change. Raises ConfigError; `path` is the entry's own."""
    problems: list[tuple[str, str]] = []
    made = _model(path, model, item, problems)
    if made is None:
        raise ConfigError(problems)
    return made


def _entries(section: Section, items: Any, problems: list[tuple[str, str]]) -> list[Options]:
    if not isinstance(items, list):
        problems.append((section, "must be a list: begin each entry with '- type: ...'"))
        return []
    found = [_entry(section, f"{section}[{index}]", item, problems) for index, item in enumerate(items)]
    return [options for options in found if options is not None]


def _entry(section: Section, path: str, item: Any, problems: list[tuple[str, str]]) -> Options | None:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        problems.append((path, f"needs a mapping with a type, one of: {', '.join(registry.names(section))}"))
        return None
    try:
        model = registry.model(section, item["type"])
    except LookupError as error:
        problems.append((f"{path}.type", str(error)))
        return None
    return _model(path, model, item, problems)


def _model(path: str, model: type[Options], item: Any, problems: list[tuple[str, str]]) -> Options | None:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        problems += [(f"{path}{inner}", text) for inner, text in wording.problems(error, item, model)]
        return None


def _override(document: dict[str, Any], override: str) -> None:
    """Apply one `sinks.0.path=x.h5`; the value is read as YAML."""
    key, sign, value = override.partition("=")
    if not sign:
        raise ConfigError([(override, "--set takes key.path=value, such as run.scans=1 or sinks.0.path=out.h5")])
    *parents, last = key.replace("[", ".").replace("]", "").split(".")
    try:
        node: Any = document
        for number, part in enumerate(parents):
            place = _place(node, part, parents[:number])
            node = node[place] if isinstance(node, list) else node.setdefault(place, {})
        node[_place(node, last, parents)] = parse(value)
    except ValueError as error:
        raise ConfigError([(key, f"--set cannot set this: {error}")]) from error


def _place(node: Any, part: str, way: Sequence[str]) -> Any:
    """The key or number of an entry below `way`. Raises ValueError, in words."""
    above = ".".join(way)
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise ValueError(f"there is nothing below {above}, it is {wording.shown(node)}")
    try:
        node[int(part)]
    except (ValueError, IndexError):
        there = f"use {above}.0 to {above}.{len(node) - 1}" if node else "it is empty"
        raise ValueError(f"{above} is a list without an entry {part!r}: {there}") from None
    return int(part)
