"""A BLISS file that grows, by hand."""

from pathlib import Path

import h5py
import numpy as np

from stream.formats.hdf5.growing import Growing
from stream.formats.hdf5.live import look

IMAGES = np.random.default_rng(8).integers(0, 90, (6, 12, 16)).astype("u2")
CHUNKED = {"chunks": (1, 12, 16)}


class Live:
    """A BLISS scan that is written frame by frame, its counters behind its frames."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "w") as file:
            entry = file.create_group("1.1")
            entry.attrs["NX_class"] = "NXentry"
            entry.create_dataset("measurement/cam", (0, 12, 16), "u2", maxshape=(None, 12, 16), **CHUNKED)
            for name, unit in (("rot", "deg"), ("epoch", "s")):
                made = entry.create_dataset(f"measurement/{name}", (0,), "f8", maxshape=(None,), chunks=(1024,))
                made.attrs["units"] = unit

    def frames(self, count: int) -> None:
        with h5py.File(self.path, "a") as file:
            file["1.1/measurement/cam"].resize(count, axis=0)
            file["1.1/measurement/cam"][:count] = IMAGES[:count]

    def counters(self, count: int) -> None:
        with h5py.File(self.path, "a") as file:
            for name, step in (("rot", 0.5), ("epoch", 1.0)):
                file[f"1.1/measurement/{name}"].resize(count, axis=0)
                file[f"1.1/measurement/{name}"][:] = np.arange(count) * step + (1.7e9 if name == "epoch" else 0)

    def growing(self) -> Growing:
        return Growing(str(self.path), look(str(self.path)).scans[0])
