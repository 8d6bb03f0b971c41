"""Natural order of file names, and the frame number that a file name carries."""

import os
import re
from collections.abc import Iterable
from typing import Literal

DIGITS = re.compile(r"(\d+)")
LAST_NUMBER = r"(\d+)(?!.*\d)"
"""The last run of digits: 7 in `map_2_scan_0007`."""
SUFFIXES = re.compile(r"(\.[a-z]\w{0,6})(\.(gz|bz2|xz))?$", re.IGNORECASE)


def natural_key(text: str | os.PathLike[str]) -> tuple[tuple[int, str], ...]:
    """Sort key by which `img_2` comes before `img_10`; digits compare as numbers."""
    parts = DIGITS.split(os.fspath(text))
    return tuple((int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts))


def natural(names: Iterable[str]) -> list[str]:
    """Names in natural order."""
    return sorted(names, key=natural_key)


def stem(name: str) -> str:
    """A file's name without folder, extension and compression: `thau_0001` of `thau_0001.cbf.bz2`."""
    base = os.path.basename(name)
    return SUFFIXES.sub("", base) or base


def number_in(name: str, pattern: str = LAST_NUMBER) -> int | None:
    """The number that the first group of `pattern` finds in the stem of a file name, None where there is none."""
    found = re.search(pattern, stem(name))
    return whole_number(found.group(1)) if found else None


def whole_number(text: str | None) -> int | None:
    """The number that a group of a pattern has found; None if it has found something else."""
    return int(text) if text is not None and text.isdecimal() else None


def check_pattern(pattern: str | None) -> str | None:
    """The pattern, if it can find a number. Raises ValueError."""
    if pattern is not None:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if not groups:
            raise ValueError(f"{pattern!r} has no group: put the digits into parentheses, such as scan_(\\d+)")
    return pattern


def series_of(path: str, root: str, series: Literal["prefix", "folder"], pattern: str) -> tuple[str, int | None]:
    """The series that an image belongs to (its path below the root without the number), and its number in it."""
    folder = os.path.relpath(os.path.dirname(path), root)
    name = stem(path)
    found = re.search(pattern, name)
    number = whole_number(found.group(1)) if found else None
    if series == "folder":
        return folder, number
    rest = name[: found.start(1)] + name[found.end(1) :] if found and number is not None else ""
    return os.path.normpath(os.path.join(folder, rest.rstrip("_-. ") or ".")), number
