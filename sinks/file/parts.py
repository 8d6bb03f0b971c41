"""The files of a scan that lies in several, looked at together: which one goes on with another, and is it all there."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sinks.file import ledger_layout, ledger_reader
from sinks.file.ledger_reader import Record
from sinks.file.repair import looked_into

LOOKED_AT = 200
"""Of the files of a folder the newest ones, that are asked what they continue."""
UNREADABLE = (OSError, KeyError, ValueError, RuntimeError)


def problems(path: Path, record: Record, uid: str) -> Iterator[str]:
    """What the file continues is there, is of the same scan, and has the frames that it had."""
    elsewhere = record.elsewhere
    if elsewhere is None:
        return
    earlier = path.parent / elsewhere.file
    try:
        with looked_into(earlier) as file:
            found, other = ledger_reader.read(file), str(file[ledger_layout.GROUP].attrs["scan_uid"])
    except UNREADABLE as error:
        reason = "is not there" if not os.path.lexists(earlier) else f"cannot be read ({' '.join(str(error).split())})"
        yield f"{elsewhere.file}, which this file continues, {reason}: it has {len(elsewhere.held)} frames of the scan"
        return
    if other != uid:
        yield f"{elsewhere.file}, which this file continues, holds another scan"
        return
    states = found.all_states
    held = elsewhere.held
    gone = held[held >= len(states)].tolist()
    inside = held[held < len(states)]
    gone += inside[~ledger_layout.HAS_DATA[states[inside]]].tolist()
    for index in gone:
        yield f"frame {index} is not in {elsewhere.file}, which had it when this file began"
    twice = np.flatnonzero(ledger_layout.HAS_DATA[record.states])
    for index in np.intersect1d(twice, held).tolist():
        yield f"frame {index} is in {elsewhere.file} too"


def continuation(path: Path) -> str:
    """The name of the file that goes on where this one ends; "" if there is none beside it."""
    try:
        beside = [each for each in path.parent.iterdir() if each.suffix == path.suffix and each.name != path.name]
        newest = sorted(beside, key=lambda each: each.stat().st_mtime, reverse=True)[:LOOKED_AT]
    except OSError:
        return ""
    for other in newest:
        try:
            with looked_into(other) as file:
                elsewhere = ledger_reader.read(file).elsewhere
        except UNREADABLE:
            continue
        if elsewhere is not None and os.path.normpath(other.parent / elsewhere.file) == os.path.normpath(path):
            return other.name
    return ""
