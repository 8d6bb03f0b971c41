"""Scans, frames and results to feed sinks with: every value follows from the frame number."""

import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import xxhash

from sinks import archive, hdf5, nxtomo
from stream.codec.native import bslz4_compress
from stream.context import ALONE, Context
from stream.events import Array, Detector, Encoding, Frame, FrameStatus, Payload, ScanStart
from stream.products import Axis, Field, Product, Reduction

SHAPE = (64, 48)
BINS = 700
CHANNEL = "threshold_1"

PRODUCT = Product(
    name="azint",
    fields=(
        Field("I", (BINS,), np.dtype("f4"), "arbitrary units", "intensity"),
        Field("I_errors", (BINS,), np.dtype("f4"), "arbitrary units"),
        Field("total", (), np.dtype("f8"), "counts"),
    ),
    signal="I",
    axes=(Axis("radial_axis", np.linspace(1, 50, BINS), "1/nm", "q", np.linspace(1, 50, BINS + 1)),),
    reduction=Reduction("NXazint1d", solid_angle_applied=True),
    constants={"norm": np.ones(BINS, np.float32)},
    parameters={
        "configuration": {"npt": BINS, "device": "cpu"},
        "poni": "poni_version: 2.1",
    },
)


def image(index: int, channel: int = 0) -> Array:
    """The pixels of a frame, uint16."""
    return np.random.default_rng((index, channel)).poisson(3 + index % 7, SHAPE).astype(np.uint16)


def pattern(index: int) -> Array:
    """The integrated intensities of a frame, float32."""
    return (np.sin(np.arange(BINS) / (5 + index % 11)) + index).astype(np.float32)


def scan(uid: str = "01-first", expected: int | None = None, **changes: Any) -> ScanStart:
    """The start of a scan of one channel."""
    detector = Detector(
        description="Simulated EIGER2",
        serial_number="E-08-0123",
        wavelength_angstrom=0.7,
        distance_m=0.2,
        pixel_size_x_m=75e-6,
        pixel_size_y_m=75e-6,
        beam_center_x_px=20.5,
        beam_center_y_px=31.25,
        count_time_s=0.01,
        sensor_material="Si",
        sensor_thickness_m=450e-6,
        saturation_value=50_000,
        threshold_energy_ev={CHANNEL: 8000.0},
        pixel_mask={CHANNEL: np.eye(*SHAPE, dtype=np.uint32)},
        flatfield={CHANNEL: np.full(SHAPE, 1.25, np.float32)},
        metadata={"ntrigger": 1, "roi_mode": "disabled"},
    )
    start = ScanStart(uid, "scan42", SHAPE, np.dtype("u2"), (CHANNEL,), expected, detector, time.time(), "tcp://sim")
    return replace(start, **changes)


def payload(pixels: Array) -> Payload:
    """Pixels packed as EIGERs do."""
    return Payload(bslz4_compress(pixels), Encoding.BSLZ4, SHAPE, pixels.dtype)


def frame(index: int, status: FrameStatus = FrameStatus.RECEIVED, **changes: Any) -> Frame:
    """A frame as it comes out of the pipeline: payload, checksum, results."""
    packed = payload(image(index))
    values = pattern(index)
    made = Frame(
        "01-first",
        index,
        {CHANNEL: packed},
        received=1.7e9 + index,
        detector_time=index / 100,
        readings={"monitor": float(index)},
        status=status,
        checksums={CHANNEL: xxhash.xxh3_64_intdigest(packed.data)},
        results={"azint": {"I": values, "I_errors": np.sqrt(np.abs(values)), "total": values.sum(dtype=np.float64)}},
    )
    return replace(made, **changes)


def hole(index: int, status: FrameStatus, problem: str = "") -> Frame:
    """A frame that brings nothing but its status."""
    return Frame("01-first", index, {}, received=1.7e9 + index, status=status, problem=problem)


def make(kind: str, path: object, context: Context = ALONE, **options: Any) -> Any:
    """A sink of this type."""
    if kind == "archive":
        return archive.create(archive.Config(path=str(path), **options), context)
    if kind == "nxtomo":
        given = {"turn": {"angles": {"step": 0.5}}, **options}
        return nxtomo.create(nxtomo.Config(path=str(path), **given), context)
    return hdf5.create(hdf5.Config(path=str(path), **options), context)


def open_files() -> set[str]:
    """What this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return {target for target in found if target.startswith("/") and not target.startswith("/proc")}
