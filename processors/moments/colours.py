"""The orientation of every pixel as a colour, so that a person sees at a glance what turns against what."""

from collections.abc import Sequence

import numpy as np

from stream.events import Array

SPREAD = 2.0
"""Standard deviations from the middle to full colour."""


def scale(centre: Array, weight: Array, steps: Sequence[float]) -> tuple[Array, Array]:
    """The middle and the radius of the colours for centres of mass (motors, pixels) and weights (pixels,).

    middle: their weighted mean, radius: twice their weighted standard deviation; float64 (motors,), NaN without pixels.
    A radius below a millionth of the motor's step is rounding: 0.
    """
    there = np.isfinite(centre).all(axis=0) & (weight > 0)
    if not there.any():
        nothing = np.full(len(centre), np.nan)
        return nothing, nothing.copy()
    inside, share = centre[:, there], weight[there] / weight[there].sum()
    middle = (inside * share).sum(axis=1)
    radius = SPREAD * np.sqrt(((inside - middle[:, None]) ** 2 * share).sum(axis=1))
    return middle, np.where(radius > 1e-6 * np.abs(steps), radius, 0.0)


def orientation(centre: Array, middle: Array, radius: Array) -> Array:
    """uint8 (pixels, 3), red, green, blue; black where a centre of mass (motors, pixels) is NaN.

    Of two motors (the first two): the hue is the direction of the tilt away from the middle, red along the first and
    yellow-green along the second, the saturation its distance, 1 at `radius`. Of one: from blue to red through green.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.where(radius[:, None] > 0, (centre - middle[:, None]) / radius[:, None], 0.0)
    if len(away) == 1:
        hue, saturation = (1.0 - np.clip(away[0], -1.0, 1.0)) / 3.0, np.ones(away.shape[1])
    else:
        hue = np.arctan2(away[1], away[0]) / (2 * np.pi) % 1.0
        saturation = np.minimum(np.hypot(away[0], away[1]), 1.0)
    there = np.isfinite(centre).all(axis=0)
    colours = np.zeros((away.shape[1], 3), np.uint8)
    for place, shift in enumerate((0.0, 2.0 / 3.0, 1.0 / 3.0)):
        distance = np.abs((hue[there] + shift) % 1.0 * 6.0 - 3.0) - 1.0
        full = np.clip(distance, 0.0, 1.0)
        colours[there, place] = np.rint(255.0 * (1.0 - saturation[there] * (1.0 - full)))
    return colours
