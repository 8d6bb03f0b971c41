"""From the sums of one frame to intensities and errors, bin by bin."""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array


@kernel
def finish(
    sums: Array,
    totals: Array,
    lost: Array,
    model: int,
    excess: bool,
    dark_variance: bool,
    factor: float,
    empty: float,
    intensity: Array,
    errors: Array,
) -> None:
    """Ratio of sums, I = sum c*signal / sum c*norm, and its standard error sqrt(V) / sum c*norm, float32 (bins,).

    V = sum c^2*variance with variance = max(raw, 1) before the dark is subtracted (model 1, poisson), or
    V = sum c^2 * (signal - norm*I)^2 (model 2: azimuthal, the two-pass formula of pyFAI's engines/CSR_engine.py,
    expanded so that one pass is enough). `excess`: the sums hold max(raw, 1) - 1 (see `split`).
    `dark_variance`: poisson's variance is max(raw, 1) + max(dark, 0) (see `Plan`).

    The norms of all pixels, less those of the bad pixels of this frame; `factor` multiplies them (the monitor). A bin
    without any valid pixel becomes `empty`.
    """
    for b in range(intensity.size):
        if totals[b, 0] - lost[b, 0] <= 0.0:
            intensity[b] = empty
            if model:
                errors[b] = empty
            continue
        norm = totals[b, 2] - lost[b, 2]
        mean = (sums[b, 0] - (totals[b, 4] - lost[b, 4])) / norm
        intensity[b] = mean / factor
        if model == 1:
            variance = sums[b, 1] + (totals[b, 5] - lost[b, 5] if excess else 0.0)
            if dark_variance:
                variance += totals[b, 6] - lost[b, 6]
            errors[b] = np.sqrt(max(variance, 0.0)) / (norm * factor)
        elif model == 2:
            norm_sq = totals[b, 3] - lost[b, 3]
            variance = sums[b, 1] - 2.0 * mean * sums[b, 2] + mean * mean * norm_sq
            errors[b] = np.sqrt(max(variance, 0.0)) / (norm * factor)
