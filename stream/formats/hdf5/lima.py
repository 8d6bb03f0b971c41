"""Lima writes a scan into files of equally many frames, numbered from 0: `eiger_0000.h5`, `eiger_0001.h5` ..."""

import os
import re
from dataclasses import replace

import h5py

from stream.formats.hdf5.expected import told_frames
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import text
from stream.formats.hdf5.segments import Segment

NUMBERED = re.compile(r"(.*?)(0+)(\.\w+)$")


def continuation(file: h5py.File, located: Located) -> tuple[Segment, ...]:
    """The segments of the files that follow the first one, whether they are there yet or not; none for any other."""
    path = located.file
    found = NUMBERED.match(path)
    (parts, *others) = located.channels.values()
    total = told_frames(file, located) or 0
    room = located.declared
    if not found or others or len(parts) != 1 or parts[0].path != path or not 0 < room < total:
        return ()
    if not text(file.attrs.get("creator")).upper().startswith("LIMA"):
        return ()
    before, number, after = found.groups()
    return tuple(
        Segment(
            f"{before}{order:0{len(number)}d}{after}", parts[0].dataset, order * room, min(room, total - order * room)
        )
        for order in range(1, -(-total // room))
    )


def joined(file: h5py.File, located: Located) -> Located:
    """The whole scan where the first of its files is given: the frames of a file that is not there are missing."""
    following = continuation(file, located)
    if not following:
        return located
    ((channel, parts),) = located.channels.items()
    there = [part for part in following if os.path.exists(part.path)]
    lost = [f"{located.file} is followed by {part.path}, which is not there" for part in following if part not in there]
    last = following[-1]
    return replace(
        located,
        channels={channel: (*parts, *there)},
        declared=last.first + last.count,
        lost=(*located.lost, *lost),
    )
