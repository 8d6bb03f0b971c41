"""Integration on an OpenCL device: a frame is sent once, compressed where it is; only the bins come back."""

from collections.abc import Callable
from typing import Any

import numpy as np

from processors.integration.finish import finish
from processors.integration.plan import Pattern, Plan, packing
from processors.integration.scatter import COLUMNS, totals_scatter
from processors.shared.device import Device, build, context_of
from processors.shared.device_frames import DeviceFrames
from processors.shared.unpacking import UNSIGNED
from stream.errors import ConfigError
from stream.events import Array, Payload

C_TYPES = {"u1": "uchar", "i1": "char", "u2": "ushort", "i2": "short", "u4": "uint", "i4": "int", "f4": "float"}
GROUP = 64
_LARGEST = float(np.finfo(np.float32).max)


class OpenClEngine:
    """One per worker and scan, with tables of its own. See `IntegrationEngine`.

    Counts that are not split are summed as whole numbers, as on the CPU: the same sums, bit for bit. Others are summed
    in double where the device has it, else as compensated floats. Raises ConfigError if the device cannot hold the
    tables or compile the kernels.
    """

    def __init__(
        self, plan: Plan, dtype: np.dtype[Any], device: Device, frames: Callable[[], DeviceFrames] | None = None
    ) -> None:
        """frames: those that this worker shares; None: pixels are only ever given to `run`."""
        import pyopencl as cl

        self.plan = plan
        self.device = device
        self._cl = cl
        self._exact_integer = dtype.kind in "iu" and dtype.itemsize <= 4
        self._upload_as = dtype if self._exact_integer else np.dtype(np.float32)
        self._totals = np.zeros((plan.n_bins + 1, COLUMNS))
        if not plan.split:
            totals_scatter(plan.bins, plan.weights, plan.dark, self._totals)
        self._totals[plan.n_bins] = 0
        self._low, self._span, shift = packing(plan, dtype, int(self._totals[:, 0].max(initial=0)))
        self.whole = shift > 0 and device.has_double
        """True if counts are summed as whole numbers."""
        try:
            self._context = context_of(device)
            self._frames = frames() if frames is not None and self._upload_as == dtype else None
            self._queue = cl.CommandQueue(self._context) if self._frames is None else self._frames.queue
            self._kernel = self._build()
            self._tables = self._upload_tables()
            self._room = max(plan.weights.size * self._upload_as.itemsize, 1)
            self._image: Any = None
            flags = cl.mem_flags.WRITE_ONLY
            sizes = (16, 24) if self.whole else (4, 4)
            self._bins = [cl.Buffer(self._context, flags, size * plan.n_bins) for size in sizes]
            self._sums, self._lost = np.zeros((plan.n_bins + 1, 3)), np.zeros((plan.n_bins + 1, COLUMNS))
            self.compute(None, lambda: np.zeros(plan.weights.size, dtype), 1.0)
        except cl.Error as error:
            raise ConfigError(
                [("integrate.device", f"{device} ({device.name}) cannot be used: {error}; set device: cpu")]
            ) from error

    def run(self, image: Array, factor: float) -> Pattern:
        """See `IntegrationEngine`."""
        cl = self._cl
        if self._image is None:
            self._image = cl.Buffer(self._context, cl.mem_flags.READ_ONLY, self._room)
        flat = np.ascontiguousarray(image.reshape(-1), self._upload_as)
        cl.enqueue_copy(self._queue, self._image, flat, is_blocking=False)
        return self._integrate(self._image, factor)

    def compute(self, payload: Payload | None, image: Callable[[], Array], factor: float) -> Pattern:
        """The same for a frame that this worker's processors share, see `DeviceFrames.compute`."""
        if self._frames is None:
            return self.run(image(), factor)
        return self._frames.compute(payload, image, lambda pixels: self._integrate(pixels, factor))

    def _integrate(self, pixels: Any, factor: float) -> Pattern:
        cl, plan = self._cl, self.plan
        if self.whole:
            return self._tally(pixels, factor)
        arguments = (pixels, *self._tables, *self._limits(), np.float32(factor), np.float32(plan.empty))
        if plan.model == 3:
            size = -(-plan.n_bins // GROUP) * GROUP
            self._kernel(self._queue, (size,), (GROUP,), *arguments, *self._bins, np.uint32(plan.n_bins))
        else:
            local = cl.LocalMemory(GROUP * (8 if self.device.has_double else 4))
            self._kernel(self._queue, (plan.n_bins * GROUP,), (GROUP,), *arguments, *self._bins, local, local)
        self._meanwhile()
        found = [np.empty(plan.n_bins, np.float32) for _ in range(2 if plan.model else 1)]
        for array, buffer in zip(found, self._bins, strict=False):
            cl.enqueue_copy(self._queue, array, buffer, is_blocking=True)
        return found[0], found[1] if plan.model else None

    def _tally(self, pixels: Any, factor: float) -> Pattern:
        cl, plan, bins = self._cl, self.plan, self.plan.n_bins
        start, pixel, _, weight, offset = self._tables
        local = cl.LocalMemory(2 * 8 * GROUP), cl.LocalMemory(3 * 8 * GROUP)
        limits = np.uint64(self._low), np.uint64(self._span)
        tables = (start, pixel, weight, offset)
        self._kernel(self._queue, (bins * GROUP,), (GROUP,), pixels, *tables, *limits, *self._bins, *local)
        self._meanwhile()
        sums, gone = np.empty((bins, 2), np.uint64), np.zeros((bins, 3))
        cl.enqueue_copy(self._queue, sums, self._bins[0], is_blocking=True)
        filled, missing = sums[:, 1] >> np.uint64(32), sums[:, 1] & np.uint64(0xFFFFFFFF)
        if missing.any():
            cl.enqueue_copy(self._queue, gone, self._bins[1], is_blocking=True)
        lost, totals = self._lost, self._totals
        lost[:-1, 0] = missing
        lost[:-1, 2], lost[:-1, 4], lost[:-1, 6] = gone.T
        self._sums[:-1, 0] = sums[:, 0]
        self._sums[:-1, 1] = sums[:, 0] + (totals[:-1, 0].astype(np.uint64) - missing) - filled
        intensity = np.empty(bins, np.float32)
        errors = np.empty(bins if plan.model else 0, np.float32)
        kinds = (plan.model, plan.split, plan.dark_variance)
        finish(self._sums, totals, lost, *kinds, float(factor), plan.empty, intensity, errors)
        return intensity, errors if plan.model else None

    def _meanwhile(self) -> None:
        if self._frames is not None:
            self._frames.meanwhile()

    def _build(self) -> Any:
        plan, double = self.plan, self.device.has_double
        defines = {
            "RAW": C_TYPES[self._upload_as.str[1:]],
            "COUNT": UNSIGNED[self._upload_as.itemsize],
            "WHOLE": int(self.whole),
            "LIMIT": "long" if self._exact_integer else "float",
            "REAL": "double" if double else "float",
            "COMPENSATED": int(not double),
            "SPLIT": int(plan.split),
            "DARK": int(plan.dark.size > 0),
            "DARK_VARIANCE": int(plan.dark_variance),
            "MODEL": plan.model,
            "GROUP": GROUP,
        }
        program = build(self._context, "processors.integration", "integrate.cl", defines)
        name = "tally" if self.whole else "follow" if plan.model == 3 else "gather"
        return self._cl.Kernel(program, name)

    def _upload_tables(self) -> list[Any]:
        """start, pixel, share, weight and offset of every entry, bin after bin (a bin's pixels in their own order)."""
        plan, cl = self.plan, self._cl
        if plan.split:
            pixel = np.repeat(np.arange(plan.weights.size, dtype=np.uint32), np.diff(plan.starts))
            bins, share = plan.bins, plan.coefs
        else:
            pixel = np.flatnonzero(plan.bins != plan.n_bins).astype(np.uint32)
            bins, share = plan.bins[pixel], np.zeros(1, np.float32)
        order = np.argsort(bins, kind="stable")
        pixel = pixel[order]
        start = np.concatenate(([0], np.cumsum(np.bincount(bins, minlength=plan.n_bins)))).astype(np.uint32)
        nothing = np.zeros(1, np.float32)
        tables = (
            start,
            pixel if pixel.size else np.zeros(1, np.uint32),
            share[order] if plan.split else nothing,
            plan.weights[pixel] if pixel.size else nothing,
            plan.dark[pixel] if plan.dark.size and pixel.size else nothing,
        )
        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
        return [cl.Buffer(self._context, flags, hostbuf=np.ascontiguousarray(table)) for table in tables]

    def _limits(self) -> tuple[Any, ...]:
        plan = self.plan
        if self._exact_integer:
            bound = 2**40
            whole = [np.ceil(plan.low), np.floor(plan.high), np.ceil(plan.dummy_low), np.floor(plan.dummy_high)]
            return tuple(np.int64(np.clip(limit, -bound, bound)) for limit in whole)
        low, high = np.float32(max(plan.low, -_LARGEST)), np.float32(min(plan.high, _LARGEST))
        if float(high) > plan.high:  # 64-bit counts come rounded to floats: the flag must not fall onto the limit
            high = np.nextafter(high, np.float32(-np.inf))
        return low, high, np.float32(plan.dummy_low), np.float32(plan.dummy_high)
