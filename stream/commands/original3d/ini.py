"""Recon3D's ini file: lines of `key value`, # begins a comment. Values are parsed as literals; nothing is evaluated."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.topotomography.geometry import Mode
from processors.topotomography.options import GeometryOptions, Point, VolumeOptions
from stream.errors import ConfigError

NEEDED = ("unit_cell", "sg_no", "hkl", "wavelength", "path", "M", "grain_pos", "grain_dim", "grain_steps", "mode")
DEFAULTS: Mapping[str, Any] = {
    "detx_size": 2048,
    "detz_size": 2048,
    "t_x": "None",
    "t_y": "None",
    "t_z": "None",
    "format": "edf",
    "completeness_cutoff": 0.5,
    "xyz_up": [0, 0, 0],
    "xyz_lo": [0, 0, 0],
    "xyz_th": [0, 0, 0],
}
POINTS = (("upper", "xyz_up"), ("lower", "xyz_lo"), ("theta", "xyz_th"))
OF_SIMULATIONS = ("ang_mean", "ang_width", "ang_steps", "ang_types", "ang_min", "ang_max", "theta", "wheretosave")
"""Known, and of no meaning to a reconstruction."""


@dataclass(frozen=True, slots=True)
class Ini:
    """What it says. unknown: keys that mean nothing here."""

    path: Path
    values: Mapping[str, Any]
    unknown: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where the arrays are."""
        return Path(str(self.values["path"]))

    def volume(self) -> VolumeOptions:
        """The voxels. Raises ConfigError."""
        steps = self._numbers("grain_steps", 3)
        if any(step != int(step) for step in steps):
            raise ConfigError([(f"{self.path}: grain_steps", f"{list(steps)} are no whole numbers")])
        whole = (int(steps[0]), int(steps[1]), int(steps[2]))
        size, middle = self._point("grain_dim"), self._point("grain_pos")
        try:
            return VolumeOptions(steps=whole, size_um=size, center_um=middle)
        except ValueError as error:
            raise ConfigError([(f"{self.path}: grain_steps, grain_dim", str(error))]) from error

    def geometry(self, mode: Mode, upper: float, lower: float) -> GeometryOptions:
        """mode: as the names of the arrays say it. upper, lower: tilts that the projection is made with, degrees.
        Raises ConfigError."""
        cell, hkl = self._numbers("unit_cell", 6), self._numbers("hkl", 3)
        numbers = {"wavelength_angstrom": self._number("wavelength"), "magnification": self._number("M")}
        points = {f"about_{name}_um": self._point(key) for name, key in POINTS}
        tilt = None if mode == "rotation_y" else self._tilt(mode)
        given = {
            "mode": mode,
            "unit_cell": cell,
            "hkl": hkl,
            "upper_deg": upper,
            "lower_deg": lower,
            **numbers,
            **points,
        }
        try:
            return GeometryOptions.model_validate({**given, "detector_tilt_deg": tilt})
        except ValueError as error:
            raise ConfigError([(f"{self.path}: geometry", str(error))]) from error

    def mode(self) -> Mode:
        """Of the white paper's geometry. Raises ConfigError."""
        said = self.values["mode"]
        if said == "horizontal":
            return "horizontal"
        if said == "vertical":
            return "vertical"
        raise ConfigError([(f"{self.path}: mode", f"{said!r} is neither horizontal nor vertical")])

    @property
    def completeness(self) -> float:
        """Of voxels that are kept."""
        return self._number("completeness_cutoff")

    def _tilt(self, mode: Mode) -> float | None:
        """One tilt that is None is enough, as in the original, for none of them to count."""
        if any(str(self.values[name]) == "None" for name in ("t_x", "t_y", "t_z")):
            return None
        return self._number("t_z" if mode == "horizontal" else "t_x")

    def _number(self, key: str) -> float:
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError([(f"{self.path}: {key}", f"{value!r} is no number")])
        return float(value)

    def _numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self.values[key]
        right = isinstance(value, list | tuple) and len(value) == count
        if not right or any(isinstance(each, bool) or not isinstance(each, int | float) for each in value):
            raise ConfigError([(f"{self.path}: {key}", f"{value!r} are not {count} numbers, such as [1, 2, 3]")])
        return tuple(float(each) for each in value)

    def _point(self, key: str) -> Point:
        x, y, z = self._numbers(key, 3)
        return x, y, z


def read(path: Path) -> Ini:
    """Raises ConfigError with every line that is wrong, and every key that is missing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ConfigError([(str(path), f"cannot be read: {error.strerror or error}")]) from error
    values: dict[str, Any] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        text = _without_comment(line).strip()
        if not text:
            continue
        key, *rest = text.split(None, 1)
        if not rest:
            problems.append((f"{path}:{number}", f"{key!r} has no value"))
        elif key in values:
            problems.append((f"{path}:{number}", f"{key!r} is there already"))
        else:
            values[key] = _literal(rest[0])
    problems += [(str(path), f"{key!r} is missing") for key in NEEDED if key not in values]
    if problems:
        raise ConfigError(problems)
    known = {*NEEDED, *DEFAULTS, *OF_SIMULATIONS}
    return Ini(path, {**DEFAULTS, **values}, tuple(key for key in values if key not in known))


def _without_comment(line: str) -> str:
    """Up to the first # that is not between quotation marks."""
    quote = ""
    for place, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign == "#":
            return line[:place]
    return line


def _literal(text: str) -> Any:
    """A number, a list, a text with quotation marks; all else is text as it is."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.strip()
