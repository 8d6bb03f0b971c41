"""Where a frame lies on a grid of two directions: by its own number, or by the recorded positions of two motors.

The fast direction changes from frame to frame, the slow one from line to line.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from stream.errors import ConfigError
from stream.events import Array, ScanStart
from stream.registry import Options

MOST_LINES = 100_000
UNSURE = 0.4
"""Of a step: a frame further from its point than this may as well belong to the next one, and is refused."""
By: TypeAlias = Literal["number", "readings", "nearest"]
"""nearest: as readings, for spirals and other scans that keep to no grid: no frame is too far from its point."""


class DirectionOptions(Options):
    """One direction of the grid. A bare number in the YAML is `points`."""

    points: int | None = Field(None, ge=1, le=MOST_LINES, description="Number of points; slow: null if unknown")
    motor: str | None = Field(None, description="Name of the motor, and of its reading")
    first: float | None = Field(None, description="Position of the first point")
    last: float | None = Field(None, description="Position of the last point")
    step: float | None = Field(None, description="Distance from point to point, negative if the motor runs back")
    unit: str = Field("", description="Unit of the positions; empty: as the source says")

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, given: Any) -> Any:
        return {"points": given} if isinstance(given, int) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _enough(self) -> "DirectionOptions":
        numbers = [value for value in (self.first, self.last, self.step) if value is not None]
        if not np.isfinite(numbers).all():
            raise ValueError("first, last and step must be finite")
        if self.step == 0 or (self.first is not None and self.first == self.last and self.points != 1):
            raise ValueError("step must not be 0, nor first equal last")
        if self.first is None and (self.last is not None or self.step is not None):
            raise ValueError("last or step without first: say where the first point is")
        if self.last is not None and self.first is not None and self.step is not None:
            wanted = (self.last - self.first) / self.step
            counted = math.floor(wanted + 1.5)
            if wanted < 0 or abs(wanted - round(wanted)) > 0.01 or self.points not in (None, counted):
                raise ValueError("points, first, last and step do not fit each other: leave one of them out")
        if self.last is not None and self.step is None and self.points is None:
            raise ValueError("first and last need points or step")
        return self


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction: position of point i = first + i step. points: None if not known. known: positions were given."""

    name: str
    points: int | None
    first: float = 0.0
    step: float = 1.0
    unit: str = ""
    known: bool = False

    def positions(self, count: int) -> Array:
        """float64 (count,)."""
        return self.first + self.step * np.arange(count)

    def nearest(self, position: float) -> tuple[int, float]:
        """The point nearest to a position (it may lie before the first or behind the last), and how far from it the
        position is, in steps, 0 ... 0.5."""
        where = (position - self.first) / self.step
        point = math.floor(where + 0.5)
        return point, abs(where - point)


@dataclass(frozen=True, slots=True)
class Place:
    """A frame's point: row of the slow, column of the fast direction."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of one scan. motors: names of the readings, (slow, fast)."""

    slow: Direction
    fast: Direction
    by: By = "number"
    offset: int = 0
    zigzag: bool = False
    frames_per_point: int = 1
    motors: tuple[str, str] = ("", "")

    @property
    def columns(self) -> int:
        """Points in a line."""
        assert self.fast.points is not None
        return self.fast.points

    def place(self, index: int, readings: Mapping[str, float]) -> Place | None:
        """Where frame number `index` belongs; None for one before `offset`. Raises ValueError, with what to do, for
        a frame that has no place."""
        if index < self.offset:
            return None
        if self.by == "number":
            row, column = divmod((index - self.offset) // self.frames_per_point, self.columns)
            if self.zigzag and row % 2 and self.slow.points != 1:
                column = self.columns - 1 - column
            found = Place(row, column)
        else:
            found = self._by_readings(index, readings)
        if found.row >= MOST_LINES:
            raise ValueError(f"frame {index} would be in line {found.row}: check `fast` and `slow`")
        return found

    def places(self, indices: Array) -> tuple[Array, Array]:
        """Rows and columns of frame numbers, int64 (n,), by number; without a meaning below `offset`."""
        rows, columns = np.divmod((indices - self.offset) // self.frames_per_point, self.columns)
        if self.zigzag and self.slow.points != 1:
            columns = np.where(rows % 2 == 1, self.columns - 1 - columns, columns)
        return rows, columns

    def _by_readings(self, index: int, readings: Mapping[str, float]) -> Place:
        where = ", ".join(f"{motor} = {readings.get(motor, float('nan')):g}" for motor in self.motors)
        points = []
        for direction, motor in zip((self.slow, self.fast), self.motors, strict=True):
            position = readings.get(motor, float("nan"))
            if not math.isfinite(position):
                have = ", ".join(sorted(readings)) or "none"
                raise ValueError(f"frame {index} has no reading {motor!r} (it has: {have}): it has no place in the map")
            point, distance = direction.nearest(position)
            if distance > UNSURE and self.by == "readings":
                raise ValueError(
                    f"frame {index} lies between two points of {motor} ({where}): correct first and step, or set "
                    "place_by: nearest if the scan keeps to no grid"
                )
            points.append(point)
        row, column = points
        too_far = self.slow.points is not None and row >= 2 * self.slow.points + 10  # an encoder's nonsense, no surplus
        if row < 0 or too_far or not 0 <= column < self.columns:
            raise ValueError(f"frame {index} lies beside the grid ({where}): check first, last and step")
        return Place(row, column)


def grid_of(options: Any, scan: ScanStart, described: Mapping[str, DirectionOptions]) -> Grid:
    """The grid for a scan: what the configuration says, else what the source says (`described`: "slow", "fast").

    options: has slow, fast (DirectionOptions), place_by, offset, zigzag, frames_per_point. Raises ConfigError.
    """
    slow = direction_of("slow", merged(options.slow, described.get("slow")), scan)
    fast = direction_of("fast", merged(options.fast, described.get("fast")), scan)
    motors = tuple(merged(getattr(options, side), described.get(side)).motor or "" for side in ("slow", "fast"))
    if fast.points is None:
        raise ConfigError([("fast", "how many points a line has is not known, and the source does not say: set it")])
    if options.place_by != "number":
        for side, direction, motor in zip(("slow", "fast"), (slow, fast), motors, strict=True):
            if not motor or not direction.known:
                text = "to place frames by readings the motor, its first position, and step or last are needed"
                raise ConfigError([(side, text)])
            if scan.readings is not None and motor not in scan.readings:
                have = ", ".join(scan.readings) or "none"
                raise ConfigError([(f"{side}.motor", f"no reading is called {motor!r} (there are: {have})")])
    elif slow.points is None and scan.expected is not None:
        frames = max(scan.expected - options.offset, 1)
        lines = -(-frames // (fast.points * options.frames_per_point))
        slow = Direction(slow.name, lines, slow.first, slow.step, slow.unit, slow.known)
    if slow.name == fast.name:
        raise ConfigError([("fast.motor", f"slow and fast are both {fast.name!r}: they must be two motors")])
    return Grid(
        slow, fast, options.place_by, options.offset, options.zigzag, options.frames_per_point, (motors[0], motors[1])
    )


def merged(given: DirectionOptions, described: DirectionOptions | None) -> DirectionOptions:
    """What the user says stands; the source fills what it leaves open, if it speaks of the same motor."""
    if described is None or (given.motor and described.motor and given.motor != described.motor):
        return given
    found = given.model_dump(exclude_none=True, exclude_defaults=True)
    known = described.model_dump(exclude_none=True, exclude_defaults=True)
    if "first" in found:
        known = {name: value for name, value in known.items() if name not in ("last", "step")}
    if "points" in found and "step" in known:
        known.pop("last", None)
    return DirectionOptions(**{**known, **found})


def direction_of(side: str, options: DirectionOptions, scan: ScanStart) -> Direction:
    """A direction as the options say it, with the unit that the source says; `side` names it if no motor does."""
    name = re.sub(r"\W", "_", options.motor or side)
    unit = options.unit or (scan.readings or {}).get(options.motor or "", "")
    points = options.points
    if options.first is None:
        return Direction(name, points, unit=unit)
    step = options.step
    if step is not None and options.last is not None:
        points = math.floor((options.last - options.first) / step + 1.5)
    elif options.last is not None:
        assert points is not None
        step = (options.last - options.first) / (points - 1) if points > 1 else None
    if step is None:
        return Direction(name, points, options.first, 1.0, unit, points == 1)
    return Direction(name, points, options.first, step, unit, True)
