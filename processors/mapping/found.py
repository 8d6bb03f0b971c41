"""The grid of a scan: what the configuration says, else the source, else the positions recorded with every frame. Where
each direction came from is told; what does not fit the recorded positions is refused.
"""

from collections.abc import Mapping

import numpy as np

from processors.mapping.described import described
from processors.mapping.options import Config
from processors.shared.grid import Direction, DirectionOptions, Grid, grid_of, merged
from processors.shared.learned import learned
from stream.errors import ConfigError
from stream.events import Array, ScanStart

SIDES = ("slow", "fast")
FAR = 1.0
"""Steps: a frame further from the point that its number has than this was not taken there."""


def grid_for(config: Config, scan: ScanStart) -> tuple[Grid, Mapping[str, str]]:
    """The grid, and for each side in words what was taken, and from where. Raises ConfigError."""
    found = described(scan)
    known: dict[str, DirectionOptions] = {}
    origins: dict[str, str] = {}
    for side in SIDES:
        given: DirectionOptions = getattr(config, side)
        known[side] = merged(given, found.sides.get(side))
        origins[side] = found.origin if known[side] != given else "the configuration"
        if _lacking(known[side], config):
            positions = scan.recorded(known[side].motor or "")
            if positions is not None:
                known[side] = _learned(side, known[side], positions[config.offset :])
                origins[side] = f"the recorded positions of {known[side].motor}"
    grid = grid_of(config, scan, known)
    if known["slow"].points is None and grid.slow.points is not None:
        origins["slow"] = "the number of frames"
    _refuse_others(grid, scan)
    told = {
        side: f"{_words(each)}, from {origins[side]}" for side, each in zip(SIDES, (grid.slow, grid.fast), strict=True)
    }
    return grid, told


def _lacking(options: DirectionOptions, config: Config) -> bool:
    return (
        options.motor is not None and options.first is None and (config.place_by != "number" or options.points is None)
    )


def _learned(side: str, options: DirectionOptions, positions: Array) -> DirectionOptions:
    found = learned(positions)
    if isinstance(found, str):
        text = f"{options.motor} has no grid that could be learned, {found}: give first and step, or points"
        raise ConfigError([(side, text)])
    if options.points is not None and found.points > options.points:
        text = f"{options.motor} went to {found.points} points, not {options.points}: correct points"
        raise ConfigError([(side, text)])
    points = options.points or found.points
    return options.model_copy(update={"points": points, "first": found.first, "step": found.step})


def _refuse_others(grid: Grid, scan: ScanStart) -> None:
    """By number: every frame must have been taken near the point that its number has, where that is recorded."""
    if grid.by != "number":
        return
    for direction, motor, side in zip((grid.slow, grid.fast), grid.motors, SIDES, strict=True):
        positions = scan.recorded(motor) if motor and direction.known else None
        recorded_unit = (scan.readings or {}).get(motor, "")
        if positions is None or (direction.unit and recorded_unit and direction.unit != recorded_unit):
            continue
        numbers = np.arange(len(positions))
        rows, columns = grid.places(numbers)
        wanted = direction.first + direction.step * (rows if side == "slow" else columns)
        off = np.abs(positions - wanted) / abs(direction.step)
        wrong = np.flatnonzero((numbers >= grid.offset) & (off > FAR))
        if len(wrong):
            first = int(wrong[0])
            text = (
                f"by their numbers {len(wrong)} frames would lie where they were not taken: frame {first} at {motor} = "
                f"{wanted[first]:g}, but it was at {positions[first]:g}. Correct zigzag, offset, points, first and "
                "step, or set place_by: readings"
            )
            raise ConfigError([(side, text)])


def _words(direction: Direction) -> str:
    size = f"{direction.points} points" if direction.points is not None else "as many points as there are"
    if not direction.known:
        return f"{direction.name}, {size}"
    unit = f" {direction.unit}" if direction.unit else ""
    return f"{direction.name} from {direction.first:g}{unit} in steps of {direction.step:g}, {size}"
