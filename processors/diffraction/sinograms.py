"""The sinograms of a tomogram: the map's own images, taken from what the map gives, seen as (angles, translations)."""

from collections.abc import Iterable, Mapping

import numpy as np

from stream.events import Array, Piece


class Sinograms:
    """One per quantity that adds up along a line: sums of intensity, not positions and widths.

    slow_turns: the map's slow direction is the rotation. translations: how many; lines of a slow translation beyond
    that have no place in a slice, and are in `beyond`.
    """

    def __init__(self, names: Iterable[str], columns: int, translations: int, *, slow_turns: bool) -> None:
        self._images: dict[str, Array] = {name: np.full((0, columns), np.nan) for name in names}
        self._translations, self._slow_turns = translations, slow_turns
        self.rows = 0 if slow_turns else translations
        self.beyond = 0

    def take(self, pieces: Mapping[str, Piece]) -> bool:
        """What the map gives of its images. True if there was something to see in it."""
        found = False
        for name, piece in pieces.items():
            if name in self._images:
                first, last = piece.start[0], piece.start[0] + len(piece.values)
                self.rows = max(self.rows, last) if self._slow_turns else self.rows
                self.beyond = max(self.beyond, last - self.rows)
                image = self._room(name, last)
                image[first:last] = piece.values
                found = True
        return found

    def turned(self, image: Array) -> Array:
        """(slow, fast[, ...]) -> (angles, translations[, ...])."""
        return image if self._slow_turns else image[: self._translations].swapaxes(0, 1)

    def of(self, name: str) -> Array:
        """float64 (angles, translations), NaN where nothing is."""
        return self.turned(self._room(name, self.rows))

    def _room(self, name: str, rows: int) -> Array:
        image = self._images[name]
        if len(image) < rows:
            more = np.full((rows - len(image), image.shape[1]), np.nan)
            image = self._images[name] = np.concatenate([image, more])
        return image
