"""How wide a projection and a slice are: as the detector, or, in half-acquisition, as the whole sample."""

from dataclasses import dataclass

import numpy as np

from processors.tomography import half
from processors.tomography.angles import HALF_TURN
from processors.tomography.backprojection import seen
from stream.events import Array


@dataclass(frozen=True, slots=True)
class Width:
    """columns: of a projection. half_at: column of the axis in half-acquisition, None otherwise."""

    columns: int
    half_at: float | None = None

    @property
    def size(self) -> int:
        """Pixels along a side of a slice."""
        return self.columns if self.half_at is None else half.size_of(self.columns, self.half_at)

    @property
    def wide(self) -> int:
        """Columns of what is back-projected."""
        return (
            self.columns
            if self.half_at is None
            else half.feathered(np.zeros((1, self.columns)), self.half_at)[0].shape[1]
        )

    @property
    def turn_deg(self) -> float:
        """What the angles have to cover."""
        return HALF_TURN if self.half_at is None else half.FULL_TURN

    def lines(self, values: Array, centre: float) -> tuple[Array, float]:
        """(n, columns) -> what is back-projected, and the column of the axis there."""
        return (values, centre) if self.half_at is None else half.feathered(values, centre)

    def outside(self, centre: float) -> Array:
        """bool (size, size): pixels that nothing is known of."""
        found: Array = ~seen(self.size, self.columns, centre, half_turn_only=self.half_at is None)
        return found

    def binned(self, by: int) -> "Width":
        """Of columns `by` of which are one."""
        at = None if self.half_at is None else binned_centre(self.half_at, by)
        return Width(-(-self.columns // by), at)


def binned_centre(centre: float, by: int) -> float:
    """The column of the axis where `by` columns are one."""
    return (centre + 0.5) / by - 0.5
