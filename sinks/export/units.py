"""The radial axis of a pattern in another unit: q and 2theta belong together by the wavelength, the bins stay."""

import numpy as np

from stream.errors import InbeamError
from stream.events import Array

CHANGEABLE = ("2th_deg", "2th_rad", "q_nm^-1", "q_A^-1")


def converted(values: Array, unit: str, wanted: str, wavelength_angstrom: float) -> Array:
    """Bin centres (n,) of `unit` in `wanted`, both pyFAI's names; q = 4 pi sin(theta) / wavelength.

    Raises InbeamError if there is no way from one to the other, or no wavelength for it.
    """
    if unit == wanted:
        return values
    if unit not in CHANGEABLE or wanted not in CHANGEABLE:
        raise InbeamError(f"{unit} cannot be given as {wanted}: only {', '.join(CHANGEABLE)} belong together")
    if unit[0] != wanted[0] and not np.isfinite(wavelength_angstrom):
        raise InbeamError(f"{unit} as {wanted} needs the wavelength, which the file does not say")
    if unit[0] == "q":
        sine = (values if unit == "q_A^-1" else values / 10) * wavelength_angstrom / (4 * np.pi)
        if np.abs(sine).max(initial=0) > 1:
            raise InbeamError(f"{unit} as {wanted}: no angle has a q of {np.abs(values).max():g} at this wavelength")
        angle: Array = 2 * np.arcsin(sine)
    else:
        angle = np.radians(values) if unit == "2th_deg" else values
    if wanted == "2th_rad":
        return angle
    if wanted == "2th_deg":
        return np.degrees(angle)
    q = 4 * np.pi * np.sin(angle / 2) / wavelength_angstrom
    return q if wanted == "q_A^-1" else 10 * q
