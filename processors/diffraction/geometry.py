"""How a scan turns and translates: from the map's grid and the options. What is not known is refused, not invented."""

from dataclasses import dataclass

import numpy as np

from processors.diffraction.options import DEGREES, Config
from processors.diffraction.readings import Readings
from processors.shared.grid import Direction, Grid
from processors.tomography.angles import HALF_TURN
from processors.tomography.half import FULL_TURN
from stream.errors import ConfigError
from stream.events import Array, ScanStart


@dataclass(frozen=True, slots=True)
class Turning:
    """Of one scan. projections: None if not known."""

    config: Config
    rotation: Direction
    translation: Direction

    @property
    def translations(self) -> int:
        """Columns of a sinogram."""
        return self.translation.points or 0

    @property
    def turn_deg(self) -> float:
        """What the angles have to cover."""
        return FULL_TURN if self.config.half_acquisition else HALF_TURN

    @property
    def spacing_deg(self) -> float | None:
        """What one projection stands for as long as it is alone, where the positions say it."""
        step, points = abs(self.rotation.step), self.rotation.points
        return min(step, self.turn_deg / (points or 1)) if self.config.angles == "positions" else None

    def angles(self, count: int, readings: Readings) -> tuple[Array, Array]:
        """float64 (count,), degrees: the angle of each projection, NaN where it is not known, and by how much its
        frames differ from it."""
        given = self.config.angles
        if given == "readings":
            return readings.angles(count)
        exact = np.zeros(count)
        if given == "positions":
            return self.rotation.positions(count), exact
        found = np.full(count, np.nan)
        found[: len(given)] = given[:count]
        return found, exact


def turning_of(config: Config, scan: ScanStart, grid: Grid) -> Turning:
    """Raises ConfigError for what cannot be reconstructed."""
    slow = config.rotation == "slow"
    rotation, translation = (grid.slow, grid.fast) if slow else (grid.fast, grid.slow)
    motor = grid.motors[0 if slow else 1]
    problems = []
    if translation.points is None:
        problems.append(("slow.points", "how many translations there are must be known: set it"))
    if config.angles == "positions" and not rotation.known:
        text = f"the angles are not known: give {config.rotation} a first and a step (or last), or give `angles` a list"
        problems.append(("angles", f"{text}, or `readings`"))
    if config.angles == "readings":
        if not motor:
            problems.append((f"{config.rotation}.motor", "to take the angles from readings, its name is needed"))
        elif scan.readings is not None and motor not in scan.readings:
            problems.append((f"{config.rotation}.motor", _no_reading(motor, scan)))
    if config.angles != "positions" and not isinstance(config.angles, str):
        expected = rotation.points
        if not np.isfinite(config.angles).all():
            problems.append(("angles", "must be finite numbers"))
        if expected is not None and len(config.angles) != expected:
            problems.append(("angles", f"{len(config.angles)} angles for {expected} projections: correct the list"))
    if rotation.unit.lower() not in DEGREES:
        problems.append((f"{config.rotation}.unit", f"angles are in degrees, not {rotation.unit!r}"))
    reading = config.centre_from
    if reading is not None and scan.readings is not None and reading not in scan.readings:
        problems.append(("centre_from", _no_reading(reading, scan)))
    columns = translation.points or 0
    if config.centre is not None and columns and not 0 <= config.centre <= columns - 1:
        problems.append(("centre", f"column {config.centre:g} is none of 0 to {columns - 1}"))
    if problems:
        raise ConfigError([(f"{config.name}.{path}", text) for path, text in problems])
    return Turning(config, rotation, translation)


def _no_reading(name: str, scan: ScanStart) -> str:
    return f"no reading is called {name!r} (there are: {', '.join(scan.readings or ()) or 'none'})"
