"""Widths as the SPring-8 code (SP2014, analysis_FWHM.py and app.py) has them: `compat: sp2014`.

The crossing is that of maximum / 1.8, the first rising and the last falling one, and there is no interpolation at it.
"""

import numpy as np
from numpy.typing import NDArray

LEVEL = 1.8
POINTS = 1000


def raw_width(profile: NDArray[np.float64]) -> float:
    """Of the profile as it is: whole bins, times n / (n - 1). NaN without two crossings."""
    return _width(np.linspace(0, len(profile), len(profile)), profile)


def fine_width(profile: NDArray[np.float64]) -> float:
    """Of the cubic spline through the profile at 1000 points. NaN without two crossings, or for less than 4 bins."""
    from scipy.interpolate import interp1d

    if len(profile) < 4 or not np.isfinite(profile).all():
        return float("nan")
    bins = np.arange(len(profile))
    places = np.linspace(0, len(profile) - 1, POINTS)
    return _width(places, interp1d(bins, profile, kind="cubic")(places))


def _width(places: NDArray[np.float64], profile: NDArray[np.float64]) -> float:
    if not len(profile) or not np.isfinite(profile).all():
        return float("nan")
    signs = np.sign(profile.max() / LEVEL - profile)
    turns = signs[:-1] - signs[1:]
    rising, falling = np.flatnonzero(turns > 0), np.flatnonzero(turns < 0)
    if not len(rising) or not len(falling):
        return float("nan")
    return float(places[falling[-1]] - places[rising[0]])
