"""Projections on an OpenCL device: a frame is sent once, compressed where it is, and one image comes back.

The same formulas as on the CPU, rounded alike. Phase retrieval is not done there: what comes behind it, and itself, is
done by the CPU (see docs/tomography.md).
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from processors.projections import air, pixels
from processors.projections.normalise import OpenBeam
from processors.projections.stage import Counted, Stage
from processors.shared.correction import Correction
from processors.shared.device import Device, build, context_of, opened
from processors.shared.device_frames import DeviceFrames
from stream.errors import ConfigError
from stream.events import Array, Payload

_TYPES = {"u1": "uchar", "u2": "ushort", "u4": "uint", "u8": "ulong", "i1": "char", "i2": "short", "i4": "int"}
_TYPES |= {"i8": "long", "f4": "float", "f8": "double"}
_KINDS = {"bright": 1, "dark": -1, "both": 0}
_WHATEVER = 2
_GROUP = 128
"""Work items that share a row on a GPU."""
_BLOCK = 16
"""Rows that are made together where they were columns."""
_AT_ONCE = 16
"""Medians that a core of a CPU takes at once."""


class Tables:
    """An open beam on a device; workers share it."""

    def __init__(self, device: Device, beam: OpenBeam) -> None:
        """Raises pyopencl.Error."""
        import pyopencl as cl

        flags, context = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR, context_of(device)
        self.beam = beam
        self.dark = cl.Buffer(context, flags, hostbuf=np.ascontiguousarray(beam.dark, np.float32))
        self.gain = cl.Buffer(context, flags, hostbuf=np.ascontiguousarray(beam.gain, np.float64))


class OpenClEngine:
    """One `projection` of one worker, or of the gatherers, which take turns."""

    def __init__(
        self,
        stage: Stage,
        device: Device,
        dtype: np.dtype[Any],
        frames: Callable[[], DeviceFrames],
        correction: Correction | None = None,
        *,
        key: str = "projection.device",
        divides: bool = False,
        tables: Callable[[], Tables | None] = lambda: None,
        group: int | None = None,
    ) -> None:
        """divides: every image comes with an open beam. tables: of the only one. group: work items per row, a power of
        two; None: what fits the device. Raises ConfigError, with the path `key`, where the device cannot be used."""
        import pyopencl as cl

        self._cl, self.stage, self.device, self.divides = cl, stage, device, divides
        self._correction = correction
        self._turn = threading.Lock()
        if not device.has_double:
            text = f"{device} ({device.name}) has no double precision (cl_khr_fp64): set device: cpu"
            raise ConfigError([(key, text)])
        if dtype.str[1:] not in _TYPES:
            raise ConfigError([(key, f"pixels of the type {dtype} are not known on a device: set device: cpu")])
        try:
            self._frames = frames()
            self._queue, self._context = self._frames.queue, self._frames.context
            largest = min(_GROUP, int(opened(device).max_work_group_size))
            self._group = group or (1 << (largest.bit_length() - 1) if device.kind == "gpu" else 1)
            self._block = _BLOCK if stage.steps.rotate % 2 else 1
            self._kernels = self._build(dtype)
            self._tables = tables()
            self._bad_pixels(dtype)
            self._make_room()
            self._first_use(dtype)
        except (cl.Error, MemoryError) as error:
            text = f"{device} ({device.name}) cannot be used: {error}; set device: cpu"
            raise ConfigError([(key, text)]) from error

    def run(self, image: Array, beam: OpenBeam | None, monitor: float | None) -> tuple[Array, Counted]:
        """As `Stage`, of counts."""
        return self.compute(None, lambda: image, beam, monitor)

    def compute(
        self, payload: Payload | None, image: Callable[[], Array], beam: OpenBeam | None, monitor: float | None
    ) -> tuple[Array, Counted]:
        """As `Stage`, of a frame: see `DeviceFrames.compute`. Raises ValueError where a step cannot be done."""
        factor = 1.0 if beam is None else beam.factor(monitor)

        def steps(counts: Any) -> tuple[Array, Counted] | ValueError:
            try:
                return self._steps(counts, beam, factor)
            except ValueError as error:  # of a damaged frame it is not the word
                return error

        with self._turn:
            found = self._frames.compute(payload, image, steps)
        if isinstance(found, ValueError):
            raise found
        return found

    def _steps(self, counts: Any, beam: OpenBeam | None, factor: float) -> tuple[Array, Counted]:
        steps, (rows, _), level = self.stage.steps, self.stage.cropped, float("nan")
        given = (counts, *self._of(beam), self._mask, np.float64(factor), *self._limits)
        if (area := steps.air) is not None:
            (top, end), (left, right) = area.y, area.x
            self._rows("air", end - top, *given, *np.array([top, left, right - left], np.int32), self._sums, self._some)
            number = int(self._read(self._some, end - top, np.uint32).sum(dtype=np.int64))
            sums = self._read(self._sums, end - top, np.float64)
            level = air.checked(float(sums.sum()) / number if number else float("nan"))
        divisor = np.float64(0 if area is None else level)
        self._rows("prepare", -(-rows // self._block), *given, np.int32(rows), divisor, self._image, self._some)
        self._frames.meanwhile()
        mended = self._mended(self._read(self._some, rows, np.uint32))
        if (cut := steps.cut_off) is not None:
            limit = pixels.cut_limit(cut.part, cut.low, cut.high)
            self._rows("cut", rows, self._image, np.float32(limit), np.float32(cut.low))
        outliers = low = 0
        if (out := steps.outliers) is not None:
            outliers = self._median(out.size, _KINDS[out.kind], out.difference, mirror=False)
        if steps.median is not None:
            self._median(steps.median, _WHATEVER, 0.0, mirror=True)
        if steps.phase is not None:
            found = self._read(self._image, self.stage.cropped, np.float32)
            return self.stage.finished(found, Counted(mended, outliers, 0, level))
        if steps.logarithm:
            self._rows("logarithm", rows, self._image, np.float64(pixels.FLOOR), self._some)
            low = int(self._read(self._some, rows, np.uint32).sum(dtype=np.int64))
        made = self._image
        if (size := steps.scale_down) > 1:
            made, (rows, columns) = self._small, self.stage.shape
            divisor = np.float64(size**2 if steps.scale_by == "mean" else 1)
            self._rows("scale", rows, self._image, np.int32(size), np.int32(columns), divisor, made)
        return self._read(made, self.stage.shape, np.float32), Counted(mended, outliers, low, level)

    def _mended(self, bad: Array) -> int:
        """bad: how many of each row. Raises ValueError where all are."""
        count, (rows, columns) = int(bad.sum(dtype=np.int64)), self.stage.cropped
        if not count:
            return 0
        if count == rows * columns:
            raise ValueError(pixels.NO_PIXEL)
        self._rows("between", rows, self._image, self._some)
        if between := pixels.rows_between(bad == columns):
            places = np.array([each[:3] for each in between], np.int32)
            parts = np.array([each[3] for each in between], np.float64)
            flags = self._cl.mem_flags.READ_ONLY | self._cl.mem_flags.COPY_HOST_PTR
            tables = [self._cl.Buffer(self._context, flags, hostbuf=each) for each in (places, parts)]
            self._rows("between_rows", len(between), self._image, *tables)
        return count

    def _median(self, size: int, kind: int, difference: float, *, mirror: bool) -> int:
        rows = self.stage.cropped[0]
        edges = np.int32(rows), np.int32(size), np.int32(mirror)
        self._rows("pad", rows + size - 1, self._image, *edges, self._wide)
        self._rows(
            "median", rows, self._wide, np.int32(size), np.int32(kind), np.float32(difference), self._image, self._some
        )
        return 0 if kind == _WHATEVER else int(self._read(self._some, rows, np.uint32).sum(dtype=np.int64))

    def _of(self, beam: OpenBeam | None) -> tuple[Any, Any]:
        if beam is None:
            return self._nothing, self._nothing
        if self._tables is None or self._tables.beam is not beam:
            self._tables = Tables(self.device, beam)
        return self._tables.dark, self._tables.gain

    def _rows(self, kernel: str, rows: int, *arguments: Any) -> None:
        self._kernels[kernel](self._queue, (rows * self._group,), (self._group,), *arguments)

    def _read(self, buffer: Any, shape: int | tuple[int, int], dtype: Any) -> Array:
        found = np.empty(shape, dtype)
        self._cl.enqueue_copy(self._queue, found, buffer)
        return found

    def _build(self, dtype: np.dtype[Any]) -> dict[str, Any]:
        stage = self.stage
        crop = stage.steps.crop
        defines = {
            "RAW": _TYPES[dtype.str[1:]],
            "ROWS": stage.of[0],
            "COLUMNS": stage.of[1],
            "TURNS": stage.steps.rotate,
            "TOP": 0 if crop is None else crop.y[0],
            "LEFT": 0 if crop is None else crop.x[0],
            "WIDTH": stage.cropped[1],
            "CHECKED": int(self._correction is not None),
            "DIVIDED": int(self.divides),
            "GROUP": self._group,
            "BLOCK": self._block,
            "AT_ONCE": _AT_ONCE if self._group == 1 else 1,
        }
        program = build(self._context, "processors.projections", "projection.cl", defines)
        names = ("air", "prepare", "between", "between_rows", "cut", "pad", "median", "logarithm", "scale")
        return {name: self._cl.Kernel(program, name) for name in names}

    def _make_room(self) -> None:
        """Memory for one frame at a time."""
        cl, steps, (rows, columns) = self._cl, self.stage.steps, self.stage.cropped
        size = max(steps.median or 1, 1 if steps.outliers is None else steps.outliers.size)
        most = max(rows, 0 if steps.air is None else steps.air.y[1] - steps.air.y[0])

        def room(nbytes: int) -> Any:
            return cl.Buffer(self._context, cl.mem_flags.READ_WRITE, nbytes)

        self._image, self._sums, self._some = room(4 * rows * columns), room(8 * most), room(4 * most)
        self._wide = room(4 * ((rows + size - 1) * (columns + size - 1) + _AT_ONCE)) if size > 1 else None
        self._small = room(4 * self.stage.shape[0] * self.stage.shape[1]) if steps.scale_down > 1 else None

    def _bad_pixels(self, dtype: np.dtype[Any]) -> None:
        """What is known of the pixels of every frame, and which counts are not believed."""
        cl, given = self._cl, self._correction
        self._nothing = cl.Buffer(self._context, cl.mem_flags.READ_ONLY, 8)
        self._mask, limits = self._nothing, (0.0, 0.0, 0.0, 0.0)
        if given is not None:
            flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
            self._mask = cl.Buffer(self._context, flags, hostbuf=np.ascontiguousarray(given.mask, np.uint8))
            limits = (given.low, given.high, given.dummy_low, given.dummy_high)
        # NumPy compares the pixels of an image with a number in their own type
        self._limits = [np.float64(np.float32(each) if dtype == np.float32 else each) for each in limits]

    def _first_use(self, dtype: np.dtype[Any]) -> None:
        """Some drivers compile a kernel when it is first used: not at the first frame."""
        shape = self.stage.of
        plain = OpenBeam(np.zeros(shape, np.float32), np.ones(shape), 0) if self.divides else None
        beam = plain if self._tables is None else self._tables.beam
        with suppress(ValueError):  # it is no image
            self._frames.compute(None, lambda: np.ones(shape, dtype), lambda counts: self._steps(counts, beam, 1.0))
