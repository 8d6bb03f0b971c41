"""What the names of HDF5 files tell before they can be opened."""

import fnmatch
import re
from collections.abc import Callable

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".cxi", ".he5")
DATA_FILE_NAME = re.compile(r"(.+)_data_\d+\.h5$")


def is_hdf5_name(path: str) -> bool:
    """True if the name is that of an HDF5 file."""
    return path.lower().endswith(HDF5_SUFFIXES)


def is_master(path: str) -> bool:
    """True for names of files that link to others with the frames: tried first, so that the scan has their metadata."""
    return path.lower().endswith(("_master.h5", ".nxs", ".nx"))


def master_of(path: str) -> str:
    """The DECTRIS master that a data file belongs to by its name, "" for any other file."""
    found = DATA_FILE_NAME.match(path)
    return f"{found.group(1)}_master.h5" if found else ""


def may_match(name: str, pattern: str) -> bool:
    """True if `fnmatch` could find the pattern in the name; NUL in the name stands for any text without a slash."""
    wanted = re.findall(r"\[!?\]?[^]]*\]|.", pattern, re.DOTALL)
    end = len(wanted)
    reached = _ahead({0}, wanted, lambda item: item == "*")
    for letter in name:
        if letter == "\0":
            reached = _ahead(reached, wanted, lambda item: item != "/")
        else:
            on = {at + 1 for at in reached if at < end and fnmatch.fnmatch(letter, wanted[at])}
            on |= {at for at in reached if at < end and wanted[at] == "*"}
            reached = _ahead(on, wanted, lambda item: item == "*")
    return end in reached


def _ahead(reached: set[int], wanted: list[str], skipped: Callable[[str], bool]) -> set[int]:
    """These places in the pattern, and those that are reached from them over items that may be skipped."""
    found: set[int] = set()
    for start in sorted(reached):
        at = start
        while at not in found:
            found.add(at)
            if at < len(wanted) and skipped(wanted[at]):
                at += 1
    return found
