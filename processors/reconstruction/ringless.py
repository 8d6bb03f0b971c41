"""A slice without rings while its projections come.

What is taken for a stripe depends on all projections that there are: the lines of a slice are made anew, from all of
them, whenever one has come. What does not move from column to column yet, early in a scan, would be taken for stripes
too: until there are enough projections over enough of the turn, a slice has its rings, and says so.
"""

import numpy as np

from processors.tomography.angles import Coverage
from processors.tomography.rings import Method, without_rings
from stream.events import Array

FEWEST = 20
"""Projections."""
PART = 0.5
"""Of the turn."""
WANTED = f"{FEWEST} projections over {PART:.0%} of the turn"


def enough(covered: Coverage) -> bool:
    """True if stripes can be told from the sample."""
    return covered.angles >= FEWEST and covered.covered_deg >= PART * covered.turn_deg


class Ringless:
    """projections: whose rows the removal had, all that are in the slice; 0: none was made."""

    def __init__(self) -> None:
        self.projections = 0
        self._of: tuple[object, ...] = ()
        self._lines: Array = np.zeros((0, 0), np.float32)
        self._count = 0

    def lines(
        self, values: Array, angles: Array, covered: Coverage, method: Method | None, made: int
    ) -> tuple[Array, object]:
        """values float32 (n, columns), by frame number; angles (n,), degrees; made: as of `rows.Sinogram` -> (values
        without rings, something that changes when values that were there before do). Rows of weight 0 stay out."""
        if method is None or not enough(covered):
            self.projections, self._of = 0, ()
            return values, made
        used = covered.weights > 0
        of = (method, made, used.tobytes(), angles[used].tobytes())
        if of != self._of:
            self._lines = np.zeros(values.shape, np.float32)
            self._lines[used] = without_rings(values[used], method, angles[used])
            self._of, self._count = of, self._count + 1
            self.projections = int(used.sum())
        return self._lines, (method, self._count)
