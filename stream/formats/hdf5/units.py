"""Units as they are spelled in detector files, as factors to the unit that inbeam uses."""

from collections.abc import Mapping
from types import MappingProxyType

H_C_EV_ANGSTROM = 12398.419843320026
"""Planck's constant times the speed of light, eV Å (CODATA 2018, exact)."""

PER_UNIT: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "m": MappingProxyType(
            {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "micron": 1e-6, "nm": 1e-9}
            | {"meter": 1.0, "metre": 1.0, "meters": 1.0, "metres": 1.0, "centimeter": 1e-2, "centimeters": 1e-2}
            | {"millimeter": 1e-3, "millimetre": 1e-3, "millimeters": 1e-3, "millimetres": 1e-3}
            | {"micrometer": 1e-6, "micrometre": 1e-6, "micrometers": 1e-6, "micrometres": 1e-6, "microns": 1e-6}
            | {"nanometer": 1e-9, "nanometers": 1e-9, "pm": 1e-12, "angstrom": 1e-10}
        ),
        "angstrom": MappingProxyType(
            {"angstrom": 1.0, "a": 1.0, "A": 1.0, "å": 1.0, "Å": 1.0, "angstroms": 1.0, "nm": 10.0, "m": 1e10}
            | {"pm": 1e-2, "Angstrom": 1.0, "ang": 1.0}
        ),
        "eV": MappingProxyType({"eV": 1.0, "ev": 1.0, "keV": 1e3, "kev": 1e3, "MeV": 1e6, "J": 6.241509074460763e18}),
        "px": MappingProxyType({"px": 1.0, "pixel": 1.0, "pixels": 1.0}),
        "s": MappingProxyType(
            {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
            | {"msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3, "microsecond": 1e-6, "microseconds": 1e-6}
            | {"nanosecond": 1e-9, "nanoseconds": 1e-9, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0}
        ),
    }
)


def factor(unit: str, to: str) -> float | None:
    """What a value in `unit` is multiplied by to have it in `to`, a key of `PER_UNIT`.

    No unit at all is taken for `to`; None for a unit that is not known.
    """
    unit = unit.strip()
    known = PER_UNIT[to]
    return 1.0 if not unit else known.get(unit, known.get(unit.lower()))
