"""Synthetic frames of an EIGER2 4M and of a small detector: powder rings with counting noise, and Bragg spots if asked.

The rings are those of LaB6 (NIST SRM 660, a = 4.1569 Å, space group Pm-3m: every h k l is allowed). Over a pool of
frames its lattice expands and a second phase (CeO2, a = 5.4115 Å, Fm-3m) grows: patterns against time are worth a look.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stream.codec.native import bslz4_compress
from stream.events import Array, Encoding, Payload

HC_EV_ANGSTROM = 12398.419843320026
LAB6_ANGSTROM = 4.1569
CEO2_ANGSTROM = 5.4115
EXPANSION = 0.006
"""Relative growth of the LaB6 lattice from the first frame of a pool to the last."""
RING_WIDTH_PX = 1.6

GAP, DEAD = 1, 2
"""Bits of the pixel mask (SIMPLON API: bit 0 gap, bit 1 dead)."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """A detector facing the beam. Shapes are (rows, columns); module_shape (0, 0): one sensor without gaps.

    counts: mean of the strongest ring above background, counts per pixel and frame.
    """

    name: str
    description: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    distance_m: float
    module_shape: tuple[int, int]
    gap: tuple[int, int]
    energy_ev: float = 20000.0
    pixel_size_m: float = 75e-6
    counts: float = 14.0
    background: float = 0.4
    dead_fraction: float = 2e-4

    @property
    def wavelength_angstrom(self) -> float:
        """hc / E."""
        return HC_EV_ANGSTROM / self.energy_ev

    @property
    def beam_center_px(self) -> tuple[float, float]:
        """(x, y), a little off the middle, as at any beamline."""
        return self.shape[1] / 2 + 12.25, self.shape[0] / 2 - 7.5


def eiger2_4m(dtype: str = "uint32", channels: int = 1) -> Simulated:
    """EIGER2 X 4M: 2 x 4 modules of 1028 x 512 pixels with gaps of 12 and 38, 2068 x 2162 pixels of 75 µm.

    The rates are such that a uint32 frame packs to about 1.4 MB.
    """
    return Simulated(
        "eiger2-4m",
        "Dectris EIGER2 Si 4M (simulated by inbeam)",
        (2162, 2068),
        np.dtype(dtype),
        channel_names(channels),
        distance_m=0.15,
        module_shape=(512, 1028),
        gap=(38, 12),
    )


def small(dtype: str = "uint16", channels: int = 1, shape: tuple[int, int] = (256, 256)) -> Simulated:
    """A small detector for tests and for the cost per message: 256 x 256 pixels unless told, no gaps."""
    return Simulated(
        "small",
        "Dectris EIGER2 Si 65k (simulated by inbeam)",
        shape,
        np.dtype(dtype),
        channel_names(channels),
        distance_m=0.02,
        module_shape=(0, 0),
        gap=(0, 0),
        dead_fraction=1e-3,
    )


def channel_names(count: int) -> tuple[str, ...]:
    """threshold_1 and so on."""
    return tuple(f"threshold_{number + 1}" for number in range(count))


def poni(detector: Simulated) -> str:
    """The geometry as the text of a pyFAI .poni file (version 2.1)."""
    x, y = detector.beam_center_px
    size, (rows, columns) = detector.pixel_size_m, detector.shape
    return (
        "# Geometry of inbeam's simulated detector\n"
        "poni_version: 2.1\n"
        "Detector: Detector\n"
        f'Detector_config: {{"pixel1": {size}, "pixel2": {size}, "max_shape": [{rows}, {columns}], "orientation": 3}}\n'
        f"Distance: {detector.distance_m}\n"
        f"Poni1: {y * size}\nPoni2: {x * size}\nRot1: 0.0\nRot2: 0.0\nRot3: 0.0\n"
        f"Wavelength: {detector.wavelength_angstrom * 1e-10}\n"
    )


def pixel_mask(detector: Simulated) -> Array:
    """uint32 (rows, columns): 0 good, bit 0 in a gap, bit 1 dead. The same for every scan of a detector."""
    rows, columns = detector.shape
    mask = np.zeros(detector.shape, np.uint32)
    for axis, (size, module, gap) in enumerate(zip(detector.shape, detector.module_shape, detector.gap, strict=True)):
        if module:
            in_gap = np.arange(size) % (module + gap) >= module
            mask[(in_gap, slice(None)) if axis == 0 else (slice(None), in_gap)] = GAP
    dead = np.random.default_rng(4).integers(0, rows * columns, round(detector.dead_fraction * rows * columns))
    mask.flat[dead] |= np.uint32(DEAD)
    return mask


def flatfield(detector: Simulated) -> Array:
    """float32 (rows, columns): what the detector has multiplied its counts with, within a few percent of 1."""
    rows, columns = detector.shape
    wave = np.sin(np.linspace(0, 9, rows))[:, None] * np.cos(np.linspace(0, 7, columns))
    return (1 + 0.03 * wave).astype(np.float32)


def expectation(detector: Simulated, progress: float = 0.0) -> Array:
    """float32 (rows, columns): mean counts of a frame; `progress` 0 ... 1 expands LaB6 and lets CeO2 grow."""
    x, y = detector.beam_center_px
    rows, columns = detector.shape
    radius = np.hypot((np.arange(rows, dtype=np.float32) - y + 0.5)[:, None], np.arange(columns) - x + 0.5)
    profile = np.arange(0.0, float(radius.max()) + 2, 0.25)
    two_theta = np.arctan(profile * detector.pixel_size_m / detector.distance_m)
    air = detector.background * (1 + 4 * np.exp(-two_theta / 0.06)) * np.cos(two_theta) ** 3
    rings = _rings(detector, LAB6_ANGSTROM * (1 + EXPANSION * progress), False, profile)
    grown = _rings(detector, CEO2_ANGSTROM, True, profile) * min(1.0, 1.2 * progress)
    table = (air + detector.counts * (rings * (1 - 0.5 * progress) + 0.6 * grown)).astype(np.float32)
    image: Array = table[np.rint(radius * 4).astype(np.int32)]
    return image


def _rings(detector: Simulated, lattice: float, face_centred: bool, profile: Array) -> Array:
    """Relative intensity over the radius in pixels of a cubic powder; the strongest ring has height 1."""
    found: dict[int, int] = {}
    for h in range(9):
        for k in range(h + 1):
            for m in range(k + 1):
                total = h * h + k * k + m * m
                if total and (not face_centred or len({h % 2, k % 2, m % 2}) == 1):
                    zeros, different = (h, k, m).count(0), len({h, k, m})
                    found[total] = found.get(total, 0) + (1, 3, 6)[different - 1] * 2 ** (3 - zeros)
    intensity = np.zeros_like(profile)
    for total, multiplicity in found.items():
        sine = detector.wavelength_angstrom * math.sqrt(total) / (2 * lattice)
        if sine >= 0.7:
            continue
        theta = math.asin(sine)
        centre = math.tan(2 * theta) * detector.distance_m / detector.pixel_size_m
        lorentz = (1 + math.cos(2 * theta) ** 2) / (math.sin(theta) ** 2 * math.cos(theta))
        intensity += (
            multiplicity
            * lorentz
            * math.exp(-4 * sine * sine)
            * np.exp(-0.5 * ((profile - centre) / RING_WIDTH_PX) ** 2)
        )
    peak: Array = intensity / intensity.max()
    return peak


def frames(
    detector: Simulated, count: int = 8, *, seed: int = 1, spots: int = 0, mask: Array | None = None
) -> Sequence[Mapping[str, Array]]:
    """`count` different frames, channel -> (rows, columns); flagged pixels hold the largest value of the data type.

    The channels are thresholds: each higher one counts 0.6 of the one below. `spots` Bragg spots lie elsewhere in every
    frame. Takes about 0.2 s per 4M channel.
    """
    return list(_frames(detector, count, seed, spots, mask))


def _frames(
    detector: Simulated, count: int, seed: int, spots: int, mask: Array | None
) -> Iterator[Mapping[str, Array]]:
    rng = np.random.Generator(np.random.SFC64(seed))
    flagged = np.iinfo(detector.dtype).max
    bad = (pixel_mask(detector) if mask is None else mask) != 0
    for number in range(count):
        mean = expectation(detector, number / max(1, count - 1))
        _add_spots(mean, spots, rng)
        frame = {}
        for order, channel in enumerate(detector.channels):
            image = np.minimum(rng.poisson(mean * np.float32(0.6**order)), flagged).astype(detector.dtype)
            image[bad] = flagged
            frame[channel] = image
        yield frame


def _add_spots(mean: Array, spots: int, rng: np.random.Generator) -> None:
    """Add Gaussian peaks (sigma 0.8 to 1.8 pixels, 30 to 3000 counts in all) to the mean counts, in place."""
    rows, columns = mean.shape
    reach = 6
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    for _ in range(spots):
        row, column = rng.uniform(reach, rows - reach - 1), rng.uniform(reach, columns - reach - 1)
        sigma, total = rng.uniform(0.8, 1.8), 10 ** rng.uniform(1.5, 3.5)
        top, left = round(row), round(column)
        distance = (y + top - row) ** 2 + (x + left - column) ** 2
        patch = mean[top - reach : top + reach + 1, left - reach : left + reach + 1]
        patch += total / (2 * math.pi * sigma**2) * np.exp(-0.5 * distance / sigma**2)


def pool(
    detector: Simulated, count: int = 8, *, seed: int = 1, spots: int = 0, mask: Array | None = None
) -> Sequence[Mapping[str, Payload]]:
    """`frames`, each packed once as the detector packs it (bslz4), ready to be sent again and again."""
    return [
        {
            channel: Payload(bslz4_compress(image), Encoding.BSLZ4, detector.shape, detector.dtype)
            for channel, image in frame.items()
        }
        for frame in _frames(detector, count, seed, spots, mask)
    ]


def brighter(detector: Simulated, factor: float) -> Simulated:
    """The same detector in a beam `factor` times as intense."""
    return replace(detector, counts=detector.counts * factor, background=detector.background * factor)
