"""What the names of HDF5 files tell before they can be opened."""

import re

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
