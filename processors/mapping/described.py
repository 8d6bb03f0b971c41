"""What a source says of its scan, as directions of a grid: a mapping `map` (or `grid`) in the user data or the header's
metadata, with the words of our configuration, or the command of a BLISS scan.

`amesh m1 start stop intervals m2 start stop intervals ...` has m1 as the fast motor; `fscan2d slow start step points
fast start step points ...` moves the fast one without a stop, so that its positions are the middles of the exposures.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from processors.shared.grid import DirectionOptions
from stream.events import EMPTY, ScanStart

MOST_LOOKED_AT = 1000
DEEPEST = 4


def described(scan: ScanStart) -> Mapping[str, DirectionOptions]:
    """ "slow" and "fast" of the scan; empty where the source says nothing that can be understood."""
    words: list[str] = []
    for number, (key, value) in enumerate(_walk(scan.detector.metadata)):
        if number > MOST_LOOKED_AT:
            break
        if key in ("map", "grid") and isinstance(value, Mapping):
            found = _mapping(value)
            if found:
                return found
        if isinstance(value, str):
            words.append(value)
    return next((found for text in words if (found := command(text))), EMPTY)


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


def _mapping(value: Mapping[Any, Any]) -> Mapping[str, DirectionOptions]:
    try:
        return {side: DirectionOptions.model_validate(value[side]) for side in ("slow", "fast") if side in value}
    except ValidationError:
        return EMPTY


def _walk(node: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and depth < DEEPEST:
        for key, value in node.items():
            yield str(key), value
            yield from _walk(value, depth + 1)
