"""The incident-beam reading of each frame where the user names a path for it, or an archive of ours has it."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from stream.errors import BadMessage
from stream.formats.hdf5.located import Located
from stream.formats.hdf5.nexus import peek, text
from stream.formats.hdf5.opening import DAMAGED, open_hdf5
from stream.formats.hdf5.readings import Column
from stream.formats.hdf5.safe import all_values


@dataclass(frozen=True, slots=True)
class Beam:
    """values: float64 (frames,), or (1,) for one number that holds for all; unit: as the file says it, "" if not."""

    values: NDArray[np.float64]
    unit: str
    where: str

    @classmethod
    def none(cls) -> "Beam":
        """That of frames which have none, as it could not be used."""
        return cls(np.array([np.nan]), "", "")

    def at(self, index: int) -> float:
        """The reading of one frame, NaN where there is none."""
        if len(self.values) == 1:
            return float(self.values[0])
        return float(self.values[index]) if index < len(self.values) else float("nan")


def beside_images(folder: str, wanted: str) -> Beam:
    """The readings at `other.h5::/path`, the file relative to `folder`. Raises BadMessage."""
    other, _, inside = wanted.partition("::")
    name = os.path.join(folder, os.path.expanduser(other))
    with open_hdf5(name) as file:
        return _read(file, inside)


def of_scan(
    file: h5py.File, located: Located, wanted: str, entries: Collection[str], readings: Mapping[str, Column]
) -> Beam:
    """The readings for the frames of one scan.

    wanted: a path in the scan's entry, the name of one of its readings, or a path in the file; or as for
    `beside_images`. entries: paths of the entries that hold scans; what lies in another one belongs to that. Raises
    BadMessage.
    """
    if "::" in wanted:
        return beside_images(os.path.dirname(file.filename), wanted)
    inside = f"{located.entry.rstrip('/')}/{wanted}"
    if not wanted.startswith("/") and isinstance(peek(file, inside), h5py.Dataset):
        return _read(file, inside)
    if wanted in readings:
        return _read(file, readings[wanted].path)
    owner = f"/{wanted.strip('/').partition('/')[0]}"
    if owner in entries and owner != located.entry:
        raise BadMessage(
            f"{file.filename}: the monitor {wanted} belongs to {owner}, not to the scan {located.entry}: "
            f"write `monitor: {wanted.strip('/').partition('/')[2]}`, which means that of each scan"
        )
    return _read(file, wanted)


def check_length(beam: Beam, declared: int, written: Callable[[int], bool]) -> None:
    """Raises BadMessage if the readings cannot be those of the frames: too many, or too few for those written."""
    have = len(beam.values)
    if have in (1, declared) or (have < declared and not written(have)):
        return
    raise BadMessage(
        f"{beam.where} has {have} readings for {declared} frames, so that none of them can be told its own: "
        "correct `monitor`"
    )


def _read(file: h5py.File, inside: str) -> Beam:
    where = f"{file.filename}::{inside}"
    try:
        found = file[inside]
        if isinstance(found, h5py.Group) and "data" in found:
            found = found["data"]
        values = np.asarray(all_values(found), np.float64).reshape(-1)
        unit = text(found.attrs.get("units", "")).strip()
    except (BadMessage, *DAMAGED) as error:
        raise BadMessage(f"{file.filename} has no numbers at {inside}: correct `monitor` ({error})") from error
    if not len(values):
        raise BadMessage(f"{where} is empty: correct `monitor`")
    return Beam(values, unit, where)
