"""Images that the configuration names (darks, flats, masks), from fabio's formats or from a dataset in HDF5."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.events import Array

HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".hdf", ".nx5")


def mean_image(key: str, name: str) -> NDArray[np.float64]:
    """The mean of all frames in `name` (`file` or `file.h5::/path`), float64 (rows, columns).

    `key` is the option that named it, for the message. Raises ConfigError.
    """
    path, _, inner = name.partition("::")
    if not Path(path).is_file():
        raise ConfigError([(key, f"no such file: {path} (looked for it in {Path.cwd()})")])
    try:
        stack = _dataset(key, path, inner) if inner else _frames(key, path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError([(key, f"cannot read {name}: {error}")]) from error
    if stack.ndim < 2 or stack.size == 0:
        raise ConfigError([(key, f"{name} holds an array of shape {stack.shape}, not an image")])
    frames = stack.reshape(-1, *stack.shape[-2:])
    mean: NDArray[np.float64] = frames.mean(axis=0, dtype=np.float64)
    return mean


def same_shape(key: str, name: str, image: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """`image`, if it has the shape of the scan's frames. Raises ConfigError with both shapes."""
    if image.shape != shape:
        raise ConfigError([(key, f"{name} has the shape {image.shape}, but the frames of this scan have {shape}")])
    return image


def _dataset(key: str, path: str, inner: str) -> Array:
    import h5py
    import hdf5plugin  # noqa: F401  registers the filters

    with h5py.File(path, "r", locking=False) as file:
        found = file.get(inner)
        if not isinstance(found, h5py.Dataset):
            raise ConfigError([(key, f"{path} has no dataset {inner}")])
        return np.asarray(found[()])


def _frames(key: str, path: str) -> Array:
    if path.endswith(HDF5_SUFFIXES):
        raise ConfigError([(key, f"{path} is an HDF5 file: name the dataset too, {path}::/entry/data/data")])
    import fabio

    with fabio.open(path) as image:
        return np.stack([np.asarray(frame.data) for frame in image.frames()])
