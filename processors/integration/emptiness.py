"""Why no pixel is left to be integrated: asked only when it has happened, for the words of the refusal."""

import numpy as np

from processors.integration.request import Request
from processors.shared.correction import Correction
from processors.shared.poni import load
from stream.events import Array
from stream.preflight import Problem


def why_empty(request: Request, correction: Correction) -> list[Problem]:
    """(option, what it leaves out and where pixels would be)."""
    integrator = load("integrate.poni", "geometry", request.geometry.poni, request.shape)
    good = ~correction.mask
    own = integrator.detector.mask
    if own is not None and own.shape == request.shape:
        good &= np.asarray(own) == 0
    if not good.any():
        text = f"with the mask of the detector {integrator.detector.name} in the geometry no pixel is left"
        return [("integrate.poni", f"{text}: correct the mask of `correct`, or the detector's")]
    problems = []
    if request.radial_range is not None:
        radial = integrator.center_array(request.shape, request.unit)[good]
        problems += _outside("radial_range", request.radial_range, radial, request.unit)
    if request.azimuth_range is not None:
        azimuth = np.degrees(integrator.center_array(request.shape, "chi_rad", scale=False)[good])
        start = sum(request.azimuth_range) / 2 - 180
        problems += _outside("azimuth_range", request.azimuth_range, start + (azimuth - start) % 360, "degrees")
    text = "no pixel that is not masked lies both in radial_range and in azimuth_range: correct one of them"
    return problems or [("integrate", text)]


def _outside(option: str, limits: tuple[float, float], values: Array, unit: str) -> list[Problem]:
    low, high = limits
    if ((values >= low) & (values <= high)).any():
        return []
    text = f"there is no pixel between {low:g} and {high:g} {unit}; those that are not masked lie between "
    return [(f"integrate.{option}", f"{text}{np.nanmin(values):.6g} and {np.nanmax(values):.6g}")]
