"""Where a frame lies among the positions of N motors and a rotation: by its readings, or by its own number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from processors.moments.options import Config, GammaOptions, MotorOptions
from processors.shared.grid import UNSURE, Direction, DirectionOptions, direction_of, merged
from stream.errors import ConfigError
from stream.events import ScanStart


@dataclass(frozen=True, slots=True)
class Motor:
    """One motor: its steps; and the reading that it is told by, or the three that it is made of."""

    direction: Direction
    reading: str
    gamma: GammaOptions | None = None

    @property
    def points(self) -> int:
        """Number of positions."""
        assert self.direction.points is not None
        return self.direction.points

    @property
    def middle(self) -> float:
        """Of its range."""
        return self.direction.first + self.direction.step * (self.points - 1) / 2

    @property
    def readings(self) -> tuple[str, ...]:
        """Names of those that it needs."""
        return (self.reading,) if self.gamma is None else (self.gamma.phi, self.gamma.chi, self.gamma.omega)

    def position(self, index: int, readings: Mapping[str, float]) -> float:
        """As recorded. Raises ValueError where a reading is missing."""
        found = []
        for name in self.readings:
            value = readings.get(name, float("nan"))
            if not math.isfinite(value):
                have = ", ".join(sorted(readings)) or "none"
                raise ValueError(f"frame {index} has no reading {name!r} (it has: {have}): it has no place in the scan")
            found.append(value)
        return found[0] if self.gamma is None else gamma(self.gamma, *found)


def gamma(options: GammaOptions, phi: float, chi: float, omega: float) -> float:
    """The tilt about the axis across the beam, degrees: never divided by cos(omega), which is 0 at 90 degrees."""
    turned = math.radians(omega)
    upright = (chi - options.chi0) * math.cos(math.radians(options.chi0))
    return (phi - options.phi0) * math.cos(turned) + upright * math.sin(turned)


@dataclass(frozen=True, slots=True)
class Place:
    """Of a frame: which omega, which cell (flat, of the motors' steps), (position - middle) / step of each motor."""

    omega: int
    cell: int
    where: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Positions:
    """Of one scan."""

    motors: tuple[Motor, ...]
    omega: Motor | None
    by_number: bool
    offset: int
    nominal: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of positions of each motor."""
        return tuple(motor.points for motor in self.motors)

    @property
    def omegas(self) -> int:
        """Number of positions of the rotation; 1 if there is none."""
        return 1 if self.omega is None else self.omega.points

    def place(self, index: int, readings: Mapping[str, float]) -> Place | None:
        """Of frame number `index`; None for one before `offset`. Raises ValueError, with what to do, for a frame that
        has no certain place."""
        if self.by_number:
            return self._by_number(index)
        cell, where = 0, []
        for motor in self.motors:
            points = motor.points
            position = readings.get(motor.reading) if motor.gamma is None else None
            if position is None or not math.isfinite(position):
                position = motor.position(index, readings)
            step = _step(index, motor, position)
            cell = cell * points + step
            half = (points - 1) / 2
            where.append(step - half if self.nominal else (position - motor.middle) / motor.direction.step)
        omega = 0
        if self.omega is not None:
            omega = _step(index, self.omega, self.omega.position(index, readings))
        return Place(omega, cell, tuple(where))

    def _by_number(self, index: int) -> Place | None:
        cells = math.prod(self.shape)
        omega, cell = divmod(index - self.offset, cells)
        if omega < 0:
            return None
        if omega >= self.omegas:
            raise ValueError(f"frame {index} is beyond the {self.omegas * cells} positions of the scan: check `motors`")
        steps = np.unravel_index(cell, self.shape)
        half = [(points - 1) / 2 for points in self.shape]
        return Place(omega, cell, tuple(float(step) - each for step, each in zip(steps, half, strict=True)))

    def words(self, cell: int) -> str:
        """The nominal positions of a cell, for a person."""
        steps = np.unravel_index(cell, self.shape)
        return ", ".join(
            f"{motor.reading} = {motor.direction.first + motor.direction.step * int(step):.6g}"
            for motor, step in zip(self.motors, steps, strict=True)
        )


def positions_of(config: Config, scan: ScanStart, described: Mapping[str, DirectionOptions]) -> Positions:
    """The positions of a scan: what the configuration says, else what the source says. Raises ConfigError."""
    given = config.motors or tuple(MotorOptions(**each.model_dump()) for each in described.values())
    if not given:
        text = "the motors of the scan are not known, and the source does not say: {motor, first, step, points} of each"
        raise ConfigError([(f"{config.name}.motors", text)])
    known: dict[str | None, DirectionOptions] = {each.motor: each for each in described.values() if each.motor}
    motors = tuple(_motor(config, f"motors[{n}]", each, known, scan) for n, each in enumerate(given))
    omega = None if config.omega is None else _motor(config, "omega", config.omega, known, scan)
    names = [motor.direction.name for motor in (*motors, *(() if omega is None else (omega,)))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        text = f"{twice!r} is among the motors already (in the file's names all but letters and digits is _): rename it"
        raise ConfigError([(f"{config.name}.omega" if twice == names[-1] else f"{config.name}.motors", text)])
    by_number = config.place_by == "number"
    if not by_number:
        _check_readings(config, scan, (*motors, *(() if omega is None else (omega,))))
    return Positions(motors, omega, by_number, config.offset, by_number or config.positions == "steps")


def _motor(
    config: Config, key: str, options: DirectionOptions, known: Mapping[str | None, DirectionOptions], scan: ScanStart
) -> Motor:
    gamma = options.gamma if isinstance(options, MotorOptions) else None
    plain = DirectionOptions(**options.model_dump(exclude={"gamma"}))
    found = direction_of(key, plain if gamma is not None else merged(plain, known.get(options.motor)), scan)
    if not options.motor or not found.known or found.points is None:
        text = "the motor, its first position, its step (or last) and the number of points are needed"
        raise ConfigError([(f"{config.name}.{key}", text)])
    return Motor(found, options.motor, gamma)


def _check_readings(config: Config, scan: ScanStart, motors: Sequence[Motor]) -> None:
    for name in (name for motor in motors for name in motor.readings):
        if scan.readings is not None and name not in scan.readings:
            have = ", ".join(scan.readings) or "none"
            raise ConfigError([(f"{config.name}.motors", f"no reading is called {name!r} (there are: {have})")])


def _step(index: int, motor: Motor, position: float) -> int:
    step, distance = motor.direction.nearest(position)
    if 0 <= step < motor.points and distance <= UNSURE:
        return step
    where = f"{motor.reading} = {position:.6g}"
    if not 0 <= step < motor.points:
        raise ValueError(f"frame {index} lies outside of the scan ({where}): check first, step and points of the motor")
    raise ValueError(f"frame {index} lies between two steps ({where}): check first and step of the motor")
