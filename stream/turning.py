"""What each frame of a turning sample is: projection, flat field or dark, and at which angle. Nothing is invented: what
is not known is refused at the start of a scan, or said to be not known.

Keys are those of NXtomo. Angles are in degrees.
"""

from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from stream.errors import ConfigError
from stream.events import Array, EndStatus, Frame, ScanEnd, ScanStart
from stream.registry import Options

DEGREES = ("", "deg", "degree", "degrees", "°")
UNKNOWN = float("nan")


class Key(IntEnum):
    """NXtomo's image_key."""

    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3
    """Of no use: it never came, cannot be read, was excluded, or has no angle."""


class Evenly(Options):
    """Angles that differ by the same step; modulo a turn, so that golden angles (step 111.246) are such, too."""

    first: float = Field(0.0, description="Angle of the first projection, degrees")
    step: float = Field(description="Angle from one projection to the next, degrees")


class Turn(Options):
    """Which frames are projections, and at which angle."""

    angles: Literal["readings", "metadata"] | Evenly | tuple[float, ...] | Path = Field(
        "readings",
        description="Angles of the projections, degrees. readings: of the motor `motor`, frame by frame; metadata: "
        "start and increment of `motor` (else of the one axis that turns) in the detector's header; first and step; a "
        "list, or the name of a text file with one angle a line: as many as projections, in the order of their frame "
        "numbers, or as many as frames",
    )
    motor: str = Field("rotation_angle", description="Name of the reading, or of the axis in the metadata, that turns")
    image_key: str = Field(
        "image_key",
        description="Reading that says what a frame is: 0 projection, 1 flat, 2 dark, 3 of no use, -1 alignment; "
        "without it every frame that is not named below is a projection",
    )
    flats: tuple[str | int, ...] = Field((), description='Frame numbers that are flat fields: 5, "0-9"')
    darks: tuple[str | int, ...] = Field((), description='Frame numbers that are darks: 5, "10-19"')
    exclude: tuple[str | int, ...] = Field((), description="Frame numbers of no use, whatever they are: a bad flat")

    @field_validator("flats", "darks", "exclude")
    @classmethod
    def _ranges(cls, given: tuple[str | int, ...]) -> tuple[str | int, ...]:
        _numbers(given)
        return given


class Turning:
    """The turn of one scan. Raises ConfigError, with paths below `where`, if it cannot be known."""

    def __init__(self, options: Turn, scan: ScanStart, where: str = "turn") -> None:
        self._options, self._where, self._scan = options, where, scan
        self._named = [
            (_numbers(given), key)
            for given, key in (
                (options.exclude, Key.INVALID),
                (options.flats, Key.FLAT),
                (options.darks, Key.DARK),
            )
        ]
        self._recorded = scan.recorded(options.image_key)
        self._others = self._no_projections()
        self._per_frame: Array | None = None
        self._by_rank: Array | None = None
        self._evenly: Evenly | None = None
        self._metadata: tuple[float, float] | None = None
        self.confused = ""
        """Why projections have no angle any more, in words."""
        self._take_angles()

    @property
    def projections(self) -> int | None:
        """How many there will be, those that are excluded too; None where it is not known."""
        if self._by_rank is not None:
            return len(self._by_rank)
        expected = self._scan.expected
        unknown = expected is None or (self._recorded is None and self._may_have_keys)
        return None if unknown else self._counted(expected or 0)

    @property
    def by_number(self) -> bool:
        """True if angles go by the number of the projection, so that it must be known which frames are projections."""
        return self._by_rank is not None or self._evenly is not None

    def key(self, frame: Frame) -> Key:
        """What a frame is. Alignment images are of no use for a reconstruction."""
        named = self._named_key(frame.index)
        if named is not None:
            return named
        told = frame.readings.get(self._options.image_key)
        if told is None:
            return Key.INVALID if self._has_keys else Key.PROJECTION
        return Key(int(told)) if told in (0, 1, 2) else Key.INVALID

    def aligned(self, frame: Frame) -> bool:
        """True for an alignment image, which NXtomo calls -1."""
        told = frame.readings.get(self._options.image_key)
        return told == -1 and self._named_key(frame.index) is None

    def angle(self, frame: Frame) -> float:
        """Degrees, NaN where it is not known."""
        index, given = frame.index, self._options.angles
        if given == "readings":
            return float(frame.readings.get(self._options.motor, UNKNOWN))
        if self._metadata is not None:
            return self._metadata[0] + self._metadata[1] * index
        if self._per_frame is not None:
            return float(self._per_frame[index]) if index < len(self._per_frame) else UNKNOWN
        key = self.key(frame)
        if self._recorded is None and self._named_key(index) is None and key in (Key.FLAT, Key.DARK):
            self.confused = self.confused or (
                f"frame {index} is a {key.name.lower()} by its reading, so that the number of a projection is not "
                f"known from there on: name the frames in {self._where}.flats and {self._where}.darks"
            )
        if key is not Key.PROJECTION or self.confused:
            return UNKNOWN
        rank = self._counted(index)
        if self._evenly is not None:
            return self._evenly.first + self._evenly.step * rank
        assert self._by_rank is not None
        return float(self._by_rank[rank]) if rank < len(self._by_rank) else UNKNOWN

    def surplus(self, end: ScanEnd) -> str:
        """What is wrong with a list of angles that is not as long as the scan had projections, "" if nothing is: each
        may then be that of another one. A scan that was stopped had fewer."""
        if self._by_rank is None and self._per_frame is None:
            return ""
        if end.status is not EndStatus.COMPLETE:
            return ""
        given = self._by_rank if self._by_rank is not None else self._per_frame
        assert given is not None
        there = self._counted(end.expected) if self._by_rank is not None else end.expected
        what = "projections" if self._by_rank is not None else "frames"
        if len(given) == there:
            return ""
        return f"{len(given)} angles for {there} {what}: each may be that of another one, correct {self._where}.angles"

    def _counted(self, frames: int) -> int:
        """Projections among the first frames; one that is excluded has its angle all the same."""
        return frames - int(np.searchsorted(self._others, frames))

    def _named_key(self, index: int) -> Key | None:
        """By the user's own word."""
        for ranges, key in self._named:
            if any(first <= index <= last for first, last in ranges):
                return key
        return None

    def _no_projections(self) -> Array:
        """int64, sorted: the frame numbers that are known to be something else."""
        named = [np.arange(first, last + 1) for ranges, _ in self._named[1:] for first, last in ranges]
        if self._recorded is not None:
            named.append(np.flatnonzero(self._recorded != Key.PROJECTION))
        return np.unique(np.concatenate([np.zeros(0, np.int64), *named]))

    @property
    def _has_keys(self) -> bool:
        return self._scan.readings is not None and self._options.image_key in self._scan.readings

    @property
    def _may_have_keys(self) -> bool:
        return self._scan.readings is None or self._has_keys

    def _take_angles(self) -> None:
        given, scan = self._options.angles, self._scan
        if given == "readings":
            motor = self._options.motor
            if scan.readings is not None and motor not in scan.readings:
                have = ", ".join(scan.readings) or "none"
                self._refuse("motor", f"no reading is called {motor!r} (there are: {have}): name it, or give `angles`")
            unit = (scan.readings or {}).get(motor, "")
            if unit.lower() not in DEGREES:
                self._refuse("motor", f"angles are in degrees, {motor!r} is in {unit!r}: give `angles` a list")
        elif given == "metadata":
            self._metadata = _in_metadata(scan.detector.metadata, self._options.motor)
            if self._metadata is None:
                self._refuse(
                    "angles", "the detector's header says of no single axis that it turns: give a first and a step"
                )
        elif isinstance(given, Evenly):
            self._evenly = given
            self._ranks_known()
        else:
            self._take_list(np.asarray(_read(given, self._where) if isinstance(given, Path) else given, np.float64))

    def _take_list(self, angles: Array) -> None:
        expected = self._scan.expected
        if not len(angles) or not np.isfinite(angles).all():
            self._refuse("angles", "must be finite numbers, at least one")
        if expected is not None and len(angles) == expected:
            self._per_frame = angles
            return
        self._ranks_known()
        self._by_rank = angles
        projections = len(angles) if expected is None else self._counted(expected)
        if len(angles) != projections:
            text = f"{len(angles)} angles for {projections} projections of {expected} frames: correct the list"
            self._refuse("angles", text)

    def _ranks_known(self) -> None:
        if self._recorded is None and self._has_keys and not (self._options.flats or self._options.darks):
            self._refuse(
                "angles",
                "go by the number of the projection, but the readings tell only frame by frame what is one: take the "
                "angles from readings too, or name the frames in `flats` and `darks`",
            )

    def _refuse(self, option: str, text: str) -> None:
        raise ConfigError([(f"{self._where}.{option}", text)])


def _numbers(given: tuple[str | int, ...]) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges of frame numbers. Raises ValueError."""
    found = []
    for each in given:
        first, dash, last = str(each).partition("-")
        if not first.strip().isdecimal() or (dash and not last.strip().isdecimal()):
            raise ValueError(f'{each!r} is no frame number and no range of them, such as "0-9"')
        ends = int(first), int(last or first)
        if ends[1] < ends[0]:
            raise ValueError(f"{each!r} ends before its first frame")
        if ends[1] - ends[0] >= 1_000_000:
            raise ValueError(f"{each!r} are more than a million frames")
        found.append(ends)
    return tuple(found)


def _read(path: Path, where: str) -> Array:
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=1, comments=("#", "%"))
    except (OSError, ValueError) as error:
        text = f"{path} is neither `readings`, `metadata` nor a file with one angle a line: {error}"
        raise ConfigError([(f"{where}.angles", text)]) from error


def _in_metadata(metadata: Mapping[str, Any], motor: str) -> tuple[float, float] | None:
    """Start and increment of an axis, as DECTRIS says them; of `motor`, or of the only one that moves."""
    found: dict[str, tuple[float, float]] = {}
    goniometer = metadata.get("goniometer")
    for axis, values in (goniometer if isinstance(goniometer, Mapping) else {}).items():
        if isinstance(values, Mapping) and {"start", "increment"} <= values.keys():
            found[str(axis)] = (float(values["start"]), float(values["increment"]))
    for name, value in metadata.items():
        axis = name.removesuffix("_increment").rpartition("/")[2]
        start = metadata.get(f"{name.removesuffix('_increment')}_start")
        if name.endswith("_increment") and isinstance(start, int | float) and isinstance(value, int | float):
            found[axis] = (float(start), float(value))
    moving = {axis: each for axis, each in found.items() if each[1] != 0}
    return moving.get(motor) or (next(iter(moving.values())) if len(moving) == 1 else None)
