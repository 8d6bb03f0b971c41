"""Helpers of the sparsification tests: scans, frames through the processor, and a plain reference in float64."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from processors import sparsify
from stream import Detector, Encoding, Frame, FrameStatus, Payload, Product, ScanStart, Work
from stream.events import Array

GEOMETRY = """poni_version: 2.1
Detector: Detector
Detector_config: {{"pixel1": 1e-4, "pixel2": 1e-4, "orientation": 3, "max_shape": [{rows}, {columns}]}}
Distance: 0.1
Poni1: {y}
Poni2: {x}
Rot1: {tilt}
Rot2: 0
Rot3: 0
Wavelength: 1e-10
"""


def poni(folder: Path, shape: tuple[int, int], tilt: float = 0.0) -> str:
    """A geometry for frames of this shape, the beam a little off their centre."""
    rows, columns = shape
    path = folder / f"{rows}x{columns}.poni"
    path.write_text(GEOMETRY.format(rows=rows, columns=columns, y=0.52e-4 * rows, x=0.47e-4 * columns, tilt=tilt))
    return str(path)


def scan_of(images: Sequence[Array], uid: str = "uid", expected: int | None = None) -> ScanStart:
    """The start of a scan of these frames."""
    shape = images[0].shape
    return ScanStart(
        uid, "scan", (shape[0], shape[1]), images[0].dtype, ("default",), expected, Detector(), received=1.7e9
    )


def frame_of(image: Array, index: int, status: FrameStatus = FrameStatus.RECEIVED) -> Frame:
    """A frame as it comes from a raw stream."""
    payload = Payload(image.tobytes(), Encoding.RAW, (image.shape[0], image.shape[1]), image.dtype)
    return Frame("uid", index, {"default": payload}, 1.7e9 + index, status=status)


def sparsified(
    images: Sequence[Array], numbers: Iterable[int] | None = None, bench: Iterable[object] = (), **options: Any
) -> tuple[Product, list[Frame]]:
    """These frames through the processor: its product, and the frames with their results."""
    processor = sparsify.create(sparsify.Config(**options))
    work = Work()
    for thing in bench:
        work.put(thing)
    (product,) = processor.start(scan_of(images), work)
    frames = []
    for number, image in zip(numbers or range(len(images)), images, strict=True):
        frame = frame_of(image, number)
        work.take(frame)
        processor.process(work)
        frames.append(Frame(frame.scan, frame.index, frame.payloads, frame.received, results=dict(work.results)))
    return product, frames


def crystal(
    shape: tuple[int, int] = (200, 220), count: int = 2, seed: int = 3, background: float = 20.0
) -> list[Array]:
    """uint16 frames with a radial background, one ring and Bragg spots."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    radius = np.hypot(y - 0.52 * rows, x - 0.47 * columns)
    level = background * np.exp(-radius / rows) + 0.6 * background * np.exp(-(((radius - rows / 4) / 4) ** 2)) + 0.2
    frames = []
    for _ in range(count):
        mean = level.copy()
        for _ in range(25):
            row, column = rng.uniform(6, rows - 7), rng.uniform(6, columns - 7)
            mean += rng.uniform(50, 900) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 2)
        frames.append(rng.poisson(mean).astype(np.uint16))
    return frames


def two_pass(
    raw: Array,
    bin_of: Array,
    bins: int,
    *,
    model: str,
    cutoff: float,
    cycle: int,
    dark: Array | None = None,
    norm: Array | None = None,
    valid: Array | None = None,
    variance: Array | None = None,
) -> tuple[Array, Array]:
    """Mean and deviation per bin: the formulas of pyFAI's documentation, plainly, in float64, bin by bin."""
    raw = raw.ravel().astype(np.float64)
    signal = raw - (0 if dark is None else dark.ravel().astype(np.float64))
    weight = np.ones_like(raw) if norm is None else norm.ravel().astype(np.float64)
    spread = np.maximum(raw, 1.0) if variance is None else variance.ravel().astype(np.float64)
    good = np.ones(raw.size, bool) if valid is None else valid.ravel()
    mean, deviation = np.zeros(bins), np.zeros(bins)
    for b in range(bins):
        inside = bin_of == b
        members = max(3, int(inside.sum()))
        chosen = np.flatnonzero(inside & good)
        x, w, s, v = signal[chosen] / weight[chosen], weight[chosen], signal[chosen], spread[chosen]
        scatter = model == "azimuthal" or (model == "hybrid" and cycle > 0)
        for turn in range(cycle + 1):
            if not len(x):
                break
            mean[b] = s.sum() / w.sum()
            total = (w**2 * (x - mean[b]) ** 2).sum() if scatter else v.sum()
            deviation[b] = np.sqrt(total / (w**2).sum())
            if turn == cycle or (model == "hybrid" and not scatter):
                break
            reach = max(cutoff, np.sqrt(2 * np.log(members / np.sqrt(2 * np.pi)))) * deviation[b]
            keep = np.abs(x - mean[b]) <= reach
            lost = int((~keep).sum())
            if lost == 0 and model != "hybrid":
                break
            members = max(3, members - lost)
            x, w, s, v = x[keep], w[keep], s[keep], v[keep]
            if model == "hybrid" and (lost == 0 or turn + 1 == cycle):
                scatter = False
        if not len(x):
            mean[b] = deviation[b] = 0
    return mean, deviation
