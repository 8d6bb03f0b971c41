"""Units as they are spelled in detector files, as factors to the unit that inbeam uses."""

from collections.abc import Mapping
from types import MappingProxyType

H_C_EV_ANGSTROM = 12398.419843320026
"""Planck's constant times the speed of light, eV Å (CODATA 2018, exact)."""

PER_UNIT: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "m": MappingProxyType(
            {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "micron": 1e-6, "nm": 1e-9}
            | {"meter": 1.0, "metre": 1.0, "millimeter": 1e-3, "micrometer": 1e-6, "microns": 1e-6}
        ),
        "angstrom": MappingProxyType(
            {"angstrom": 1.0, "a": 1.0, "A": 1.0, "å": 1.0, "Å": 1.0, "angstroms": 1.0, "nm": 10.0, "m": 1e10}
            | {"pm": 1e-2, "Angstrom": 1.0, "ang": 1.0}
        ),
        "eV": MappingProxyType({"eV": 1.0, "ev": 1.0, "keV": 1e3, "kev": 1e3, "MeV": 1e6, "J": 6.241509074460763e18}),
        "s": MappingProxyType(
            {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
        ),
    }
)
