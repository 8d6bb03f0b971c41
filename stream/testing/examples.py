"""A small scan to test with: every value follows from the frame number, the pixels are packed as EIGERs do."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xxhash

from stream.codec.native import bslz4_compress
from stream.events import Array, Detector, Encoding, Frame, FrameStatus, Payload, Piece, ScanStart, Update
from stream.products import Axis, Field, Product

SHAPE = (64, 48)
UID = "01-first"
CHANNEL = "threshold_1"
BINS = 40
PRODUCT = Product(
    "example",
    (
        Field("I", (BINS,), np.dtype("f4"), "counts", "intensity"),
        Field("total", (), np.dtype("f8"), "counts"),
        Field("peaks", (None,), np.dtype("u4")),
    ),
    signal="I",
    axes=(Axis("q", np.linspace(1, 50, BINS), "1/nm", "q", np.linspace(1, 50, BINS + 1)),),
    constants={"norm": np.ones(BINS, np.float32)},
    parameters={"configuration": {"npt": BINS}},
)
"""A pattern, a number and a list of every frame."""
MAP = Product(
    "map",
    (
        Field("sum", SHAPE, np.dtype("i8"), "counts", per="scan"),
        Field("mean", (None,), np.dtype("f8"), "counts", per="scan"),
    ),
    signal="sum",
)
"""What a gatherer declares: the sum of all frames, and the mean of each by its number."""


def scan(uid: str = UID, expected: int | None = None, **changes: Any) -> ScanStart:
    """The start of a scan of one channel, uint16 (64, 48), with all that a header may say of detector and beam."""
    detector = Detector(
        description="Simulated EIGER2",
        serial_number="E-08-0123",
        sensor_material="Si",
        sensor_thickness_m=450e-6,
        pixel_size_x_m=75e-6,
        pixel_size_y_m=75e-6,
        beam_center_x_px=20.5,
        beam_center_y_px=31.25,
        distance_m=0.2,
        wavelength_angstrom=0.7,
        count_time_s=0.01,
        saturation_value=50_000,
        threshold_energy_ev={CHANNEL: 8000.0},
        pixel_mask={CHANNEL: np.eye(*SHAPE, dtype=np.uint32)},
    )
    start = ScanStart(uid, "scan42", SHAPE, np.dtype("u2"), (CHANNEL,), expected, detector, time.time(), "simulated")
    return replace(start, **changes)


def image(index: int) -> Array:
    """The pixels of a frame, uint16 (64, 48)."""
    return np.random.default_rng(index).poisson(3 + index % 7, SHAPE).astype(np.uint16)


def payload(pixels: Array) -> Payload:
    """Pixels (rows, columns), packed."""
    return Payload(bslz4_compress(pixels), Encoding.BSLZ4, (pixels.shape[0], pixels.shape[1]), pixels.dtype)


def frame(index: int, **changes: Any) -> Frame:
    """A frame as it comes from a source."""
    made = Frame(UID, index, {CHANNEL: payload(image(index))}, received=1.7e9 + index, detector_time=index / 100)
    return replace(made, **changes)


def finished(index: int, **changes: Any) -> Frame:
    """The same frame as it comes to the sinks: with checksums, and results as PRODUCT declares them."""
    made = frame(index)
    results: dict[str, Array] = {
        "I": (np.sin(np.arange(BINS) / (5 + index % 11)) + index).astype(np.float32),
        "total": np.array(index * 100.5),
        "peaks": np.arange(index % 4, dtype=np.uint32) + index,
    }
    sums = {channel: xxhash.xxh3_64_intdigest(packed.data) for channel, packed in made.payloads.items()}
    return replace(made, checksums=sums, results={PRODUCT.name: results}, **changes)


def hole(index: int, status: FrameStatus = FrameStatus.CORRUPT, problem: str = "cut off") -> Frame:
    """A frame that brings nothing but its status."""
    return Frame(UID, index, {}, received=1.7e9 + index, status=status, problem=problem)


def update(indices: Sequence[int], uid: str = UID) -> Update:
    """What a gatherer gives after these frames: the sum so far, and their means."""
    pixels = np.stack([image(index) for index in indices]).astype(np.int64)
    means = Piece((indices[0],), pixels.mean((1, 2)))
    return Update(uid, MAP.name, {"sum": Piece((0, 0), pixels.sum(0)), "mean": means}, covers=indices)


def damaged(good: Frame) -> Frame:
    """The same frame with the pixels of every channel cut off in the middle: they cannot be decoded."""
    cut = {
        name: replace(packed, data=bytes(packed.data)[: packed.nbytes // 2]) for name, packed in good.payloads.items()
    }
    return replace(good, payloads=cut)
