"""Darks, flats and masks that are datasets in HDF5 files, with the exposure that the file says of them."""

from collections.abc import Iterator

import h5py
import hdf5plugin  # noqa: F401  registers the filters

from stream.errors import BadMessage
from stream.events import Array
from stream.formats.hdf5.detector import describe
from stream.formats.hdf5.locate import locate
from stream.formats.hdf5.nexus import default_signal, is_stack, peek, some


def frames(path: str, inner: str) -> tuple[Iterator[Array], float | None]:
    """Frames (rows, columns) of the dataset `inner`, "" for the file's only image or NeXus default; their exposure, s.

    Raises BadMessage.
    """
    with h5py.File(path, "r", locking=False) as file:
        place = inner or _default(file)
        dataset = peek(file, place)
        if not isinstance(dataset, h5py.Dataset):
            raise BadMessage(f"has no dataset {place}")
        if dataset.ndim < 2 or not dataset.size or dataset.dtype.kind not in "buif":
            raise BadMessage(f"holds an array of shape {dataset.shape}, {dataset.dtype} there, not an image")
        exposure = _exposure(file, place)
    return _frames(path, place), exposure


def _frames(path: str, place: str) -> Iterator[Array]:
    with h5py.File(path, "r", locking=False) as file:
        dataset = file[place]
        if dataset.ndim == 2:
            yield dataset[()]
            return
        for index in range(dataset.shape[0]):
            part = dataset[index]
            yield from part.reshape(-1, *part.shape[-2:])


def _default(file: h5py.File) -> str:
    """The signal that NeXus names as default, else the only image there is."""
    signal = default_signal(file)
    if signal is not None and is_stack(peek(file, signal), flat=True):
        return signal
    found: list[str] = []

    def note(name: str, thing: h5py.HLObject) -> None:
        if is_stack(thing, flat=True) and min(thing.shape[-2:]) > 1:
            found.append(f"/{name}")

    file.visititems(note)
    if len(found) != 1:
        have = some(found, ", ") or "none"
        raise BadMessage(f"holds {len(found)} datasets that may be images ({have}): name one, {file.filename}::/path")
    return found[0]


def _exposure(file: h5py.File, place: str) -> float | None:
    """What the NXdetector beside the dataset says; None where nothing does."""
    try:
        return describe(file, locate(file, place).scans[0]).count_time_s
    except (BadMessage, KeyError, OSError, ValueError, RuntimeError, IndexError):
        return None
