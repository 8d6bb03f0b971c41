"""The column of the rotation axis by search, once a half turn is there: a check of what pairs and masses say.

A sinogram over a full turn has no amplitude where the angular frequency is higher than the radius of the sample times
the radial one (the double wedge of Rattey and Lindgren, IEEE Trans. ASSP 29 (1981) 994). Half a turn, completed by its
own mirror image about the right column, is such a sinogram; about a wrong one it has a step, whose amplitude lies
everywhere (the idea of Vo et al., Optics Express 22 (2014) 19078). Here the Fourier sums over the angles are taken
once, for angles and weights as they are; every candidate is a phase.
"""

import numpy as np

from processors.tomography.angles import coverage
from stream.events import Array

FREQUENCIES = 64
"""Radial ones that are looked at, the lowest; the wedge is narrow there, and noise small."""
MARGIN = 4
"""Angular frequencies beyond the wedge that are not looked at: its edge is not sharp."""
STEPS = (0.5, 0.05)
"""Columns from candidate to candidate: first over the whole reach, then about what was found."""
LEAST_ANGLES, LEAST_COVER = 16, 170.0
ROUNDS = 6
"""The window is put about what was found before: from far off, the first answer is drawn to where it began."""


def search(sinogram: Array, angles_deg: Array, near: float, *, reach: float | None = None) -> tuple[float, float]:
    """sinogram (angles, columns), -ln of the transmission; NaN: left out -> (column, contrast).

    The column within `reach` (an eighth of the columns) of `near` at which the amplitude outside the wedge is least,
    and by how much it is less than in the median: 0 is no contrast, 1 all. (NaN, 0) without half a turn of angles.
    """
    use = np.isfinite(sinogram).all(axis=1) & np.isfinite(np.asarray(angles_deg, np.float64))
    values, angles = np.asarray(sinogram, np.float64)[use], np.asarray(angles_deg, np.float64)[use]
    covered = coverage(angles)
    if len(angles) < LEAST_ANGLES or covered.covered_deg < LEAST_COVER:
        return float("nan"), 0.0
    wide = max(4.0, values.shape[1] / 8) if reach is None else reach
    found, contrast = _once(values, angles, covered.weights, near, wide, STEPS[0])
    for _ in range(ROUNDS):
        before = found
        found, contrast = _once(values, angles, covered.weights, before, 3.0, STEPS[1])
        if not abs(found - before) > STEPS[1]:
            break
    return found, contrast


def _once(values: Array, angles: Array, weights: Array, near: float, reach: float, step: float) -> tuple[float, float]:
    columns = values.shape[1]
    if not MARGIN < near < columns - 1 - MARGIN:
        return float("nan"), 0.0
    place = np.arange(columns) - near
    half = min(near, columns - 1 - near)
    window = np.where(np.abs(place) < half, np.cos(np.pi / 2 * np.clip(place / max(half, 1.0), -1, 1)) ** 2, 0.0)
    radial = 2 * np.pi * np.arange(1, min(FREQUENCIES, columns // 8) + 1) / (2 * half)
    values = values - (values @ window)[:, None] / window.sum()
    spectrum = ((values * window) @ np.exp(-1j * place[:, None] * radial)) * weights[:, None]
    highest = int(0.9 * len(angles))
    angular = np.arange(-highest, highest + 1)
    turned = np.exp(-1j * angular[:, None] * np.deg2rad(angles))
    seen, mirrored = turned @ spectrum, (turned @ spectrum.conj()) * np.where(angular % 2, -1, 1)[:, None]
    outside = np.abs(angular)[:, None] > half * radial + MARGIN
    if not outside.any():
        return float("nan"), 0.0
    shifts = np.arange(-reach, reach + step / 2, step)
    amplitude = np.array(
        [np.abs(seen + mirrored * np.exp(-2j * radial * shift))[outside].mean() for shift in shifts.tolist()]
    )
    best = int(amplitude.argmin())
    contrast = 1 - float(amplitude[best] / np.median(amplitude))
    if best in (0, len(shifts) - 1):
        return float("nan"), 0.0
    return near + float(shifts[best]), contrast
