"""A scan in several files: one was held open elsewhere when its writer was started again, and a numbered one goes on.

    /entry/ledger/elsewhere   uint8 (n,), stream.FrameStatus of each frame number that an earlier file has

Its attribute `file` names the file that is continued, relative to this one; that may continue another itself.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sinks.file.ledger_layout import HAS_DATA
from sinks.file.storage import BITSHUFFLE
from stream.ledger import States

PATH = "/entry/ledger/elsewhere"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What earlier files have of a scan. file: the last of them, relative to the one that continues it."""

    file: str
    states: States

    def together(self, own: States) -> States:
        """The states of the scan: of this file, and of the earlier ones where this one has no data."""
        states = np.zeros(max(len(own), len(self.states)), np.uint8)
        states[: len(own)] = own
        has = np.zeros(len(states), bool)
        has[: len(self.states)] = HAS_DATA[self.states]
        has &= ~HAS_DATA[states]
        states[has] = self.states[has[: len(self.states)]]
        return states

    @property
    def held(self) -> Any:
        """The frame numbers whose data an earlier file has, ascending."""
        return np.flatnonzero(HAS_DATA[self.states])

    def has(self, index: int) -> bool:
        """True if an earlier file has the data of that frame."""
        return index < len(self.states) and bool(HAS_DATA[self.states[index]])

    def line(self) -> str:
        """For people."""
        held = self.held
        which = f"{len(held)} frames from {held[0]} to {held[-1]}" if len(held) else "no frame"
        return f"continues {self.file}, which has {which}"


def declare(layout: Any, here: Path, earlier: Path, states: States) -> Elsewhere:
    """Say in a new file which one it continues."""
    made = Elsewhere(os.path.relpath(earlier, here.parent), states)
    # never empty: SWMR readers stumble over datasets without storage
    kept = states if len(states) else np.zeros(1, np.uint8)
    dataset = layout.create_dataset(PATH, data=kept, chunks=(len(kept),), **BITSHUFFLE)
    dataset.attrs["file"] = made.file
    return made


def read(file: Any) -> Elsewhere | None:
    """What an open file says of the one that it continues; None if it begins with the scan."""
    if PATH not in file:
        return None
    return Elsewhere(str(file[PATH].attrs["file"]), file[PATH][:])
