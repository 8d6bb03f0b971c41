"""Integration on an OpenCL device: one upload of the raw frame, one kernel, and only the bins come back."""

import threading
import warnings
from importlib.resources import files
from typing import Any

import numpy as np

from processors.integration.plan import Pattern, Plan
from processors.shared.device import Device, opened
from stream.errors import ConfigError
from stream.events import Array

C_TYPES = {"u1": "uchar", "i1": "char", "u2": "ushort", "i2": "short", "u4": "uint", "i4": "int", "f4": "float"}
GROUP = 64
_LARGEST = float(np.finfo(np.float32).max)
BUILDING = threading.Lock()
"""Warnings are silenced while a kernel is built, which Python can only do for all threads at once."""


class OpenClEngine:
    """One per worker and scan, with a context, a queue and tables of its own. See `IntegrationEngine`.

    Sums are made in double where the device has it, else as compensated floats. Raises ConfigError if the device
    cannot hold the tables or compile the kernel.
    """

    def __init__(self, plan: Plan, dtype: np.dtype[Any], device: Device) -> None:
        import pyopencl as cl

        self.plan = plan
        self.device = device
        self._cl = cl
        self._exact_integer = dtype.kind in "iu" and dtype.itemsize <= 4
        self._upload_as = dtype if self._exact_integer else np.dtype(np.float32)
        try:
            chosen = opened(device)
            self._context = cl.Context([chosen])
            self._queue = cl.CommandQueue(self._context)
            self._kernel = self._build(chosen)
            self._tables = self._upload_tables()
            pixels = plan.weights.size
            self._image = cl.Buffer(self._context, cl.mem_flags.READ_ONLY, pixels * self._upload_as.itemsize)
            self._bins = [cl.Buffer(self._context, cl.mem_flags.WRITE_ONLY, 4 * plan.n_bins) for _ in range(2)]
            self.run(np.zeros(pixels, dtype), 1.0)
        except cl.Error as error:
            raise ConfigError(
                [("integrate.device", f"{device} ({device.name}) cannot be used: {error}; set device: cpu")]
            ) from error

    def run(self, image: Array, factor: float) -> Pattern:
        """See `IntegrationEngine`."""
        cl, plan = self._cl, self.plan
        flat = np.ascontiguousarray(image.reshape(-1), self._upload_as)
        cl.enqueue_copy(self._queue, self._image, flat, is_blocking=False)
        arguments = (self._image, *self._tables, *self._limits(), np.float32(factor), np.float32(plan.empty))
        if plan.model == 3:
            size = -(-plan.n_bins // GROUP) * GROUP
            self._kernel(self._queue, (size,), (GROUP,), *arguments, *self._bins, np.uint32(plan.n_bins))
        else:
            local = cl.LocalMemory(GROUP * (8 if self.device.has_double else 4))
            self._kernel(self._queue, (plan.n_bins * GROUP,), (GROUP,), *arguments, *self._bins, local, local)
        found = [np.empty(plan.n_bins, np.float32) for _ in range(2 if plan.model else 1)]
        for array, buffer in zip(found, self._bins, strict=False):
            cl.enqueue_copy(self._queue, array, buffer, is_blocking=True)
        return found[0], found[1] if plan.model else None

    def _build(self, device: Any) -> Any:
        plan, double = self.plan, self.device.has_double
        defines = {
            "RAW": C_TYPES[self._upload_as.str[1:]],
            "LIMIT": "long" if self._exact_integer else "float",
            "REAL": "double" if double else "float",
            "COMPENSATED": int(not double),
            "SPLIT": int(plan.split),
            "DARK": int(plan.dark.size > 0),
            "DARK_VARIANCE": int(plan.dark_variance),
            "MODEL": plan.model,
            "GROUP": GROUP,
        }
        source = files("processors.integration").joinpath("integrate.cl").read_text(encoding="utf-8")
        program = self._cl.Program(self._context, source)
        with BUILDING, warnings.catch_warnings():
            # compilers talk about optimisations they did not do; a real error raises cl.Error
            warnings.simplefilter("ignore", self._cl.CompilerWarning)
            program.build([f"-D{name}={value}" for name, value in defines.items()], devices=[device])
        return program.follow if plan.model == 3 else program.gather

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
