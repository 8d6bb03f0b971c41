"""What all slices of a tomogram have in common at one moment, in words and as fields of its product."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from processors.reconstruction import layout
from processors.reconstruction.axis import Found
from processors.reconstruction.ringless import WANTED
from processors.tomography.angles import Coverage
from processors.tomography.rings import Method
from stream.events import Array, Piece


@dataclass(frozen=True, slots=True)
class References:
    """How many there are; unusable: pixels whose flat is not above the dark."""

    flats: int = 0
    darks: int = 0
    unusable: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What all slices have in common at one moment. raw: without any flat. rings: how they are to be removed, None for
    not at all; without: of how many projections that was done, for each slice; everywhere: in vertical planes too."""

    angles: Array
    coverage: Coverage
    axis: Found
    projections: int
    references: References
    raw: bool
    rings: Method | None = None
    without: tuple[int, ...] = ()
    everywhere: bool = True

    @property
    def words(self) -> str:
        """For a person."""
        told = [f"{self.projections} projections", self.coverage.words, self.axis.words]
        if self.raw:
            told.append("no flat field yet: a raw preview, whose values mean nothing")
        elif self.references.flats:
            told.append(f"{self.references.flats} flats, {self.references.darks} darks")
        if self.rings is not None:
            told.append(self._rings())
        if self.references.unusable:
            told.append(f"{self.references.unusable} pixels whose flat is not above the dark are interpolated")
        return "; ".join(told)

    def _rings(self) -> str:
        if not any(self.without):
            return f"rings not removed yet: it takes {WANTED}"
        counts = sorted({count for count in self.without if count})
        words = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        planes = "" if self.everywhere else ", in the vertical planes at the end"
        return f"rings removed by {self.rings}, of {words} projections{planes}"

    def pieces(self, rows: Sequence[int]) -> dict[str, Piece]:
        """As fields of the product; rows: of the slices, -1: none."""
        words = np.array(self.words.encode()[: layout.WORDS_BYTES], f"S{layout.WORDS_BYTES}")
        whole = {
            "projections": self.projections,
            "flats": self.references.flats,
            "darks": self.references.darks,
            "unusable_pixels": self.references.unusable,
            "centre_pairs": self.axis.pairs,
        }
        real = {
            "centre": self.axis.column,
            "centre_uncertainty": self.axis.uncertainty,
            "centre_searched": self.axis.searched,
            "covered": self.coverage.covered_deg,
            "largest_gap": self.coverage.largest_gap_deg,
        }
        per_frame = {"angle": self.angles, "weight": np.rad2deg(self.coverage.weights)} if len(self.angles) else {}
        return {
            "row": Piece((0,), np.array(rows, np.int32)),
            "ring_projections": Piece((0,), np.array(self.without, np.int32)),
            **{name: Piece((), np.array(value, np.int64)) for name, value in whole.items()},
            **{name: Piece((), np.array(value, np.float64)) for name, value in real.items()},
            **{name: Piece((0,), np.array(values, np.float64)) for name, values in per_frame.items()},
            "summary": Piece((), words),
        }
