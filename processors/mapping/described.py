"""What a source says of its scan, as directions of a grid: a mapping `map` (or `grid`) in the user data or the header's
metadata, with the words of our configuration (NeXus files: `stream.formats.hdf5.grid`), or the command of a BLISS scan.

`amesh m1 start stop intervals m2 start stop intervals ...` has m1 as the fast motor; `fscan2d slow start step points
fast start step points ...` moves the fast one without a stop, so that its positions are the middles of the exposures.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from processors.shared.grid import DirectionOptions
from stream.events import EMPTY, ScanStart

log = logging.getLogger("inbeam")
MOST_LOOKED_AT = 1000
DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Described:
    """sides: "slow" and "fast"; origin: where the source said it, in words."""

    sides: Mapping[str, DirectionOptions]
    origin: str = ""


def described(scan: ScanStart) -> Described:
    """The directions of the scan; none where the source says nothing that can be understood."""
    words: list[str] = []
    grids: list[Described] = []
    for number, (key, value) in enumerate(_walk(scan.detector.metadata)):
        if number > MOST_LOOKED_AT:
            break
        if key in ("map", "grid") and isinstance(value, Mapping):
            grids += _mapping(key, value)
        if isinstance(value, str):
            words.append(value)
    commands = [Described(found, f"the command {text!r}") for text in words if (found := command(text))]
    # a command knows the motors' names and where they went, the shape of an array only how many points there are
    told = sorted([*grids, *commands], key=lambda each: -sum(side.first is not None for side in each.sides.values()))
    return told[0] if told else Described(EMPTY)


def command(text: str) -> Mapping[str, DirectionOptions]:
    """The directions of a BLISS scan command; empty if it is none that we know."""
    name, *rest = text.replace("(", " ").replace(")", " ").replace(",", " ").split() or [""]
    try:
        if name in ("amesh", "dmesh") and len(rest) >= 8:
            fast, slow = _interval(rest[:4], name), _interval(rest[4:8], name)
            return {"slow": slow, "fast": fast}
        if name == "fscan2d" and len(rest) >= 8:
            start, step = float(rest[5]), float(rest[6])
            fast = DirectionOptions(motor=rest[4], first=start + step / 2, step=step, points=int(rest[7]))
            slow = DirectionOptions(motor=rest[0], first=float(rest[1]), step=float(rest[2]), points=int(rest[3]))
            return {"slow": slow, "fast": fast}
    except ValueError:
        return EMPTY
    return EMPTY


def _interval(words: list[str], name: str) -> DirectionOptions:
    motor, start, stop, intervals = words[0], float(words[1]), float(words[2]), int(words[3])
    if name == "dmesh":  # relative to where the motor was, which nobody says
        return DirectionOptions(motor=motor, points=intervals + 1)
    return DirectionOptions(motor=motor, first=start, last=stop, points=intervals + 1)


def _mapping(key: str, value: Mapping[Any, Any]) -> list[Described]:
    try:
        sides = {side: DirectionOptions.model_validate(value[side]) for side in ("slow", "fast") if side in value}
    except ValidationError as error:
        log.warning("what the source says in `%s` is no grid (%s): it is not used", key, error.errors()[0]["msg"])
        return []
    origin = value.get("from")
    return [Described(sides, origin if isinstance(origin, str) else f"`{key}` of the source")] if sides else []


def _walk(node: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and depth < DEEPEST:
        for key, value in node.items():
            yield str(key), value
            yield from _walk(value, depth + 1)
