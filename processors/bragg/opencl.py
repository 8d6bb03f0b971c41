"""The OpenCL engine: clipping and the search for candidates on a device, the few candidates judged on the host.

A frame is sent once, compressed where it is, for all processors; what comes back is the background, and the candidates
with the pixels around them.

The same formulas as the CPU engine, in our own kernels: pyFAI's one-pass variance is off where the normalisation
varies. The device is taken by its number: two platforms of one name confuse those who go by names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyopencl as cl

from processors.bragg import clip_counts
from processors.bragg.model import Recipe, Sparse
from processors.bragg.polar import Polar
from processors.bragg.selection import NONE, Judge, Seen
from processors.bragg.variance import Variance
from processors.shared.device import Device, build, context_of, opened
from processors.shared.device_frames import DeviceFrames
from stream.errors import ConfigError
from stream.events import Array, Payload

_TYPES = {"u1": "uchar", "u2": "ushort", "u4": "uint", "u8": "ulong", "i1": "char", "i2": "short", "i4": "int"}
_TYPES |= {"i8": "long", "f4": "float", "f8": "double"}
_PIXEL_GROUP = 128
_AT_ONCE = 1 << 16
"""Candidates whose surroundings are fetched at once."""


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
        frames: Callable[[], DeviceFrames] | None = None,
    ) -> None:
        """frames: those that this worker shares; None: pixels are only ever given to `run`."""
        if not device.has_double:
            text = f"{device} ({device.name}) has no double precision (cl_khr_fp64): set device: cpu"
            raise ConfigError([("sparsify.device", text)])
        try:
            self._frames = frames() if frames is not None else None
            self._prepare(polar, recipe, dark, norm, dtype, device, workgroup)
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
        device: Device,
        workgroup: int | None,
    ) -> None:
        self._polar, self._recipe = polar, recipe
        flat = [NONE if image is None else np.ascontiguousarray(image, np.float32).ravel() for image in (dark, norm)]
        self._judge = Judge(polar, recipe, *flat)
        self._formula = Variance(recipe.error_model) if "I" in recipe.error_model else None
        self._model = clip_counts.MODELS.get(recipe.error_model, clip_counts.POISSON)
        self._group = _power_of_two(workgroup or 128, opened(device).max_work_group_size)
        self._context = context_of(device)
        self._queue = cl.CommandQueue(self._context) if self._frames is None else self._frames.queue
        count = _TYPES[dtype.newbyteorder("=").str[1:]]
        self._program = build(self._context, "processors.bragg", "sparsify.cl", {"COUNT": count})
        self._kernels = {kernel.function_name: kernel for kernel in self._program.all_kernels()}
        self._dtype = dtype.newbyteorder("=")
        pixels, members = polar.bin_of.size, int(polar.members.sum())
        indices = np.argsort(polar.bin_of, kind="stable")[:members].astype(np.int32)
        self._pixels, self._members = pixels, members
        self._image: Any = None
        self._counts = np.zeros(pixels, self._dtype)
        """Raw counts of the last candidates and of what is around them; elsewhere anything."""
        self._half = recipe.patch_size // 2 if recipe.cutoff_peak > 0 else 0
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
        self._around = self._room(8)

    def run(self, image: Array) -> Sparse:
        """Background, picked pixels and peaks of one frame. Raises RuntimeError (pyopencl) if the device fails."""
        raw = np.ascontiguousarray(image, self._dtype).reshape(-1)
        if self._image is None:
            self._image = self._room(raw.nbytes)
        cl.enqueue_copy(self._queue, self._image, raw)
        if self._formula is not None:
            cl.enqueue_copy(self._queue, self._variance, self._formula(raw))
        return self._sparsify(self._image)

    def compute(self, payload: Payload | None, image: Callable[[], Array]) -> Sparse:
        """The same for a frame that this worker's processors share, see `DeviceFrames.compute`."""
        if self._frames is None or not self.decodes:
            return self.run(image())
        return self._frames.compute(payload, image, self._sparsify)

    @property
    def decodes(self) -> bool:
        """True if it needs no pixels from the host; a formula of variances is worked out there."""
        return self._formula is None

    def _sparsify(self, image: Any) -> Sparse:
        recipe, bins = self._recipe, self._polar.bins
        dark, norm, variance = self._has
        limits = np.array(recipe.limits, np.float64).view(cl.cltypes.double4)[0]
        pixels, members = np.int32(self._pixels), np.int32(self._members)
        self._launch(
            "correct", self._pixels, image, self._dark, self._norm, dark, norm, limits, pixels, self._corrected
        )
        self._launch(
            "gather", self._members, image, self._corrected, self._norm, self._variance, norm, variance,
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
        if self._frames is not None:
            self._frames.meanwhile()
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
            self._fetch(image, found)
        found.sort()
        return self._judge.judge(Seen.whole(self._counts), self._dtype, mean, deviation, found)

    def _fetch(self, image: Any, found: Array) -> None:
        """Raw counts of the candidates, in the order of the device, and around them."""
        rows, columns = self._polar.shape
        around = np.arange(-self._half, self._half + 1)
        dy, dx = (each.ravel() for each in np.meshgrid(around, around, indexing="ij"))
        for begin in range(0, len(found), _AT_ONCE):
            part = found[begin : begin + _AT_ONCE]
            counts = np.empty((len(part), dy.size), self._dtype)
            if self._around.size < counts.nbytes:
                self._around = self._room(counts.nbytes)
            chosen = self._found.get_sub_region(4 * begin, 4 * len(part)) if begin else self._found
            numbers = (np.int32(each) for each in (len(part), self._half, rows, columns))
            self._launch("patches", counts.size, image, chosen, *numbers, self._around)
            cl.enqueue_copy(self._queue, counts, self._around)
            y, x = part[:, None] // columns + dy, part[:, None] % columns + dx
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            self._counts[(y * columns + x)[inside]] = counts[inside]

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
