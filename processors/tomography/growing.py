"""A slice while its projections come: what is new is added, what has changed is exchanged.

Filtered back-projection is a sum over projections, each with its weight. A projection that comes in between others
takes weight from its neighbours, one that comes late changes its own row; the difference is added, and where much has
changed, or the centre, all is added up anew.
"""

import numpy as np

from processors.tomography import backprojection, filters
from processors.tomography.backprojection import padded
from processors.tomography.filters import Window
from stream.events import Array

SAME = 1e-12
"""Radian: weights that differ by less are the same."""


class Slice:
    """picture: float64 (size, size), what `show` was given last."""

    def __init__(self, columns: int, size: int, window: Window = "ramp") -> None:
        self.picture: Array = np.zeros((size, size))
        self._columns = columns
        self._response = filters.response(columns, window)
        self._forget()

    def _forget(self) -> None:
        self._values = np.zeros((0, self._columns))
        self._ready = np.zeros((0, self._columns + 1))
        self._weights = np.zeros(0)
        self._angles = np.zeros(0)
        self._centre = float("nan")
        self.picture[:] = 0

    def show(self, values: Array, angles_deg: Array, weights: Array, centre: float) -> int:
        """values (angles, columns), as many angles as before or more; those of weight 0 (radian) are left out, whatever
        they are. Returns how many projections were worked on."""
        count = len(values)
        weights = np.where(np.isfinite(angles_deg), weights, 0.0)
        angles = np.where(weights > 0, angles_deg, 0.0)
        values = np.where(weights[:, None] > 0, values, 0.0)
        before = len(self._weights)
        if centre != self._centre or count < before or (angles[:before] != self._angles)[self._weights > 0].any():
            self._forget()
            self._centre, before = centre, 0
        self._grow(count - len(self._weights))
        changed = (np.abs(weights - self._weights) > SAME) | (values != self._values).any(axis=1)
        if 2 * changed.sum() > np.count_nonzero(self._weights) + 2 and before:
            self._forget()
            self._centre = centre
            self._grow(count)
            changed = weights > 0
        numbers = np.flatnonzero(changed)
        if len(numbers):
            ready = padded(filters.filtered(values[numbers], self._response) * weights[numbers, None])
            backprojection.add(self.picture, ready - self._ready[numbers], angles_deg[numbers], centre)
            self._ready[numbers], self._values[numbers] = ready, values[numbers]
            self._weights[numbers] = weights[numbers]
        self._angles = angles
        return len(numbers)

    def _grow(self, more: int) -> None:
        self._values = np.concatenate([self._values, np.zeros((more, self._columns))])
        self._ready = np.concatenate([self._ready, np.zeros((more, self._columns + 1))])
        self._weights = np.concatenate([self._weights, np.zeros(more)])
        self._angles = np.concatenate([self._angles, np.zeros(more)])
