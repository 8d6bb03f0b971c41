"""Variance of a pixel as a formula of its counts, such as `5*I+8`."""

from processors.shared.formula import Formula
from stream.errors import InbeamError
from stream.events import Array

FUNCTIONS = frozenset({"sqrt", "log", "log10", "exp", "abs"})


class Variance:
    """A checked formula in I, the raw counts of a pixel. Raises InbeamError if it holds anything but arithmetic."""

    def __init__(self, formula: str) -> None:
        try:
            self._formula = Formula(formula, allowed={"I"}, functions=FUNCTIONS)
        except ValueError as error:
            raise InbeamError(f"the error model {formula!r} {error}") from error

    def __call__(self, counts: Array) -> Array:
        """Variance float32 of the same shape as `counts`."""
        return self._formula({"I": counts})
