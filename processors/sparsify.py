"""Bragg peaks kept, background modelled: what pyFAI's `sparsify-Bragg` does, frame by frame while the scan runs.

Each option keeps the name and the meaning it has there. Per frame: mean and deviation of the background per radial bin,
the picked pixels, the peaks if asked for, and counts for the hit rate.
"""

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from processors.bragg import preparation
from processors.bragg.cpu import CpuEngine
from processors.bragg.model import Recipe, Sparse, SparsifyEngine
from processors.bragg.options import Config
from processors.bragg.selection import stored_dtype
from processors.correction.making import the_channel
from processors.shared.announce import announce
from processors.shared.device import Device
from processors.shared.device_frames import Desk, DeviceFrames
from processors.shared.engine import start as start_engine
from stream.codec.native import bslz4_compress
from stream.context import ALONE, Context
from stream.events import Array, Encoding, Payload, ScanEnd, ScanStart
from stream.products import Axis, Product
from stream.products import Field as ProductField
from stream.work import Work

if TYPE_CHECKING:
    from processors.bragg.opencl import OpenclEngine

log = logging.getLogger("inbeam")


def create(config: Config, context: Context = ALONE) -> "Sparsify":
    """The processor for a validated configuration."""
    return Sparsify(config)


class Sparsify:
    """One per worker; the geometry is shared by all of them, the scratch memory is not."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._engine: SparsifyEngine | None = None
        self._on_device: OpenclEngine | None = None
        """The engine where it takes frames as they came."""
        self._by_bytes: CpuEngine | None = None
        """The engine where it can do without most of the pixels."""
        self._channel = ""
        self._frames: tuple[tuple[int, int], np.dtype[Any]] = ((0, 0), np.dtype(np.uint8))
        self._hits: deque[bool] = deque(maxlen=config.hit_window)

    @property
    def pixels_of(self) -> tuple[str, ...]:
        """The channel that is sparsified, unless it is from packed frames, or a device decodes it."""
        decoded = self._on_device is not None and self._on_device.decodes
        return () if decoded or self._by_bytes is not None else (self._channel,)

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        """Bins, corrections and kernels for this scan. Raises InbeamError if geometry and frames do not fit."""
        config = self.config
        made = preparation.make(config, scan, work)
        self._channel = the_channel(scan, config.channel)
        self._frames = (scan.shape, scan.dtype.newbyteorder("="))
        empty = 0.0 if config.dummy is None else config.dummy
        recipe = Recipe(
            error_model=config.error_model,
            cutoff_clip=config.cutoff_clip,
            cycle=config.cycle,
            noise=config.noise,
            cutoff_pick=config.cutoff_pick,
            cutoff_peak=config.cutoff_peak or 0.0,
            patch_size=config.peak_patch_size,
            connected=config.peak_connected,
            limits=made.limits,
            empty=empty,
        )
        dtype, desk = scan.dtype.newbyteorder("="), Desk.of(work)

        def on_cpu() -> SparsifyEngine:
            corrected = (made.dark is not None, made.norm is not None, "I" in config.error_model)
            announce(
                f"the kernels of sparsify for {scan.dtype} pixels, on the CPU",
                scan.dtype.str,
                *corrected,
                folder=Path(preparation.__file__).parent,
            )
            engine = CpuEngine(made.polar, recipe, made.dark, made.norm, packed=dtype)
            self._by_bytes = engine if engine.by_bytes else None
            return engine

        def on_device(device: Device) -> SparsifyEngine:
            from processors.bragg.opencl import OpenclEngine

            def frames() -> DeviceFrames:
                return desk.frames(device, self._channel, scan.shape, dtype)

            self._on_device = OpenclEngine(
                made.polar, recipe, made.dark, made.norm,
                dtype=dtype, device=device, workgroup=config.workgroup, frames=frames,
            )  # fmt: skip
            return self._on_device

        self._on_device = self._by_bytes = None
        engine, where = start_engine("sparsify.device", config.device, on_cpu, on_device)
        self._engine = engine
        for _ in range(2):  # compiles now, not at the first frame, nor at the second, which goes another way
            engine.run(np.zeros(scan.shape, dtype))
        if self._by_bytes is not None:
            nothing = bslz4_compress(np.zeros(scan.shape, dtype))
            self._by_bytes.run_packed(Payload(nothing, Encoding.BSLZ4, scan.shape, dtype))
        self._hits = deque(maxlen=config.hit_window)
        return (self._product(scan, made, where),)

    def process(self, work: Work) -> None:
        """Sparsify the frame in hand."""
        assert self._engine is not None, "process before start"
        config = self.config
        if self._on_device is not None:
            payload = work.frame.payloads.get(self._channel)
            found = self._on_device.compute(payload, lambda: self._image(work))
        else:
            found = self._from_bytes(work) or self._engine.run(self._image(work))
        peaks, picked = len(found.peak_index), len(found.index)
        hit = peaks >= config.hit_peaks if config.cutoff_peak else picked >= config.hit_pixels
        self._hits.append(hit)
        result: dict[str, Array] = {
            "background_avg": found.mean,
            "background_std": found.deviation,
            "index": found.index,
            "intensity": found.intensity,
            "picked": np.array(picked, np.uint32),
            "hit": np.array(hit, np.uint8),
            "hit_rate": np.array(sum(self._hits) / len(self._hits), np.float32),
        }
        if config.cutoff_peak:
            result |= {
                "peaks": np.array(peaks, np.uint32),
                "peak_index": found.peak_index,
                "peak_pos0": found.pos0,
                "peak_pos1": found.pos1,
                "peak_intensity": found.peak_intensity,
                "peak_sigma": found.sigma,
            }
        work.results[config.name] = result

    def finish(self, end: ScanEnd) -> None:
        """Free the scratch memory."""
        self._engine = self._on_device = self._by_bytes = None

    def _from_bytes(self, work: Work) -> Sparse | None:
        """The result where the frame need not be decoded, and nobody needs its pixels anyway."""
        payload, engine = work.frame.payloads.get(self._channel), self._by_bytes
        if payload is None or engine is None or work.will_decode(self._channel):
            return None
        return engine.run_packed(payload) if payload.shape == self._frames[0] and engine.takes(payload) else None

    def _image(self, work: Work) -> Array:
        image, (shape, dtype) = work.image(self._channel), self._frames
        if image.shape != shape or image.dtype != dtype:
            raise ValueError(
                f"frame {work.frame.index} is {image.dtype} {image.shape}, but its scan began as {dtype} {shape}: "
                "check the detector's settings"
            )
        return image

    def _product(self, scan: ScanStart, made: "preparation.Setting", device: str) -> Product:
        config, bins = self.config, made.polar.bins
        single = np.dtype(np.float32)
        fields: list[tuple[str, tuple[int | None, ...], Any, str, str]] = [
            ("background_avg", (bins,), single, "counts", "Average value of background"),
            ("background_std", (bins,), single, "counts", "Standard deviation of background"),
            ("index", (None,), np.dtype(np.uint32), "", "Flat index of the picked pixels"),
            ("intensity", (None,), stored_dtype(scan.dtype), "counts", "Counts of the picked pixels"),
            ("picked", (), np.dtype(np.uint32), "", "Picked pixels"),
            ("hit", (), np.dtype(np.uint8), "", "Frame is a hit"),
            ("hit_rate", (), single, "", f"Hits among the last {config.hit_window} frames of this worker"),
        ]
        if config.cutoff_peak:
            fields += [
                ("peaks", (), np.dtype(np.uint32), "", "Peaks"),
                ("peak_index", (None,), np.dtype(np.uint32), "", "Flat index of the peaks' highest pixels"),
                ("peak_pos0", (None,), single, "pixel", "Row of the peaks' centroids"),
                ("peak_pos1", (None,), single, "pixel", "Column of the peaks' centroids"),
                ("peak_intensity", (None,), single, "counts", "Intensity of the peaks above background"),
                ("peak_sigma", (None,), single, "counts", "Uncertainty of the peaks' intensities"),
            ]
        radius = (made.polar.centers * made.polar.unit_scale).astype(np.float32)
        constants = {"radius": radius, "mask": (made.polar.radius * made.polar.unit_scale).astype(np.float32)}
        if made.densify is not None:
            constants["normalization"] = made.densify
        return Product(
            name=config.name,
            fields=tuple(ProductField(*field) for field in fields),
            signal="background_avg",
            axes=(Axis("radius", radius, made.polar.unit, made.polar.unit_label),),
            constants=constants,
            parameters={"poni": config.poni},
            sparse=preparation.sparse_frames(config, made, device),
            device=device,
        )
