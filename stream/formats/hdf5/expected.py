"""How many frames a scan in an HDF5 file is to have, and whether it is over, as far as the file says so."""

import h5py

from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import text
from stream.formats.hdf5.safe import first_value, may_read
from stream.formats.hdf5.values import detector_group, get, number
from stream.wire.limits import NUMBER_MAX


def announced(file: h5py.File, located: Located) -> int:
    """How many frames the scan was to have.

    A master says it in `nimages` times `ntrigger`. A Lima file has room for a fixed number of frames per file, of
    which the last file of a scan, or a short scan, uses only some: then `nb_frames` counts. A detector that was to run
    until stopped announces nothing.
    """
    lima = told_frames(file, located)
    if lima:
        return min(located.declared, lima)
    told = located.told or _series(detector_group(file, located))
    return max(located.declared, told) if told < NUMBER_MAX else located.declared


def told_while_growing(file: h5py.File, located: Located) -> int:
    """How many frames the scan is to have, as the file tells while they come; 0 where it does not.

    BLISS writes what the detector was asked for: more than there is, where the scan was stopped.
    """
    group = detector_group(file, located)
    told = located.told or _series(group) or told_frames(file, located) or 0
    if not told and group is not None and not entry_has_ended(file, located):
        told = int(number([group], ("acq_parameters/acq_nb_frames",), "") or 0)
    return told if told < NUMBER_MAX else 0  # until stopped


def entry_has_ended(file: h5py.File, located: Located) -> bool:
    """True if the entry has an `end_time`: NeXus writers and BLISS add it when the scan is over."""
    end = get(file[located.entry], "end_time")
    return (
        isinstance(end, h5py.Dataset)
        and end.dtype.kind in "SO"
        and may_read(end)
        and bool(text(first_value(end)).strip())
    )


def told_frames(file: h5py.File, located: Located) -> int | None:
    """Frames of the whole scan as a Lima file of it says; None for files that were not written by Lima."""
    group = detector_group(file, located)
    if group is None or get(group, "data") != get(file, located.path):
        return None
    told = number([group], ("acquisition/nb_frames",), "")
    return int(told) if told else None


def _series(group: h5py.Group | None) -> int:
    """Frames of the whole series as a DECTRIS master says it, 0 where it does not."""
    if group is None:
        return 0
    images = number([group], ("detectorSpecific/nimages",), "")
    triggers = number([group], ("detectorSpecific/ntrigger",), "") or 1
    return int(images * triggers) if images else 0
