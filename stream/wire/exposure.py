"""What belongs to one image beside its pixels: when it was taken, and what was read out with it."""

import math
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from stream.events import EMPTY
from stream.wire import metadata

MOST_READINGS = 256
MOST_DEPTH = 8
MOST_NAME = 128


class Exposure(NamedTuple):
    """Seconds, NaN where unknown. start, stop: by the detector's clock; real: of counting; absolute: Unix time of
    start.

    readings: name -> value.
    """

    start: float
    stop: float
    real: float
    absolute: float
    readings: Mapping[str, float]


UNKNOWN = Exposure(math.nan, math.nan, math.nan, math.nan, EMPTY)
"""Nothing is said of it."""


class Known:
    """The names of the readings of one scan: no more than MOST_READINGS, those that came first."""

    def __init__(self) -> None:
        self.too_many = False
        """Some were left out."""
        self._names: set[str] = set()

    def those(self, readings: dict[str, float], whole: bool) -> Mapping[str, float]:
        """Of these readings those that there is room for. whole: these are all that the image has."""
        names = self._names
        if not readings.keys() <= names:
            names.update(list(readings.keys() - names)[: MOST_READINGS - len(names)])
        if whole and readings.keys() <= names:
            return readings
        self.too_many = True
        return {name: value for name, value in readings.items() if name in names}


@lru_cache(maxsize=16)
def unix_time(text: str) -> float:
    """Unix time, s, of a date as RFC 3339 has it, NaN if it is none, or without an offset from UTC."""
    try:
        found = datetime.fromisoformat(text)
        return math.nan if found.tzinfo is None else found.timestamp()
    except (ValueError, OverflowError):
        return math.nan


def flatten(value: Any, name: str) -> tuple[dict[str, float], bool]:
    """The numbers of a JSON-like tree, or of the text that holds one, and whether all of them are there.

    Nested keys, and places in lists, are joined by dots; what is no map is called `name`. Text and truth are none.
    """
    if isinstance(value, str):
        value = metadata.appendix(value)
    found: dict[str, float] = {}
    return found, _collect(value, "" if isinstance(value, Mapping) else name, found, MOST_DEPTH)


def _collect(value: Any, name: str, found: dict[str, float], depth: int) -> bool:
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        before = f"{name}." if name else ""
        there = [_collect(item, f"{before}{key}", found, depth - 1) for key, item in items] if depth else [False]
        return all(there)
    number = metadata.number(value)
    if number is None:
        return True
    if len(found) >= MOST_READINGS or len(name) > MOST_NAME:
        return False
    found[metadata.text(name) or name] = number
    return True
