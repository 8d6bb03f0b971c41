"""Where a slice lies between its projections: all of them see it, or in half-acquisition each sees one side."""

from dataclasses import dataclass

from processors.tomography.angles import HALF_TURN, coverage
from processors.tomography.backprojection import seen
from processors.tomography.half import FULL_TURN, feathered, size_of
from stream.events import Array


@dataclass(frozen=True, slots=True)
class Geometry:
    """column: of the axis; columns: of a projection; half: half-acquisition, over a full turn."""

    column: float
    columns: int
    half: bool = False

    @property
    def size(self) -> int:
        """Pixels along a side of a slice."""
        return size_of(self.columns, self.column) if self.half else self.columns

    @property
    def turn_deg(self) -> float:
        """What the angles have to cover."""
        return FULL_TURN if self.half else HALF_TURN

    @property
    def seen(self) -> Array:
        """bool (size, size): what is known."""
        return seen(self.size, self.columns, self.column, half_turn_only=not self.half)

    def weights(self, angles: Array) -> Array:
        """Of the angles, radian."""
        return coverage(angles, turn_deg=self.turn_deg).weights

    def completed(self, sinogram: Array) -> tuple[Array, float]:
        """What is back-projected, and the column of its axis."""
        return feathered(sinogram, self.column) if self.half else (sinogram, self.column)
