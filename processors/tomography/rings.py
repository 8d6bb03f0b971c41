"""Stripes of a sinogram, which become rings of a slice: pixels that answer otherwise than the flat field says.

All of them: sinogram (angles, columns) of line integrals -> float64, the same shape. ValueError for a NaN. Only the
wavelets ask for the order of the angles: projections that follow each other have to be alike.
"""

from typing import Literal, TypeAlias, get_args

import numpy as np

from processors.tomography.running import medians
from processors.tomography.wavelets import joined, split
from stream.events import Array

Method: TypeAlias = Literal["sorting", "wavelet-fourier", "titarenko"]
ALIKE_DEG = 1e-6
METHODS: tuple[Method, ...] = get_args(Method)


def without_rings(sinogram: Array, method: Method, angles_deg: Array) -> Array:
    """With the method's usual parameters; angles (n,), finite, in any order."""
    if method == "sorting":
        return by_sorting(sinogram)
    if method == "titarenko":
        return by_titarenko(sinogram)
    order = round_the_circle(angles_deg)
    found = np.empty(sinogram.shape)
    found[order] = by_wavelets(np.asarray(sinogram)[order])
    return found


def round_the_circle(angles_deg: Array) -> Array:
    """Which comes when, from the largest gap on: as they are, if the sample turned steadily from there."""
    folded = np.mod(np.asarray(angles_deg, np.float64), 360.0)
    order = np.argsort(folded, kind="stable")
    gaps = np.diff(folded[order], prepend=folded[order[-1]] - 360.0)
    first = int(np.argmax(gaps > gaps.max() - ALIKE_DEG))
    return np.roll(order, -first)


def by_sorting(sinogram: Array, size: int = 21) -> Array:
    """N. T. Vo, R. C. Atwood, M. Drakopoulos, Opt. Express 26 (2018) 28396, algorithm 3: each column in the order of
    its values, a median over `size` neighbouring columns, and back in the order of the angles. Not for wide stripes."""
    values = _checked(sinogram)
    order = np.argsort(values, axis=0, kind="stable")
    smooth = medians(np.take_along_axis(values, order, 0), size)
    found = np.empty_like(values)
    np.put_along_axis(found, order, smooth, 0)
    return found


def by_wavelets(sinogram: Array, levels: int | None = None, sigma: float = 2.0) -> Array:
    """B. Muench, P. Trtik, F. Marone, M. Stampanoni, Opt. Express 17 (2009) 8567: of the details that are smooth along
    the angles, the lowest frequencies are damped by 1 - exp(-f^2 / (2 sigma^2)).

    db5; levels: by default as many as the longer side has powers of 2, rounded up. The angles are padded with zeros by
    an eighth, as tomopy's `remove_stripe_fw` does.
    """
    values = _checked(sinogram)
    angles, columns = values.shape
    more = angles // 8
    smooth: Array = np.zeros((angles + more, columns))
    smooth[more // 2 : more // 2 + angles] = values
    count = int(np.ceil(np.log2(max(values.shape)))) if levels is None else levels
    details: list[tuple[Array, Array, Array]] = []
    for _ in range(count):
        smooth, (horizontal, vertical, diagonal) = split(smooth)
        details.append((horizontal, _damped(vertical, sigma), diagonal))
    for horizontal, vertical, diagonal in details[::-1]:
        rows, width = horizontal.shape
        smooth = joined(smooth[:rows, :width], (horizontal, vertical, diagonal))
    return smooth[more // 2 : more // 2 + angles, :columns]


def by_titarenko(sinogram: Array, strength: float = 1.5) -> Array:
    """E. X. Miqueles, J. Rinkel, F. O'Dowd, J. S. V. Bermudez, J. Synchrotron Rad. 21 (2014) 1333, after S. Titarenko,
    as tomopy's `remove_stripe_ti`: what makes the mean projection smooth, in the sense of its first and of its second
    differences, is added to all; the result is the root of the product of both, which is raised by `strength` times
    its smallest value where that is negative. (tomopy raises it also by a smallest value that is positive, which
    would make a background of 0.05 one of 0.08.) The root takes the sign from noise around 0.
    """
    values = _checked(sinogram)
    mass = values.sum(axis=1)
    spread = float(mass.max() - mass.min())
    if spread == 0:
        return values
    first, second = (values + _smoothing(values.mean(axis=0), each, 1 / (2 * spread)) for each in (1, 2))
    product = first * second
    found: Array = np.sqrt(np.maximum(product + strength * max(-float(product.min()), 0.0), 0.0))
    return found


def _smoothing(mean: Array, order: int, regularisation: float) -> Array:
    """q for which D (mean + q) is small and q, too: (D^T D + a) q = -D^T D mean; D: differences of this order."""
    from scipy.linalg import solveh_banded

    signs = np.array([-1.0, 1.0] if order == 1 else [1.0, -2.0, 1.0])
    count = len(mean)
    bands = np.zeros((order + 1, count))  # of D^T D, from its diagonal down
    for below in range(order + 1):
        for first in range(order + 1 - below):
            product = signs[first] * signs[first + below]
            bands[below, first : count - order + first] += product
    normal = bands[0] * mean
    for below in range(1, order + 1):
        normal[below:] += bands[below, :-below] * mean[:-below]
        normal[:-below] += bands[below, :-below] * mean[below:]
    bands[0] += regularisation
    found: Array = solveh_banded(bands, -normal, lower=True)
    return found


def _damped(vertical: Array, sigma: float) -> Array:
    count = len(vertical)
    spectrum = np.fft.fft(vertical, axis=0)
    frequency = np.fft.ifftshift(np.arange(-count, count, 2) + 1) / 2
    spectrum *= -np.expm1(-(frequency**2) / (2 * sigma**2))[:, None]
    found: Array = np.fft.ifft(spectrum, axis=0).real
    return found


def _checked(sinogram: Array) -> Array:
    values = np.array(sinogram, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("stripes can be removed only where every point of the sinogram is a number: mend it first")
    return values
