"""The ordinary pipeline that a command line of diff_map or diff_tomo stands for."""

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stream.commands.maps.inputs import files_of, local, numbered
from stream.config import Config, validate
from stream.errors import ConfigError
from stream.formats.hdf5.opening import split

INBOX_MB = 64.0
"""Enough to keep the workers busy; what lies in front of them has to be finished when the user stops."""


@dataclass(frozen=True)
class Wish:
    """What is wanted, whichever command line it came by. names: what the user calls an option, for error texts.

    files: input files in order, or the one folder to watch. integrate: options of `integrate`; correct: of `correct`;
    fast, slow: of `map`.
    """

    files: tuple[str, ...]
    output: str
    poni: str | None
    names: Mapping[str, str]
    fast: Mapping[str, Any] = field(default_factory=dict)
    slow: Mapping[str, Any] = field(default_factory=dict)
    offset: int = 0
    zigzag: bool = False
    integrate: Mapping[str, Any] = field(default_factory=dict)
    correct: Mapping[str, Any] = field(default_factory=dict)
    gpu: bool = False
    number: Literal["name", "position"] | None = None
    first: int | None = None
    watch: Mapping[str, Any] | None = None
    geometry: Mapping[str, Any] | None = None
    """To be written to `poni` first."""


def document_of(wish: Wish) -> dict[str, Any]:
    """The YAML. As pyFAI's: full pixel splitting, solid angle, degrees of 2theta; the dark as it is."""
    integrate = {
        "type": "integrate",
        "poni": wish.poni,
        "npt": 1000,
        "unit": "2th_deg",
        "splitting": "full",
        "device": "opencl:gpu" if wish.gpu else "cpu",
    }
    mapped: dict[str, Any] = {"type": "map", "fast": dict(wish.fast), "slow": dict(wish.slow), "spare_rois": 0}
    if wish.offset:
        mapped["offset"] = wish.offset
    if wish.zigzag:
        mapped["zigzag"] = True
    sink = {
        "type": "hdf5",
        "path": wish.output.replace("{", "{{").replace("}", "}}"),
        "products": ["map", "map_images"],
        "if_exists": "overwrite",
    }
    if wish.watch is None:
        number = "name" if wish.number != "position" and numbered(wish.files) else "position"
        stream: dict[str, Any] = {"type": "files", "files": [_plain(name) for name in wish.files], "join": True}
        stream |= {"number": number} if number != "position" else {}
        stream |= {"first_number": wish.first} if wish.first is not None else {}
    else:
        stream = {"type": "watch", "folder": wish.files[0], **wish.watch}
        stream |= {"first_number": wish.first} if wish.first is not None else {}
        fast, slow = wish.fast.get("points"), wish.slow.get("points")
        if fast is not None and slow is not None:
            stream["scan_files"] = wish.offset + fast * slow
    return {
        "stream": stream,
        "processors": [{"type": "correct", **wish.correct}, {**integrate, **wish.integrate}, mapped],
        "sinks": [sink],
        "run": {"inbox_mb": INBOX_MB} if wish.watch is None else {"scans": 1},
    }


def configured(wish: Wish) -> Config:
    """The configuration, validated. Raises ConfigError with the names of the command line's options."""
    with as_typed(wish.names):
        return validate(document_of(wish))


@contextmanager
def as_typed(names: Mapping[str, str]) -> Iterator[None]:
    """Whatever is told of the configuration is told with the names of the command line's options."""
    try:
        yield
    except ConfigError as error:
        raise renamed(error, names) from error


def renamed(error: ConfigError, names: Mapping[str, str]) -> ConfigError:
    """The same problems, with the option's name on the command line instead of its place in the YAML."""
    told = []
    for place, text in error.problems:
        last = place.replace("[", ".").split(".")
        name = next((names[part] for part in reversed(last) if part in names), place)
        told.append((name, text))
    return ConfigError(told)


def needed(options: Mapping[str, Any], names: Mapping[str, str], *, made: bool = False) -> None:
    """Raises ConfigError for each file that is mandatory and not given, or not there. made: the geometry will be."""
    problems = []
    for key, text in (("poni", "give the geometry, a PONI file made by pyFAI-calib2"), ("output", "give a file name")):
        if not options.get(key):
            problems.append((names[key], f"is mandatory: {text}"))
    poni = options.get("poni")
    if poni and not made and not os.path.isfile(local(poni)):
        problems.append((names["poni"], f"no such file: {poni}"))
    output = options.get("output")
    if output and os.path.isdir(output):
        problems.append((names["output"], f"{output} is a folder: give a file name"))
    if problems:
        raise ConfigError(problems)


def corrections(dark: Any, flat: Any, mask: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Options of `correct`. Raises ConfigError for every file that is not there, of all three at once."""
    found: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for key, given in (("dark", dark), ("flat", flat), ("mask", mask)):
        try:
            paths = [_frame_of(path, names[key]) for path in files_of(names[key], given)]
        except ConfigError as error:
            problems += error.problems
            continue
        if paths:
            found[key] = paths
    if problems:
        raise ConfigError(problems)
    return {**found, "scale_dark": False} if "dark" in found else found


def _frame_of(path: str, name: str) -> str:
    """pyFAI's `mask.edf::0`: a frame by its number. Raises ConfigError where the file has several."""
    file, inside = split(path)
    if inside is None or not inside.isdecimal():
        return path
    import fabio  # takes its time, and few need it

    with fabio.open(file) as image:
        count = int(image.nframes)
    if count != 1 or int(inside):
        raise ConfigError(
            [(name, f"{file} has {count} frames: save frame {inside} as a file of its own, and give that")]
        )
    return file


def _plain(name: str) -> str:
    path, inside = split(name)
    escaped = glob.escape(path)
    return escaped if inside is None else f"{escaped}::{inside}"


def beside(output: str, ending: str) -> Path:
    """A file beside the result: `map.h5` -> `map` + ending."""
    path = Path(output)
    return path.with_name(path.stem + ending)
