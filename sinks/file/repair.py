"""Find out what an earlier run left in a file, and repair a file whose writer was killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sinks.file import ledger_layout, ledger_reader, superblock
from sinks.file.advice import absent, failing
from sinks.file.chunk_index import chunks
from sinks.file.locks import Lock
from stream.errors import SinkFailed
from stream.ledger import States


@dataclass(frozen=True, slots=True)
class Found:
    """A scan in a file. complete: the source said that it was over, nothing is to be added.

    fingerprint: of the recording that it was made from, see `stream.fingerprint`. states: also of what earlier files
    have, if this one continues them.
    """

    uid: str
    fingerprint: str
    layout: str
    complete: bool
    states: States


@dataclass(frozen=True, slots=True)
class Repair:
    """What `recover` found and did. changed: the file was altered, the old superblock lies in `copy`."""

    path: Path
    changed: bool
    copy: Path
    found: ledger_reader.Record

    def line(self, next_part: str = "") -> str:
        """What was done and what there is, in one line. next_part: the file in which the scan goes on, if there is."""
        done = f"repaired (what was changed is kept in {self.copy.name})" if self.changed else "needed no repair"
        held = int(np.count_nonzero(ledger_layout.HAS_DATA[self.found.states]))
        expected = max(self.found.expected, self.found.length)
        goes_on = f"its scan goes on in {next_part}" if next_part else "start inbeam again on it to go on"
        state = "finished" if self.found.finished else f"not finished: {goes_on}"
        return f"{self.path}: {done}; {held} of {expected} frames stored, {state}"


@contextmanager
def looked_into(path: Path) -> Iterator[Any]:
    """The h5py.File, to be read only, also while it is being written or after a kill. Raises OSError or ValueError."""
    flags = superblock.read(path).flags
    if flags == 0:
        # nobody writes it: an SWMR reader would try for minutes to read what a cut-off copy has lost
        with h5py.File(path, "r", locking=False) as file:
            yield file
    elif flags == superblock.OPEN_NOT_SWMR:
        # killed while it was being reopened, before it was SWMR again
        with superblock.Sound(path) as sound, h5py.File(sound, "r") as file:
            yield file
    else:
        with h5py.File(path, "r", libver="v110", swmr=True, locking=False) as file:
            yield file


def find(path: Path) -> Found | None:
    """What scan a file holds, also while it is being written or after a kill; None if it is not one of ours."""
    try:
        with looked_into(path) as file:
            return _found(file)
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def _found(file: Any) -> Found:
    attributes = file[ledger_layout.GROUP].attrs
    found = ledger_reader.read(file)
    fingerprint = str(attributes.get("fingerprint", ""))
    return Found(str(attributes["scan_uid"]), fingerprint, str(attributes["layout"]), found.complete, found.all_states)


def repair(path: Path, *, keep_copy: bool = True, lock: Lock | None = None, patience_s: float | None = None) -> bool:
    """Make a file that was not closed properly openable again, for readers and for writing on.

    Flags, end of file and checksum of the superblock are put right; a chunk that the index knows but the disk had no
    room for keeps its place. lock: one that owns the file already. patience_s: how long to wait for others to close it.
    Returns False if the file was sound. Raises SinkFailed, with advice, if somebody has it open or it cannot be
    repaired.
    """
    own = Lock()
    with failing(path, "repair"):
        if superblock.read(path).clean:
            return False
        try:
            if lock is None:
                own.own(path, patience_s=patience_s)
            with superblock.Sound(path) as sound, h5py.File(sound, "r") as file:
                ledger_reader.read(file)
                end = max((chunks(dataset).end for dataset in _growing(file)), default=0)
            superblock.repair(path, end, keep_copy=keep_copy)
        except KeyError as error:
            raise SinkFailed(f"{path} has no {ledger_layout.GROUP}: it was not written by inbeam") from error
        finally:
            own.release()
    return True


def recover(path: Path) -> Repair:
    """`repair`, and what the ledger says of the scan. Raises SinkFailed."""
    if problem := absent(path):
        raise SinkFailed(problem)
    changed = repair(path)
    with failing(path, "read"):
        try:
            with h5py.File(path, "r") as file:
                found = ledger_reader.read(file)
        except KeyError as error:
            raise SinkFailed(f"{path} has no {ledger_layout.GROUP}: it was not written by inbeam") from error
    return Repair(path, changed, path.with_name(path.name + superblock.COPY_SUFFIX), found)


def _growing(group: Any) -> Iterator[Any]:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _growing(item)
        elif item.chunks is not None:
            yield item
