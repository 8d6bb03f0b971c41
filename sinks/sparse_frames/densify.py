"""Frames out of a sparse file again: background, with its noise if asked, and the picked pixels as they were.

Reads what pyFAI and this project write, frame by frame: neither the pixels nor the frames are ever all in memory. The
formulas are fabio's (sparseimage.py); where fabio forgets the upper limit of the noise, the recipe's cutoff_pick holds.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from sinks.file.advice import absent, failing, foreign
from sinks.file.swmr import new_file
from sinks.sparse_frames.dense_layout import lima, master, master_name
from stream.claim import replacing
from stream.codec.native import bslz4_compress
from stream.errors import BadMessage, InbeamError
from stream.events import Array
from stream.formats.hdf5.opening import open_hdf5

FORMATS = ("lima", "eiger")


class SparseFile:
    """A sparse file, open for reading; also one that is being written, or whose writer was killed.

    shape: (rows, columns); dtype: of the restored frames; cutoff: cutoff_pick of the recipe, None where unknown.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if problem := absent(path):
            raise InbeamError(problem)
        try:
            self._file = open_hdf5(str(path))
            entry = self._file[_text(self._file.attrs["default"])]
            self._group = entry[_text(entry.attrs.get("pyFAI_sparse_frames", entry.attrs.get("default", "")))]
            mask = self._group["mask"][()]
            modelled = "radius" in self._group and "background_avg" in self._group
            radius = self._group["radius"][()] if modelled else np.zeros(1, np.float32)
            self._pointer = self._group["frame_ptr"]
        except (BadMessage, OSError, KeyError, ValueError) as error:
            raise InbeamError(foreign(path, "a file of sparse frames", error)) from error
        self.entry = entry
        self.shape: tuple[int, int] = mask.shape
        self.dtype: np.dtype[Any] = self._group["intensity"].dtype
        self.masked: Array = ~np.isfinite(mask)
        self.dummy = self._dummy()
        self.cutoff = self._recipe().get("cutoff_pick")
        self._bins, self._modelled = len(radius), modelled
        place = np.interp(np.where(self.masked, radius[0], mask), radius, np.arange(self._bins))
        self._below = np.minimum(place.astype(np.int32), self._bins - 1)
        self._share = (place - self._below).astype(np.float32)
        self._norm = self._group["normalization"][()] if "normalization" in self._group else None

    def __len__(self) -> int:
        """Number of frames, missing ones included."""
        return int(self._pointer.shape[0]) - 1

    def frame(self, number: int, noise: float = 0.0, random: np.random.Generator | None = None) -> Array:
        """One frame, (rows, columns) of `dtype`. noise: scale of the background's deviation, 0 none.

        A frame that never came is `dummy` all over. Raises IndexError.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} has no frame {number}, only 0 to {len(self) - 1}")
        background = self._group["background_avg"][number] if self._modelled else np.zeros(1, np.float32)
        if np.isnan(background).all():
            return np.full(self.shape, self.dummy, self.dtype)
        dense = self._spread(background)
        if noise and self._modelled:
            deviation = self._spread(self._group["background_std"][number]) * np.float32(noise)
            draw = (random or np.random.default_rng()).standard_normal(self.shape, dtype=np.float32)
            noisy = np.maximum(dense + draw * deviation, 0)
            dense = noisy if self.cutoff is None else np.minimum(noisy, dense + np.float32(self.cutoff) * deviation)
        if self._norm is not None:
            dense = dense * self._norm
        start, stop = self._pointer[number : number + 2]
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            dense = np.clip(np.trunc(dense + np.copysign(0.5, dense)), limits.min, limits.max)
        frame: Array = dense.astype(np.float64).astype(self.dtype)
        index = self._group["index"][int(start) : int(stop)]
        counts = self._group["intensity"][int(start) : int(stop)]
        if len(index) != int(stop) - int(start) or len(counts) != len(index) or (index >= frame.size).any():
            raise InbeamError(f"{self.path} is damaged: frame {number} has pixels outside the image or the file")
        frame.reshape(-1)[index] = counts
        frame[self.masked] = self.dummy
        return frame

    def geometry(self) -> dict[str, Any]:
        """pyFAI's geometry as it was used, {} where the file does not say."""
        return dict(self._configuration().get("geometry", {}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _spread(self, profile: Array) -> Array:
        """From bins to pixels, linearly."""
        profile = profile.astype(np.float32)
        step = np.append(np.diff(profile), np.float32(0))
        spread: Array = profile[self._below] + step[self._below] * self._share
        return spread

    def _dummy(self) -> Any:
        dummy = self._group["dummy"][()] if "dummy" in self._group else 0
        if self.dtype.kind == "f":
            return self.dtype.type(dummy)
        return fitting(dummy, self.dtype)

    def _recipe(self) -> dict[str, Any]:
        return dict(self._configuration().get("sparsify", {}))

    def _configuration(self) -> dict[str, Any]:
        try:
            told = json.loads(self.entry["sparsify/configuration/data"][()])
        except (KeyError, ValueError, TypeError):
            return {}
        return told if isinstance(told, dict) else {}


def fitting(value: float, dtype: np.dtype[Any]) -> Any:
    """The value in an integer type, or the nearest that it can hold; 0 for NaN."""
    if np.isnan(value):
        return dtype.type(0)
    limits = np.iinfo(dtype)
    return dtype.type(min(max(int(value), int(limits.min)), int(limits.max)))


def output_name(name: str, output: str | None, style: str) -> Path:
    """densify_Bragg's rule: {basename} is replaced; otherwise `_dense.h5` (lima) or `_000001.h5` (eiger)."""
    base = os.path.splitext(name)[0]
    if output is not None and "{basename}" in output:
        return Path(output.replace("{basename}", os.path.basename(base)))
    if output is not None:
        return Path(output)
    return Path(base + ("_dense.h5" if style == "lima" else "_000001.h5"))


def densify(
    name: str,
    target: Path,
    *,
    style: str = "lima",
    dummy: float | None = None,
    noise: float = 1.0,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Restore every frame of a sparse file into `target`. Returns the number of frames. Raises InbeamError."""
    source = SparseFile(Path(name))
    try:
        for written in (target, master_name(target)) if style == "eiger" else (target,):
            if written.exists() and written.samefile(source.path):
                raise InbeamError(f"{written} is what is to be restored: choose another --output")
        if dummy is not None:
            source.dummy = source.dtype.type(dummy) if source.dtype.kind == "f" else fitting(dummy, source.dtype)
        random = np.random.default_rng()
        frames = (source.frame(number, noise, random) for number in range(len(source)))
        if dry_run:
            for number, _ in enumerate(frames, 1):
                progress(number, len(source))
            return len(source)
        with failing(target, "write"):
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(source, target, frames, style, progress)
            if style == "eiger":
                master(target, len(source), source.masked, source.geometry())
        return len(source)
    finally:
        source.close()


def _write(
    source: SparseFile, target: Path, frames: Iterator[Array], style: str, progress: Callable[[int, int], None]
) -> None:
    """Into a file beside, then into place: a run that is stopped leaves no half a stack."""
    rows, columns = source.shape
    with replacing(target) as claim, new_file(claim) as file:
        data = lima(file, len(source)) if style == "lima" else file.create_group("entry/data")
        stack = data.create_dataset(
            "data", (len(source), rows, columns), source.dtype, chunks=(1, rows, columns),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )  # fmt: skip
        stack.attrs["interpretation"] = "image"
        for number, frame in enumerate(frames):
            stack.id.write_direct_chunk((number, 0, 0), bslz4_compress(frame))
            progress(number + 1, len(source))
        if "peaks" in source.entry:
            relative = os.path.relpath(source.path.absolute(), target.absolute().parent)
            data.parent["peaks"] = h5py.ExternalLink(relative, source.entry["peaks"].name)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
