"""The frames of a scan and where they belong in the array: read once for the motors' positions, once for the pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from processors.moments.options import GammaOptions
from processors.moments.positions import gamma
from stream.codec.payload import decode
from stream.commands.original3d.axes import Clustered, clustered
from stream.errors import ConfigError, CorruptPayload, InbeamError
from stream.events import Array, Frame, Note, ScanStart
from stream.sources import files


@dataclass(frozen=True, slots=True)
class Motors:
    """Names of readings: of both tilts and of omega. gamma: the second tilt is made of these three instead."""

    tilt1: str
    tilt2: str
    omega: str
    gamma: GammaOptions | None = None

    def of(self, frame: Frame, name: str) -> tuple[float, float, float]:
        """Positions. Raises InbeamError where a reading is missing."""
        wanted = [self.tilt1, self.tilt2, self.omega]
        if self.gamma is not None:
            wanted = [self.tilt1, self.gamma.phi, self.gamma.chi, self.omega]
        missing = [each for each in wanted if not np.isfinite(frame.readings.get(each, np.nan))]
        if missing:
            have = ", ".join(sorted(frame.readings)) or "none"
            raise InbeamError(f"{name}: frame {frame.index} has no reading {missing[0]!r} (it has: {have})")
        values = [frame.readings[each] for each in wanted]
        if self.gamma is not None:
            values = [values[0], gamma(self.gamma, values[1], values[2], values[3]), values[3]]
        return values[0], values[1], values[2]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """cells: steps of tilt1, tilt2 and omega, in that order, of every frame in the order they are read."""

    axes: tuple[Clustered, Clustered, Clustered]
    frames: int
    shape: tuple[int, int]


def matching(folder: Path, start: str) -> tuple[str, ...]:
    """Files in the folder whose names begin so. Raises ConfigError if there are none."""
    if not folder.is_dir():
        raise ConfigError([(str(folder), "is not a folder")])
    found = sorted(str(path) for path in folder.iterdir() if path.name.startswith(start) and path.is_file())
    if not found:
        raise ConfigError([(str(folder), f"holds no file whose name begins with {start!r}")])
    return tuple(found)


def read(paths: Sequence[str]) -> Iterator[tuple[str, Frame]]:
    """Every frame, with the name of its scan. Raises InbeamError for what cannot be read: nothing is left out."""
    source = files.create(files.Config(files=tuple(paths)))
    name = ""
    for event in source.events():
        if isinstance(event, ScanStart):
            name = event.name
        elif isinstance(event, Note) and not event.harmless:
            raise InbeamError(event.text)
        elif isinstance(event, Frame):
            if not event.payloads:
                raise InbeamError(f"{name}: frame {event.index} cannot be read: {event.problem}")
            yield name, event


def pixels(name: str, frame: Frame) -> Array:
    """Of its only channel. Raises InbeamError."""
    try:
        return decode(next(iter(frame.payloads.values())))
    except CorruptPayload as error:
        raise InbeamError(f"{name}: frame {frame.index}: {error}") from error


def look(paths: Sequence[str], motors: Motors, steps: tuple[float | None, float | None, float | None]) -> Found:
    """Where all frames belong. steps: of the motors, where the user says them. Raises InbeamError, ConfigError."""
    where, shape = [], None
    for name, frame in read(paths):
        payload = next(iter(frame.payloads.values()))
        if shape is not None and payload.shape != shape:
            raise InbeamError(f"{name}: frame {frame.index} is {payload.shape}, others are {shape}")
        shape = payload.shape
        where.append(motors.of(frame, name))
    if shape is None:
        raise InbeamError(f"{paths[0]} ... hold no frames")
    values = np.array(where).T
    names = (motors.tilt1, motors.tilt2 if motors.gamma is None else "gamma", motors.omega)
    first, second, omega = (clustered(name, each, step) for name, each, step in zip(names, values, steps, strict=True))
    return Found((first, second, omega), len(where), shape)
