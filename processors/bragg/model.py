"""What the engines share: how to clip and pick, and what comes out of one frame."""

from dataclasses import dataclass
from typing import TypeAlias

from processors.shared.engine import Engine
from stream.events import Array


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of pyFAI's sparsify, under their own names. `cutoff_peak` 0: no peak finding.

    limits: raw counts are valid from limits[0] to limits[1], but not from limits[2] to limits[3] (`dummy`).
    empty: mean and deviation of a bin without any valid pixel.
    """

    error_model: str
    cutoff_clip: float
    cycle: int
    noise: float
    cutoff_pick: float
    cutoff_peak: float
    patch_size: int
    connected: int
    limits: tuple[float, float, float, float]
    empty: float


@dataclass(frozen=True, slots=True)
class Sparse:
    """One frame without its background.

    mean, deviation: float32 (bins,). index: uint32 (picked,), ascending flat indices. intensity: (picked,), counts
    minus dark, in the integer type of the frame. Peaks, by ascending index: peak_index uint32, the others float32
    (peaks,): pos0 and pos1 in pixels (row, column; integer at a pixel's centre), intensity and sigma in counts.
    """

    mean: Array
    deviation: Array
    index: Array
    intensity: Array
    peak_index: Array
    pos0: Array
    pos1: Array
    peak_intensity: Array
    sigma: Array


SparsifyEngine: TypeAlias = Engine[[], Sparse]
"""Sparsifies a frame."""
