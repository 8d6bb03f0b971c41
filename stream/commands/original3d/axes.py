"""The positions that a motor went to, out of the positions that it had: never two alike, but close to each other."""

from dataclasses import dataclass

import numpy as np

from stream.errors import ConfigError
from stream.events import Array

CLEAR = 10.0
"""Times: gaps between steps are larger than the largest within a step by at least this."""
WHOLE = 0.2
"""Gaps that are whole multiples of the smallest, so exactly, are all gaps between steps, some of them left out."""
UNSURE = 0.4
"""Of a step: as of `processors.shared.grid`."""


@dataclass(frozen=True, slots=True, eq=False)
class Clustered:
    """centres: float64 (n,), ascending, the mean of each step. number: int64, the step of each value."""

    centres: Array
    number: Array


def clustered(key: str, values: Array, step: float | None = None) -> Clustered:
    """By `step` where it is given, else by the gaps between the values, which must be of two clearly different kinds.

    Raises ConfigError where it is not clear what a step is.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ConfigError([(key, "has no positions, or some that are no numbers")])
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    gaps = np.diff(ascending)
    least = _least_gap(key, gaps, np.abs(values).max()) if step is None else abs(step) / 2
    numbers = np.concatenate([[0], np.cumsum(gaps > least)])
    sizes = np.bincount(numbers)
    centres = np.bincount(numbers, ascending) / sizes
    spread = np.abs(ascending - centres[numbers]).max()
    apart = np.diff(centres).min() if len(centres) > 1 else np.inf
    if spread > UNSURE * (apart if step is None else min(apart, abs(step))):
        text = f"positions of one step are up to {spread:.3g} from its mean, and the steps {apart:.3g} apart"
        raise ConfigError([(key, f"{text}: give the right step")])
    found = np.empty(len(values), np.int64)
    found[order] = numbers
    return Clustered(centres, found)


def _least_gap(key: str, gaps: Array, largest: float) -> float:
    """What two steps are apart at least."""
    nothing = 1e-9 * max(largest, 1.0)
    some = np.sort(gaps[gaps > nothing])
    if not len(some):
        return np.inf
    ratios = some[1:] / some[:-1]
    wide = int(ratios.argmax()) if len(ratios) else 0
    if not len(ratios) or ratios[wide] < CLEAR:  # positions without any jitter
        steps = some / some[0]
        if np.abs(steps - np.rint(steps)).max() > WHOLE:
            raise ConfigError([(key, "the positions form no clear steps: give the step")])
        return float(some[0] / 2)
    return float(np.sqrt(some[wide] * some[wide + 1]))
