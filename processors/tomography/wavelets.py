"""The wavelet transform that the removal of rings needs: db5, in two dimensions, mirrored at the edges.

I. Daubechies, Ten Lectures on Wavelets (1992), table 6.1; the lengths and values are those of PyWavelets in
mode `symmetric`.
"""

from collections.abc import Sequence

import numpy as np

from stream.events import Array

LOW = np.array(
    [
        0.0033357252854737712,
        -0.012580751999081999,
        -0.006241490212798274,
        0.07757149384004572,
        -0.03224486958463837,
        -0.24229488706638203,
        0.13842814590132074,
        0.7243085284377729,
        0.6038292697971896,
        0.16010239797419293,
    ]
)
HIGH = np.array([1.0, -1.0] * 5) * LOW[::-1] * -1.0
TAPS = len(LOW)


def split(image: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """(n, m) -> what is smooth in both, and the details: rows smoothed and columns not, the other way, neither."""
    low, high = _split(image, 0)
    (smooth, vertical), (horizontal, diagonal) = _split(low, 1), _split(high, 1)
    return smooth, (horizontal, vertical, diagonal)


def joined(smooth: Array, details: Sequence[Array]) -> Array:
    """The inverse of `split`; a row or a column longer where there was an odd number of them."""
    horizontal, vertical, diagonal = details
    return _joined(_joined(smooth, vertical, 1), _joined(horizontal, diagonal, 1), 0)


def _split(values: Array, axis: int) -> tuple[Array, Array]:
    along = np.moveaxis(values, axis, 0)
    length = len(along)
    wide = np.pad(along, [(TAPS - 1, TAPS - 1), (0, 0)], mode="symmetric")
    count = (length + TAPS - 1) // 2
    low, high = np.zeros((count, along.shape[1])), np.zeros((count, along.shape[1]))
    for tap in range(TAPS):
        part = wide[TAPS - tap : TAPS - tap + 2 * count : 2]
        low += LOW[tap] * part
        high += HIGH[tap] * part
    return np.moveaxis(low, 0, axis), np.moveaxis(high, 0, axis)


def _joined(low: Array, high: Array, axis: int) -> Array:
    below, above = np.moveaxis(low, axis, 0), np.moveaxis(high, axis, 0)
    count = len(below)
    full = np.zeros((2 * count + TAPS - 1, below.shape[1]))
    for tap in range(TAPS):
        full[tap : tap + 2 * count : 2] += LOW[TAPS - 1 - tap] * below + HIGH[TAPS - 1 - tap] * above
    return np.moveaxis(full[TAPS - 2 : 2 * count], 0, axis)
