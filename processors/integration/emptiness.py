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
    if not good.any():
        ruled_out = ", ".join(f"{kind}: {name}" for kind, name in correction.origin.items()) or "corrections"
        return [("integrate.channel", f"every pixel of it is ruled out together by {ruled_out}")]
    own = integrator.detector.mask
    if own is not None and own.shape == request.shape:
        good &= np.asarray(own) == 0
    if not good.any():
        text = f"with the mask of the detector {integrator.detector.name} in the geometry no pixel is left"
        return [("integrate.poni", f"{text}: correct the mask of `correct`, or the detector's")]
    problems = []
    if request.radial_range is not None:
        radial = integrator.center_array(request.shape, request.unit)[good]
        low, high = request.radial_range
        if not ((radial >= low) & (radial <= high)).any():
            ends = float(np.nanmin(radial)), float(np.nanmax(radial))
            problems.append(_nowhere("radial_range", request.radial_range, request.unit, ends))
    if request.azimuth_range is not None:
        azimuth = np.degrees(integrator.center_array(request.shape, "chi_rad", scale=False)[good])
        low, high = request.azimuth_range
        if not ((azimuth - low) % 360 <= high - low).any():
            problems.append(_nowhere("azimuth_range", request.azimuth_range, "degrees", _arc(azimuth)))
    text = "no pixel that is not masked lies both in radial_range and in azimuth_range: correct one of them"
    return problems or [("integrate", text)]


def _nowhere(option: str, limits: tuple[float, float], unit: str, ends: tuple[float, float]) -> Problem:
    text = f"there is no pixel between {limits[0]:g} and {limits[1]:g} {unit}; those that are not masked lie between "
    return f"integrate.{option}", f"{text}{ends[0]:.6g} and {ends[1]:.6g}"


def _arc(degrees: Array) -> tuple[float, float]:
    """Both ends of the arc with all these azimuths: it ends where the widest gap begins."""
    ordered = np.sort(degrees % 360)
    gaps = np.diff(ordered, append=ordered[0] + 360)
    widest = int(gaps.argmax())
    first = float(ordered[(widest + 1) % ordered.size])
    first -= 360 * (first > 180)
    return first, first + 360 - float(gaps[widest])
