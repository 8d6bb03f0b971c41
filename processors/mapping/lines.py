"""The cube in memory, line by line: the mean of the frames at each point, whatever their order.

float32 values are summed in float64: exact, and so independent of the order, while those of a bin differ by < 2^29.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from stream.events import Array


@dataclass(slots=True)
class Line:
    """One line of the cube. values, errors: float32 (columns, *bins), NaN where nothing has come; frames: int32
    (columns,), how many are in the mean; index: int64 (columns,), the lowest frame number of each point, -1: none.

    waiting: frames that came since the line was written last; since: when the first of them did.
    """

    values: Array
    errors: Array | None
    frames: Array
    index: Array
    sums: dict[int, tuple[Array, Array | None]] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    since: float = 0.0

    def complete(self, frames_per_point: int) -> bool:
        """True if every point has all its frames."""
        return bool((self.frames >= frames_per_point).all())


class Lines:
    """All lines that have a frame. One thread."""

    def __init__(self, columns: int, bins: tuple[int, ...], *, errors: bool, most_bytes: float = float("inf")) -> None:
        self.columns, self._bins, self._errors = columns, bins, errors
        self.line_bytes = 4 * columns * math.prod(bins) * (2 if errors else 1)
        """Of one line in memory."""
        self._most = most_bytes
        self._lines: dict[int, Line] = {}

    def __iter__(self) -> Iterator[tuple[int, Line]]:
        return iter(sorted(self._lines.items()))

    def __getitem__(self, row: int) -> Line:
        return self._lines[row]

    @property
    def length(self) -> int:
        """The number of the last line that has a frame, plus one."""
        return max(self._lines, default=-1) + 1

    def add(self, row: int, column: int, index: int, values: Array | None, errors: Array | None, now: float) -> Line:
        """One frame at its point. values None: it has none that can be used (no monitor): the point knows the frame,
        but its mean does not have it."""
        line = self.begin(row, index)
        if values is not None:
            self._mean(line, column, values, errors)
        known = int(line.index[column])
        line.index[column] = index if known < 0 else min(known, index)
        if not line.waiting:
            line.since = now
        line.waiting.append(index)
        return line

    def begin(self, row: int, index: int) -> Line:
        """The line of that frame; an empty one if none is there yet."""
        line = self._lines.get(row)
        if line is None:
            if (len(self._lines) + 1) * self.line_bytes > self._most:
                raise ValueError(
                    f"frame {index} would begin line {row}, for which `memory_gb` has no room: set it higher"
                )
            line = self._lines[row] = self._empty()
        return line

    def _mean(self, line: Line, column: int, values: Array, errors: Array | None) -> None:
        count = int(line.frames[column])
        if count == 0:
            line.values[column] = values
            if line.errors is not None and errors is not None:
                line.errors[column] = errors
        else:
            total, variance = line.sums.get(column) or self._begin(line, column)
            total += values
            line.values[column] = total / (count + 1)
            if line.errors is not None and variance is not None and errors is not None:
                variance += np.asarray(errors, np.float64) ** 2
                line.errors[column] = np.sqrt(variance) / (count + 1)
        line.frames[column] = count + 1

    def _begin(self, line: Line, column: int) -> tuple[Array, Array | None]:
        variance = None if line.errors is None else line.errors[column].astype(np.float64) ** 2
        found = line.sums[column] = line.values[column].astype(np.float64), variance
        return found

    def _empty(self) -> Line:
        shape = (self.columns, *self._bins)
        return Line(
            np.full(shape, np.nan, np.float32),
            np.full(shape, np.nan, np.float32) if self._errors else None,
            np.zeros(self.columns, np.int32),
            np.full(self.columns, -1, np.int64),
        )
