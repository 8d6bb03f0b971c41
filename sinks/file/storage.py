"""How values lie in a file that grows: what stands for those that never came, what is compressed, what SWMR forbids."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import h5py
import hdf5plugin
import numpy as np

BITSHUFFLE: Mapping[str, Any] = MappingProxyType(dict(hdf5plugin.Bitshuffle(cname="lz4")))
"""Keywords of `create_dataset` for bitshuffle-LZ4, HDF5 filter 32008."""

COMPRESS_FROM_BYTES = 2048
"""Rows at least this long become one compressed chunk each: written once, so that a flush leaves no garbage behind.
Under SWMR HDF5 never gives back the space of a chunk that grew, and a half-filled compressed chunk grows with every
flush. Shorter rows share an uncompressed chunk, which is patched in place."""


def fill_of(dtype: np.dtype[Any]) -> Any:
    """What a frame that never came reads as: NaN; the largest unsigned value, which is how detectors flag a bad
    pixel; -1 for signed integers."""
    if dtype.kind in "fc":
        return np.array(np.nan, dtype)[()]
    if dtype.kind == "u":
        return np.array(np.iinfo(dtype).max, dtype)[()]
    if dtype.kind == "i":
        return np.array(-1, dtype)[()]
    return np.zeros((), dtype)[()]


def refuse_unreadable(file: h5py.File) -> None:
    """Refuse what makes SWMR readers fail: vlen data, and contiguous datasets that were never written.

    Raises ValueError. Through HDF5's own functions: there are a hundred datasets, each an object of many parts to h5py.
    """

    def look(name: bytes, about: Any) -> None:
        if about.type != h5py.h5o.TYPE_DATASET:
            return
        dataset = h5py.h5d.open(file.id, name)
        kind = dataset.get_type()
        text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
        if text or kind.get_class() == h5py.h5t.VLEN:
            raise ValueError(f"/{name.decode()} has variable length: use fixed-length bytes in a file that grows")
        contiguous = dataset.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        if contiguous and dataset.get_space().get_simple_extent_npoints() and not dataset.get_storage_size():
            raise ValueError(f"/{name.decode()} is contiguous and empty: write it before the start, or make it chunked")

    h5py.h5o.visit(file.id, look, info=True)
