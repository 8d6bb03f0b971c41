"""pyFAI's azimuthal error model as its compiled engines compute it: a recurrence over the pixels of a bin.

    V <- V + w^2 * (<A> - b) * (<A+b> - b),  w = c*norm, b = signal/norm, <A> the weighted mean so far

(pyFAI 2026.9, ext/CSR_common.pxi, integrate_ng). With unequal weights it depends on the order of the pixels, and is not
the variance around the mean: on CeO2 rings the error is off by up to 0.2 % without splitting and up to a factor of 2 in
single bins with it. It is here to give the numbers that pyFAI gives; `azimuthal_exact` is the right one.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array


@kernel
def follow(
    raw: Array,
    first: int,
    starts: Array,
    bins: Array,
    coefs: Array,
    low: float,
    high: float,
    dummy_low: float,
    dummy_high: float,
    weights: Array,
    dark: Array,
    state: Array,
) -> None:
    """Add a flat range of pixels to `state` (bins + 1, 5) float64, of which column 0 is unused: sum c*signal,
    sum w, sum w^2, V.

    Without splitting `starts` and `coefs` are empty, and bins[i] is the bin of pixel i.
    """
    nowhere = state.shape[0] - 1
    split = starts.size > 0
    for j in range(raw.size):
        i = first + j
        value = np.float64(raw[j])
        if not (low <= value <= high) or (dummy_low <= value <= dummy_high):
            continue
        if split:
            begin, end = np.int64(starts[i]), np.int64(starts[i + 1])
        else:
            begin = np.int64(i)
            end = begin + np.int64(bins[i] != nowhere)
        signal = value - np.float64(dark[i]) if dark.size else value
        weight = np.float64(weights[i])
        for k in range(begin, end):
            b = bins[k]
            c = np.float64(coefs[k]) if split else 1.0
            w = c * weight
            before = state[b, 2]
            if state[b, 3] > 0.0:
                mean = signal / weight
                delta = state[b, 1] / before - mean
                total = state[b, 1] + c * signal
                state[b, 1] = total
                state[b, 2] = before + w
                state[b, 3] += w * w
                state[b, 4] += w * w * delta * (total / (before + w) - mean)
            else:
                state[b, 1] = c * signal
                state[b, 2] = w
                state[b, 3] = w * w


@kernel
def finish_recurrence(state: Array, factor: float, empty: float, intensity: Array, errors: Array) -> None:
    """Intensity and standard error of the mean of every bin, float32 (bins,); `factor` multiplies the norm."""
    for b in range(intensity.size):
        if state[b, 3] > 0.0:
            norm = state[b, 2] * factor
            intensity[b] = state[b, 1] / norm
            errors[b] = np.sqrt(state[b, 4]) / norm
        else:
            intensity[b] = empty
            errors[b] = empty
