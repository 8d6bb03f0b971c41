"""Channels that no detector sends: made by a processor from those of a frame, for the processors behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.events import ScanStart
from stream.work import Work


@dataclass(frozen=True, slots=True)
class Derived:
    """What lies on the bench: name -> type of the pixels, of the channels that are made in scan `uid`.

    Bad pixels of an image are NaN. Their corrections are made already: what is left of them is the mask.
    """

    uid: str
    dtypes: Mapping[str, np.dtype[Any]]

    @classmethod
    def of(cls, work: Work, scan: ScanStart) -> "Derived":
        """The channels that earlier processors make."""
        found = work.get(cls)
        return found if found is not None and found.uid == scan.uid else cls(scan.uid, {})


def pixel_type(work: Work, scan: ScanStart, channel: str) -> np.dtype[Any]:
    """Type of the pixels of a channel, in native byte order."""
    return Derived.of(work, scan).dtypes.get(channel, scan.dtype.newbyteorder("="))
