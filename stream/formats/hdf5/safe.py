"""What may be read of an input file: bounded, nothing that is kept elsewhere, and nothing that HDF5 could crash on."""

from typing import Any

import h5py
import numpy as np

from stream.errors import BadMessage
from stream.formats.hdf5.virtual import refuse_cycles

MOST_FRAME_BYTES = 1000 * 10**6
"""One decoded frame, where the configuration does not say."""
MOST_VALUES = 50_000_000
"""Of a dataset that is read as a whole beside the frames."""


def refuse(dataset: h5py.Dataset) -> None:
    """Raises BadMessage for a dataset that may not be read: kept outside of HDF5, or a virtual one that never ends.

    A dataset with external storage makes pixels of whatever file it names; links lead to HDF5 files alone.
    """
    if dataset.external:
        names = ", ".join(str(part[0]) for part in dataset.external[:3])
        raise BadMessage(
            f"{dataset.file.filename}::{dataset.name} is kept outside of HDF5, in {names}, which is not read: copy it "
            "into a file of its own (h5repack)"
        )
    if dataset.is_virtual:
        refuse_cycles(dataset)


def may_read(thing: Any) -> bool:
    """True for a dataset that may be read, of any size."""
    if not isinstance(thing, h5py.Dataset):
        return False
    try:
        refuse(thing)
    except BadMessage:
        return False
    return True


def first_value(dataset: h5py.Dataset) -> Any:
    """The first value of a dataset, without the others; raises what HDF5 raises, and IndexError if there is none."""
    return dataset[()] if dataset.ndim == 0 else np.ravel(dataset[(slice(0, 1),) * dataset.ndim])[0]


def all_values(dataset: h5py.Dataset) -> Any:
    """The whole dataset. Raises BadMessage if it is too large to be what it should be, or may not be read."""
    refuse(dataset)
    if dataset.size is None or dataset.size > MOST_VALUES:
        raise BadMessage(
            f"{dataset.file.filename}::{dataset.name} has {dataset.shape} values: too many to be read here"
        )
    return dataset[()]
