"""Frames that the files have already: which of them are taken once more, and whether they are still the same."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stream.events import Frame, FrameStatus
from stream.ledger import Stored


class Known:
    """Of one scan. `lacking`: bool (n,), what some gatherer must get once more from the source.

    other: told, once, of a frame that is not what its file was made from; None: frames are not compared.
    """

    def __init__(self, stored: Stored, other: Callable[[Frame], None] | None = None) -> None:
        self._stored, self._other = stored, other
        self._lacking: NDArray[np.bool_] = np.zeros(0, bool)

    def lack(self, wanted: NDArray[np.bool_]) -> None:
        """These too are needed once more."""
        both = np.zeros(max(len(wanted), len(self._lacking)), bool)
        both[: len(wanted)] |= wanted
        both[: len(self._lacking)] |= self._lacking
        self._lacking = both

    def has(self, frame: Frame) -> bool:
        """True if the files have it; another copy of it is a repeat, which the ledger counts."""
        return frame.status is not FrameStatus.DUPLICATE and self._stored.has(frame.index)

    def wants(self, frame: Frame) -> bool:
        """True, once, for a frame that the files have and that is needed all the same."""
        tell = self._other
        if tell is not None and not self._stored.same(frame):
            self._other = None
            tell(frame)
        index = frame.index
        wanted = index < len(self._lacking) and bool(self._lacking[index])
        if wanted:
            self._lacking[index] = False
        return wanted
