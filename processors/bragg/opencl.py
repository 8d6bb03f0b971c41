"""The OpenCL engine: clipping and the search for candidates on a device, the few candidates judged on the host.

The same formulas as the CPU engine, in our own kernels: pyFAI's one-pass variance is off where the normalisation
varies. The device is taken by its number: two platforms of one name confuse those who go by names.
"""

from importlib.resources import files
from typing import Any

import numpy as np
import pyopencl as cl

from processors.bragg import clip_counts
from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import Polar
from processors.bragg.selection import NONE, Judge
from processors.bragg.variance import Variance
from processors.shared.device import Device, opened
from stream.errors import ConfigError
from stream.events import Array

_TYPES = {"u1": "uchar", "u2": "ushort", "u4": "uint", "u8": "ulong", "i1": "char", "i2": "short", "i4": "int"}
_TYPES |= {"i8": "long", "f4": "float", "f8": "double"}
_PIXEL_GROUP = 128


class OpenclEngine:
    """One per worker: its own context, queue and buffers on the device. Raises ConfigError if it cannot be used."""

    def __init__(
        self,
        polar: Polar,
        recipe: Recipe,
        dark: Array | None,
        norm: Array | None,
        *,
        dtype: np.dtype[Any],
        device: Device,
        workgroup: int | None = None,
    ) -> None:
        if not device.has_double:
            text = f"{device} ({device.name}) has no double precision (cl_khr_fp64): set device: cpu"
            raise ConfigError([("sparsify.device", text)])
        try:
            self._prepare(polar, recipe, dark, norm, dtype, opened(device), workgroup)
        except cl.Error as error:
            text = f"{device} ({device.name}) cannot be used: {error}; set device: cpu"
            raise ConfigError([("sparsify.device", text)]) from error

    def _prepare(
        self,
        polar: Polar,
        recipe: Recipe,
        dark: Array | None,
        norm: Array | None,
        dtype: np.dtype[Any],
        chosen: Any,
        workgroup: int | None,
    ) -> None:
        self._polar, self._recipe = polar, recipe
        flat = [NONE if image is None else np.ascontiguousarray(image, np.float32).ravel() for image in (dark, norm)]
        self._judge = Judge(polar, recipe, *flat)
        self._formula = Variance(recipe.error_model) if "I" in recipe.error_model else None
        self._model = clip_counts.MODELS.get(recipe.error_model, clip_counts.POISSON)
        self._group = _power_of_two(workgroup or 128, chosen.max_work_group_size)
        self._context = cl.Context([chosen])
        self._queue = cl.CommandQueue(self._context)
        source = files("processors.bragg").joinpath("sparsify.cl").read_text(encoding="utf-8")
        options = [f"-DCOUNT={_TYPES[dtype.newbyteorder('=').str[1:]]}"]
        self._program = cl.Program(self._context, source).build(options=options)
        self._kernels = {kernel.function_name: kernel for kernel in self._program.all_kernels()}
        self._dtype = dtype.newbyteorder("=")
        pixels, members = polar.bin_of.size, int(polar.members.sum())
        indices = np.argsort(polar.bin_of, kind="stable")[:members].astype(np.int32)
        self._pixels, self._members = pixels, members
        self._image = self._room(pixels * self._dtype.itemsize)
        self._dark, self._norm = self._constant(dark), self._constant(norm)
        self._has = (np.int32(dark is not None), np.int32(norm is not None), np.int32(self._formula is not None))
        self._variance = self._room(4 * pixels if self._formula else 4)
        self._corrected = self._room(4 * pixels)
        self._value, self._weight, self._spread = (self._room(4 * max(1, members)) for _ in range(3))
        self._indices = self._send(indices if members else np.zeros(1, np.int32))
        self._start = self._send(np.concatenate(([0], np.cumsum(polar.members))).astype(np.int32))
        self._bin_of = self._send(polar.bin_of)
        each = [self._room(4 * polar.bins) for _ in range(4)]
        self._mean, self._deviation, self._remaining, self._state = each
        self._bound, self._found, self._number = self._room(4 * polar.bins + 4), self._room(4 * pixels), self._room(4)

    def run(self, image: Array) -> Sparse:
        """Background, picked pixels and peaks of one frame. Raises RuntimeError (pyopencl) if the device fails."""
        recipe, bins = self._recipe, self._polar.bins
        raw = np.ascontiguousarray(image, self._dtype).reshape(-1)
        cl.enqueue_copy(self._queue, self._image, raw, is_blocking=False)
        if self._formula is not None:
            cl.enqueue_copy(self._queue, self._variance, self._formula(raw))
        dark, norm, variance = self._has
        limits = np.array(recipe.limits, np.float64).view(cl.cltypes.double4)[0]
        pixels, members = np.int32(self._pixels), np.int32(self._members)
        self._launch(
            "correct", self._pixels, self._image, self._dark, self._norm, dark, norm, limits, pixels, self._corrected
        )
        self._launch(
            "gather", self._members, self._image, self._corrected, self._norm, self._variance, norm, variance,
            self._indices, members, self._value, self._weight, self._spread,
        )  # fmt: skip
        for cycle in range(recipe.cycle + 1):
            self._kernels["clip"](
                self._queue, (bins * self._group,), (self._group,),
                self._start, self._value, self._weight, self._spread, np.int32(cycle),
                np.int32(recipe.cycle), np.int32(self._model), np.float64(recipe.cutoff_clip),
                np.float32(recipe.empty), self._remaining, self._state, self._mean, self._deviation,
                cl.LocalMemory(8 * self._group),
            )  # fmt: skip
        mean, deviation = np.empty(bins, np.float32), np.empty(bins, np.float32)
        cl.enqueue_copy(self._queue, mean, self._mean)
        cl.enqueue_copy(self._queue, deviation, self._deviation)
        bound = self._judge.bounds(mean, deviation)
        cl.enqueue_copy(self._queue, self._bound, bound)
        cl.enqueue_copy(self._queue, self._number, np.zeros(1, np.int32))
        self._launch(
            "candidates", self._pixels, self._corrected, self._bin_of, self._bound, pixels, self._found, self._number
        )
        number = np.empty(1, np.int32)
        cl.enqueue_copy(self._queue, number, self._number)
        found = np.empty(int(number[0]), np.int32)
        if len(found):
            cl.enqueue_copy(self._queue, found, self._found)
        found.sort()
        return self._judge.judge(raw, mean, deviation, found)

    def _launch(self, name: str, size: int, *arguments: Any) -> None:
        if size:
            rounded = -(-size // _PIXEL_GROUP) * _PIXEL_GROUP
            self._kernels[name](self._queue, (rounded,), (_PIXEL_GROUP,), *arguments)

    def _room(self, nbytes: int) -> Any:
        return cl.Buffer(self._context, cl.mem_flags.READ_WRITE, nbytes)

    def _send(self, array: Array) -> Any:
        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
        return cl.Buffer(self._context, flags, hostbuf=np.ascontiguousarray(array))

    def _constant(self, image: Array | None) -> Any:
        return self._send(np.zeros(1, np.float32) if image is None else np.asarray(image, np.float32))


def _power_of_two(wanted: int, most: int) -> int:
    """The tree of the sums needs a power of two."""
    size: int = 1 << (min(wanted, most).bit_length() - 1)
    return size
