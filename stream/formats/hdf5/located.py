"""What was found in an HDF5 file: a scan, where its frames lie, and what should be there and is not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream.errors import BadMessage
from stream.events import EMPTY
from stream.formats.hdf5.nexus import some
from stream.formats.hdf5.segments import Segment

ONE_CHANNEL, DECTRIS_CHANNEL = "default", "threshold_1"
"""Names of the only channel: for any camera, and what the DECTRIS streams call it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One module of a detector: its first pixel in the frame, its size, and its group in each of its files."""

    row: int
    column: int
    rows: int
    columns: int
    group: str


@dataclass(frozen=True, slots=True)
class Located:
    """One scan in a file. path: where its frames were found; entry: the NXentry (or "/") that it belongs to.

    file: the file that holds both, another than the one asked for where that only links to it; name: the entry's name
    in the file asked for.
    channels: channel -> where its frames lie, by frame number; shape: (rows, columns).
    declared: number of frames that the dataset has room for, whether they were written or not.
    lost: the source files that are not there, one line each; notes: what else was odd.
    detector: what the file calls the detector, where one entry has several.
    identity, suffix: what tells the scan apart from the others of its file, for its uid and for its name. Neither
    depends on what else is in the file, where it may still grow.
    by_files: it is written file by file, each of them linked to from a group before it is there.
    awaited: where the frames will lie of files that follow, while the scan is being written.
    tiles: where each of the channels lies in the frame, if they are the modules of a detector.
    by_parts: it is written into files beside the first one, which are found by their names.
    told: frames of the whole scan, as it says itself; 0 where it does not. called: as its files are, but for the parts.
    """

    file: str
    path: str
    entry: str
    channels: dict[str, tuple[Segment, ...]]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    declared: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    detector: str = ""
    identity: str = ""
    suffix: str = ""

    @property
    def files(self) -> list[str]:
        """The files with frames, each once."""
        return list(dict.fromkeys(part.path for parts in self.channels.values() for part in parts))

    by_files: bool = False
    awaited: tuple[Segment, ...] = ()
    tiles: Mapping[str, Tile] = field(default_factory=lambda: EMPTY)
    by_parts: bool = False
    told: int = 0
    called: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The channels of a frame: the modules of a detector are one."""
        return (ONE_CHANNEL,) if self.tiles else tuple(self.channels)


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds. lost: what should be frames and cannot be reached, one line per place."""

    scans: tuple[Located, ...]
    lost: tuple[str, ...] = ()

    def bounded(self, frame_bytes: int) -> "Found":
        """Without the scans whose frames are larger than that, decoded. Raises BadMessage if none is left."""
        kept: list[Located] = []
        lost = list(self.lost)
        for located in self.scans:
            size = math.prod(located.shape) * located.dtype.itemsize * len(located.names)
            if size <= frame_bytes:
                kept.append(located)
            else:
                what = f"{located.shape[0]} x {located.shape[1]} {located.dtype}, {size / 1e6:.0f} MB"
                allowed = f"more than `max_frame_mb` {frame_bytes / 1e6:g} of the stream allows"
                lost.append(f"{located.file}::{located.path} has frames of {what}: {allowed}")
        if self.scans and not kept:
            raise BadMessage(some(lost))
        return Found(tuple(kept), tuple(lost))
