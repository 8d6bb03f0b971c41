"""What gatherers have in common that make one product of those of several processes."""

from collections.abc import Sequence

import numpy as np

from stream.errors import InbeamError
from stream.ledger import Partial


def once(parts: Sequence[Partial]) -> list[int]:
    """The frame numbers that the parts of a product cover together. Raises InbeamError if a frame is in two of them:
    out of sums no frame is taken again."""
    covered, times = np.unique(np.concatenate([part.covered for part in parts]), return_counts=True)
    twice = covered[times > 1]
    if len(twice):
        raise InbeamError(
            f"{len(twice)} frames came to two processes (the first: frame {twice[0]}), and are twice in the sums: give "
            "the archive's master to `inbeam process`"
        )
    found: list[int] = covered.tolist()
    return found
