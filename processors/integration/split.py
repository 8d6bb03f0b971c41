"""Several bins per pixel (bbox or full splitting: the coefficients of pyFAI's sparse matrix), pixel after pixel.

The matrix lies pixel by pixel: `bins[starts[i] : starts[i + 1]]` and `coefs[...]` are those of pixel i. Ranges, `lost`
and `totals` are as in `scatter`. No kernel calls another with arrays in its loop: numba counts references with atomic
operations around such calls, which cost more than the work.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array


@kernel
def totals_split(starts: Array, bins: Array, coefs: Array, weights: Array, dark: Array, totals: Array) -> None:
    """Sums over all usable pixels of each bin into `totals` (bins + 1, 7) float64, columns as in `scatter`."""
    for i in range(starts.size - 1):
        weight = np.float64(weights[i])
        offset = np.float64(dark[i]) if dark.size else 0.0
        for k in range(np.int64(starts[i]), np.int64(starts[i + 1])):
            b = bins[k]
            c = np.float64(coefs[k])
            totals[b, 0] += 1.0
            totals[b, 1] += c
            totals[b, 2] += c * weight
            totals[b, 3] += c * weight * c * weight
            totals[b, 4] += c * offset
            totals[b, 5] += c * c
            totals[b, 6] += c * c * max(offset, 0.0)


@kernel
def add_split(
    raw: Array,
    first: int,
    starts: Array,
    bins: Array,
    coefs: Array,
    low: float,
    high: float,
    dummy_low: float,
    dummy_high: float,
    model: int,
    weights: Array,
    dark: Array,
    sums: Array,
    lost: Array,
) -> None:
    """Add the pixels first ... first + raw.size - 1 of one frame.

    sums (bins + 1, 3) float64: sum of c*raw; for model 1 (poisson) sum of c^2*(max(raw, 1) - 1), so that an empty
    pixel costs nothing (the rest is the same for every frame: column 5 of `totals`); for model 2 (exact azimuthal) sum
    of c^2*signal^2 and of c^2*signal*norm, with signal = raw - dark.
    """
    n = raw.size
    starts = starts[first : first + n + 1]
    weights = weights[first : first + n]
    if dark.size:
        dark = dark[first : first + n]
    dummies = dummy_low <= dummy_high
    for i in range(n):
        value = np.float64(raw[i])
        begin, end = np.int64(starts[i]), np.int64(starts[i + 1])
        if value >= low and value <= high and not (dummies and dummy_low <= value and value <= dummy_high):
            if model == 2:
                signal = value - np.float64(dark[i]) if dark.size else value
                crossed = signal * np.float64(weights[i])
                for k in range(begin, end):
                    b = bins[k]
                    c = np.float64(coefs[k])
                    sums[b, 0] += c * value
                    sums[b, 1] += c * c * signal * signal
                    sums[b, 2] += c * c * crossed
            elif value != 0.0:
                excess = max(value, 1.0) - 1.0
                for k in range(begin, end):
                    b = bins[k]
                    c = np.float64(coefs[k])
                    sums[b, 0] += c * value
                    sums[b, 1] += c * c * excess
        elif begin < end:
            weight = np.float64(weights[i])
            offset = np.float64(dark[i]) if dark.size else 0.0
            for k in range(begin, end):
                b = bins[k]
                c = np.float64(coefs[k])
                lost[b, 0] += 1.0
                lost[b, 1] += c
                lost[b, 2] += c * weight
                lost[b, 3] += c * weight * c * weight
                lost[b, 4] += c * offset
                lost[b, 5] += c * c
                lost[b, 6] += c * c * max(offset, 0.0)
