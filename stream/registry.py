"""From a type name in the YAML to the module that does it: nothing is imported before it is asked for.

A plug-in module has a frozen pydantic model `Config` and a function `create(config, context)` that returns the role.
Others add theirs by an entry point in the group `inbeam.stream`, `inbeam.processors` or `inbeam.sinks` that names such
a module.
"""

import difflib
import importlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import xxhash
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from stream.context import ALONE, Context
from stream.errors import ConfigError, InbeamError
from stream.versions import version

Section: TypeAlias = Literal["stream", "processors", "sinks"]

BUILT_IN: dict[Section, tuple[str, ...]] = {
    "stream": ("simplon", "stream2", "stins", "karabo", "several", "receiver", "watch", "files", "capture"),
    "processors": (
        "correct",
        "formula",
        "integrate",
        "sparsify",
        "prepare",
        "projection",
        "map",
        "diffraction_tomography",
        "tomography",
        "energy_bands",
        "roi",
        "mosaicity",
        "topotomo",
    ),
    "sinks": ("archive", "hdf5", "monitor", "nxtomo", "page", "sparse"),
}


ROOMS: dict[Section, str] = {"stream": "stream.sources", "processors": "processors", "sinks": "sinks"}
"""Where the built-in modules of a section lie."""

MODULES: dict[str, str] = {"tomography": "tomogram"}
"""Types whose module has another name: a folder of parts has theirs."""

READS: dict[str, Any] = {"x-reads-file": True}
"""`json_schema_extra` of an option that names files to be read: they must be there before the start."""

SAME_RESULT: dict[str, Any] = {"x-same-result": True}
"""`json_schema_extra` of an option that changes no value: a file is gone on with, or left alone, whatever it says."""

CHANGES: dict[str, Any] = {"x-changes": "frame"}
"""`json_schema_extra` of an option that may change while a scan runs; it takes effect at a frame."""
CHANGES_NEXT_SCAN: dict[str, Any] = {"x-changes": "scan"}
"""`json_schema_extra` of an option that decides on the layout of a file: a change waits for the next scan."""


class Options(BaseModel):
    """Base of every configuration model: frozen, and a misspelled key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _from_home(cls, value: Any, info: ValidationInfo) -> Any:
        """`~` at the beginning of a file's name is the user's home, as in a shell."""
        if isinstance(value, Path):
            return Path(os.path.expanduser(value))
        extra = cls.model_fields[info.field_name or ""].json_schema_extra
        if isinstance(extra, dict) and "x-reads-file" in extra:
            if isinstance(value, str):
                return os.path.expanduser(value)
            if isinstance(value, tuple):
                return tuple(os.path.expanduser(each) if isinstance(each, str) else each for each in value)
        return value


def missing_files(options: Options) -> list[tuple[str, str]]:
    """(option, what to do) for every file that the options name and that cannot be read. `file::part` names a file."""
    found = []
    for name, path, _ in named_parts(options):
        if not os.path.isfile(path):
            found.append((name, f"{path} is not there (looked from {os.getcwd()}): correct the path"))
        elif not os.access(path, os.R_OK):
            found.append((name, f"{path} may not be read: change its permissions"))
    return found


def named_files(options: Options) -> list[str]:
    """The files that the options name to be read."""
    return [path for _, path, _ in named_parts(options)]


def named_parts(options: Options) -> Iterator[tuple[str, str, str]]:
    """(option, file, part of it or "") for every file that is to be read."""
    for name in marked(type(options), "x-reads-file"):
        value = getattr(options, name)
        if value is not None:
            for each in value if isinstance(value, tuple | list) else (value,):
                path, _, part = str(each).partition("::")
                yield name, path, part


def marked(model: type[Options], mark: str) -> list[str]:
    """The options that have this mark."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(extra := field.json_schema_extra, dict) and mark in extra:
            found.append(name)
    return found


def origin(section: Section, name: str) -> tuple[str, str, str]:
    """Distribution and version of the plug-in behind a type name, and what is in its module if it is not ours: two
    versions of somebody's file may have the same number."""
    if name in BUILT_IN[section]:
        return "inbeam", version("inbeam"), ""
    for point in entry_points(group=f"inbeam.{section}"):
        if point.name == name:
            path = point.load().__file__
            content = Path(path).read_bytes() if path is not None and os.path.isfile(path) else b""
            whose = (point.dist.name, point.dist.version) if point.dist is not None else ("", "")
            return *whose, xxhash.xxh3_64_hexdigest(content)
    return "", "", ""


def changes_when(model: type[Options], option: str) -> Literal["frame", "scan"] | None:
    """When a change of this option takes effect while inbeam runs; None: never."""
    extra = model.model_fields[option].json_schema_extra
    found = extra.get("x-changes") if isinstance(extra, dict) else None
    return "frame" if found == "frame" else "scan" if found == "scan" else None


def names(section: Section) -> tuple[str, ...]:
    """All type names that a section knows, ours first."""
    others = tuple(point.name for point in entry_points(group=f"inbeam.{section}"))
    return BUILT_IN[section] + others


def module(section: Section, name: str) -> ModuleType:
    """The module behind a type name. Raises LookupError: with the nearest names if there is none, or with what kept it
    from being imported."""
    if name in BUILT_IN[section]:
        place = f"{ROOMS[section]}.{MODULES.get(name, name)}"
        return _imported(place, partial(importlib.import_module, place))
    for point in entry_points(group=f"inbeam.{section}"):
        if point.name == name:
            origin = f" of {point.dist.name} {point.dist.version}" if point.dist is not None else ""
            return _imported(f"the plug-in {name} ({point.value}{origin})", point.load)
    near = difflib.get_close_matches(name, names(section), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names(section))}"
    raise LookupError(f"no type {name!r} in {section}: {hint}")


def model(section: Section, name: str) -> type[Options]:
    """The options of a type. Raises LookupError, also for a module that is no plug-in."""
    found = module(section, name)
    model, make = getattr(found, "Config", None), getattr(found, "create", None)
    if not (isinstance(model, type) and issubclass(model, Options) and callable(make)):
        raise LookupError(f"{found.__name__} is no plug-in: it needs a class Config(Options) and a function create")
    return model


def create(section: Section, config: Any, context: Context = ALONE) -> Any:
    """The role that a validated configuration asks for. Raises ConfigError, whatever the plug-in raises."""
    try:
        return module(section, config.type).create(config, context)
    except InbeamError:
        raise
    except (Exception, SystemExit) as error:
        text = f"{config.type} cannot be made: {_words(error)}"
        raise ConfigError([(context.name or section, text)]) from error


def _imported(what: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise LookupError(f"{what} cannot be imported: {_words(error)}; mend it, or leave it out") from error


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
