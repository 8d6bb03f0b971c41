"""Where the pixels are: a .poni, or what the stream's header says, brought into the one form of a .poni text.

Kept as text it is its own provenance and its own cache key, and pyFAI, which takes seconds to import, is not needed
where everything has been prepared before.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.shared import cache
from processors.shared.poni import check, fields, load, number
from stream.errors import ConfigError
from stream.events import Detector
from stream.versions import version


@dataclass(frozen=True, slots=True)
class Unit:
    """A radial unit of pyFAI: `symbol` for the file, the axis name, and whether it needs the wavelength."""

    symbol: str
    long_name: str
    needs_wavelength: bool


UNITS: Mapping[str, Unit] = {
    "q_nm^-1": Unit("1/nm", "q", True),
    "q_A^-1": Unit("1/angstrom", "q", True),
    "2th_deg": Unit("degrees", "2theta", False),
    "2th_rad": Unit("rad", "2theta", False),
    "r_mm": Unit("mm", "r", False),
    "r_m": Unit("m", "r", False),
    "d*2_A^-2": Unit("1/angstrom^2", "d*2", True),
    "d*2_nm^-2": Unit("1/nm^2", "d*2", True),
    "log10(q.m)_None": Unit("", "log10(q.m)", True),
    "log(q.nm)_None": Unit("", "log(q.nm)", True),
    "log(1+q.nm)_None": Unit("", "log(1+q.nm)", True),
    "log(1+q.A)_None": Unit("", "log(1+q.A)", True),
    "arcsinh(q.nm)_None": Unit("", "arcsinh(q.nm)", True),
    "arcsinh(q.A)_None": Unit("", "arcsinh(q.A)", True),
}
"""Radial units. Names as pyFAI's; symbols as NeXus writes units."""

AZIMUTHAL_UNITS: Mapping[str, Unit] = {
    "chi_deg": Unit("degrees", "chi", False),
    "chi_rad": Unit("rad", "chi", False),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """`poni`: text of a .poni file. `origin`: quantity -> "configuration", "header" or the file's name."""

    poni: str
    origin: Mapping[str, str]

    def value(self, key: str) -> float | None:
        """A number of the .poni ("Distance", "Wavelength", ... SI units), or None if it is not there."""
        found = fields(self.poni).get(key.lower())
        return None if found is None else number(found)

    @property
    def essence(self) -> str:
        """The text without comments and blank lines: two geometries are the same if this is."""
        lines = (line.strip() for line in self.poni.splitlines())
        return "\n".join(line for line in lines if line and not line.startswith("#"))


def files_of(geometry: Geometry) -> Mapping[str, tuple[int, int]]:
    """The files that a .poni's detector names (a NeXus detector, a spline): path -> (size, time of change in ns)."""
    config = json.loads(fields(geometry.poni).get("detector_config", "{}"))
    return files_in(config or {})


def files_in(config: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
    """The files that a detector's configuration names: path -> (size, time of change in ns)."""
    paths = [Path(value) for value in config.values() if isinstance(value, str) and value]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()}


def from_poni(
    path: Path, wavelength_angstrom: float | None, detector: Detector, key: str = "integrate.poni"
) -> Geometry:
    """The geometry of a .poni file; a wavelength it lacks comes from the configuration or from the stream's header.

    `key` is the option that named it. Raises ConfigError with everything in it that cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([(key, f"cannot read {path}: {error}")]) from error
    check(key, str(path), text)
    geometry = Geometry(text, {"geometry": str(path)})
    if wavelength_angstrom is not None:
        text = re.sub(r"(?im)^\s*wavelength\s*:.*$", "", text)
        source: float | None = wavelength_angstrom
        origin = "configuration"
    elif geometry.value("Wavelength") is None:
        source, origin = _wavelength(detector), "header"
    else:
        return geometry
    if source is None:
        return geometry
    return Geometry(f"{text.rstrip()}\nWavelength: {source * 1e-10!r}\n", {**geometry.origin, "wavelength": origin})


def check_readable(key: str, name: str, geometry: Geometry) -> None:
    """Raises ConfigError if pyFAI, which is slow to import, cannot read it; what it has read once is remembered."""
    seen = cache.key_of({"readable": geometry.essence, "files": files_of(geometry), "pyFAI": version("pyFAI")})
    if not cache.remembered(seen):
        load(key, name, geometry.poni)
        cache.first_time(seen)


def from_header(options: Mapping[str, Any], detector: Detector, shape: tuple[int, int]) -> Geometry:
    """The geometry of a flat detector perpendicular to the beam, from the stream's header.

    `options` overrides it: distance_m, wavelength_angstrom, pixel_size_m (rows, columns), beam_center_px (x, y); None
    where the header is to be believed. The beam centre counts from the outer corner of the first pixel, as pyFAI's
    poni1 and poni2 do. Raises ConfigError naming everything that is missing.
    """
    origin: dict[str, str] = {}

    def take(name: str, option: str, part: int | None, header: float | None) -> float | None:
        given = options.get(option)
        if given is not None:
            origin[name] = "configuration"
            return float(given if part is None else given[part])
        if header is not None:
            origin[name] = "header"
        return header

    distance = take("distance", "distance_m", None, detector.distance_m)
    pixel1 = take("pixel_size_y", "pixel_size_m", 0, detector.pixel_size_y_m)
    pixel2 = take("pixel_size_x", "pixel_size_m", 1, detector.pixel_size_x_m)
    center_x = take("beam_center_x", "beam_center_px", 0, detector.beam_center_x_px)
    center_y = take("beam_center_y", "beam_center_px", 1, detector.beam_center_y_px)
    wavelength = take("wavelength", "wavelength_angstrom", None, _wavelength(detector))
    named = {
        "distance_m": distance,
        "pixel_size_m": None if pixel1 is None or pixel2 is None else pixel1 * pixel2,
        "beam_center_px": None if center_x is None or center_y is None else 1.0,
    }
    missing = [name for name, value in named.items() if value is None or value <= 0]
    if missing:
        raise ConfigError(
            [
                (
                    f"integrate.{name}",
                    "the stream's header does not say it: give it here, or give a .poni file as `poni`",
                )
                for name in missing
            ]
        )
    assert distance and pixel1 and pixel2 and center_x is not None and center_y is not None
    config = json.dumps({"pixel1": pixel1, "pixel2": pixel2, "max_shape": list(shape)})
    lines = [
        "poni_version: 2",
        "Detector: Detector",
        f"Detector_config: {config}",
        f"Distance: {distance!r}",
        f"Poni1: {center_y * pixel1!r}",
        f"Poni2: {center_x * pixel2!r}",
        "Rot1: 0.0",
        "Rot2: 0.0",
        "Rot3: 0.0",
    ]
    if wavelength:
        lines.append(f"Wavelength: {wavelength * 1e-10!r}")
    return Geometry("\n".join(lines) + "\n", origin)


def _wavelength(detector: Detector) -> float | None:
    """What the header says of the wavelength, angstrom: itself, or by the photon energy."""
    if detector.wavelength_angstrom is None and detector.energy_ev:
        return 12398.419843320026 / detector.energy_ev  # hc in eV angstrom, exact SI constants of 2019
    return detector.wavelength_angstrom


def check_wavelength(geometry: Geometry, unit: str) -> None:
    """Raises ConfigError if the unit needs a wavelength that nobody knows."""
    if UNITS[unit].needs_wavelength and not geometry.value("Wavelength"):
        raise ConfigError(
            [
                (
                    "integrate.wavelength_angstrom",
                    f"neither poni nor header has the wavelength that {unit} needs: give it",
                )
            ]
        )
