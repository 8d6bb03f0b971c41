"""The FILEs of pyFAI's diff_map and diff_tomo: files, folders with prefix and extension, patterns in quotes."""

import glob
import os
from collections.abc import Sequence
from urllib.parse import unquote, urlparse

from stream.errors import ConfigError
from stream.formats.hdf5.opening import split
from stream.formats.images.file import is_image
from stream.formats.natural import DIGITS, LAST_NUMBER, number_in, series_of
from stream.sources.readers import reader_of, readers


def expand(names: Sequence[str], prefix: str, extension: str) -> list[str]:
    """Every input file, once, in the order of all numbers in its whole path, as pyFAI sorts them.

    Of a folder those that begin with the prefix and end with the extension. Raises ConfigError naming everything that
    is not there, and series of images that pyFAI would mix with each other.
    """
    found: list[str] = []
    problems: list[tuple[str, str]] = []
    for name in map(local, names):
        path, inside = split(name)
        if os.path.isdir(path):
            matches = _of_folder(path, prefix, extension)
            lacking = f"the folder {path} has no file that can be read" + _filtered(prefix, extension)
        elif os.path.exists(path):
            matches, lacking = [path], ""
        else:
            matches, lacking = glob.glob(path), f"no such file: {path}"
        if not matches:
            problems.append(("FILE", f"{lacking}: correct it"))
        found += [f"{os.path.abspath(match)}::{inside}" if inside else os.path.abspath(match) for match in matches]
    if problems:
        raise ConfigError(problems)
    ordered = sorted(dict.fromkeys(found), key=_numbers)
    _refuse_mixed(ordered)
    return ordered


def files_of(option: str, given: str | Sequence[str] | None) -> list[str]:
    """Files of an option, separated by commas. Raises ConfigError for each that is not there."""
    names = given.split(",") if isinstance(given, str) else list(given or ())
    paths = [local(name.strip()) for name in names if name.strip()]
    problems = [(option, f"no such file: {path}") for path in paths if not os.path.isfile(split(path)[0])]
    if problems:
        raise ConfigError(problems)
    return paths


def local(name: str) -> str:
    """`file:///data/a.edf` is a path too."""
    return unquote(urlparse(name).path) if name.startswith("file:") else os.path.expanduser(name)


def numbered(paths: Sequence[str]) -> bool:
    """True if every image file has a number in its name: a missing one then leaves a hole and shifts nothing."""
    return all(is_image(split(path)[0]) and number_in(split(path)[0]) is not None for path in paths)


def _of_folder(folder: str, prefix: str, extension: str) -> list[str]:
    known = readers()
    names = [name for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(extension)]
    paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isfile(path) and reader_of(path, known) is not None]


def _filtered(prefix: str, extension: str) -> str:
    words = [f"begins with {prefix!r}"] * bool(prefix) + [f"ends with {extension!r}"] * bool(extension)
    return f" and {' and '.join(words)}" if words else ""


def _numbers(path: str) -> tuple[list[int], str]:
    return [int(digits) for digits in DIGITS.findall(path)], path


def _refuse_mixed(paths: Sequence[str]) -> None:
    """Files of one series must follow each other."""
    past: set[tuple[str, str]] = set()
    running: tuple[str, str] | None = None
    known = readers()
    for path in paths:
        reader = reader_of(path, known)
        if reader is None or reader.grows:
            continue
        folder = os.path.dirname(path)
        series = (folder, series_of(path, folder, "prefix", LAST_NUMBER)[0])
        if series != running and series in past:
            text = f"files of several series take turns (at {path}): give one series, or name a folder for each line"
            raise ConfigError([("FILE", text)])
        past.add(series)
        running = series
