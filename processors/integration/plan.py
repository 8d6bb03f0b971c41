"""Matrix and correction of one scan put together: what both engines, on the CPU and on OpenCL, work from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from processors.integration.matrix import Matrix
from processors.shared.correction import Correction
from processors.shared.engine import Engine
from stream.events import Array

ErrorModel = Literal["none", "poisson", "azimuthal", "azimuthal_exact"]
MODELS: Mapping[ErrorModel, int] = {"none": 0, "poisson": 1, "azimuthal_exact": 2, "azimuthal": 3}


Pattern: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Intensity and its standard error (None without an error model), both new arrays, float32 (bins,)."""
IntegrationEngine: TypeAlias = Engine[[float], Pattern]
"""Integrates a frame with a factor by which the norm of all its pixels is multiplied."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Only pixels that can ever count are left in it.

    bins, starts, coefs: as in `Matrix`, without the pixels that the correction's mask or a norm of 0 rules out.
    weights: float32 (pixels,), norm of each pixel: flat * polarization * solid angle.
    dark: float32 (pixels,), empty where there is none.
    low, high, dummy_low, dummy_high: which raw counts are valid, as in `Correction`; all finite, but for an empty
    interval of dummies.
    dark_variance: poisson errors add max(dark, 0), the variance of the dark's own counts, to max(raw, 1): pyFAI 2026.9
    does so in 2D without or with bbox splitting, and nowhere else.
    """

    n_bins: int
    bins: Array
    starts: NDArray[np.uint32]
    coefs: NDArray[np.float32]
    weights: NDArray[np.float32]
    dark: NDArray[np.float32]
    low: float
    high: float
    dummy_low: float
    dummy_high: float
    model: int
    empty: float
    dark_variance: bool = False

    @property
    def split(self) -> bool:
        """True if a pixel may belong to several bins."""
        return len(self.starts) > 0


def make_plan(
    matrix: Matrix, correction: Correction, model: ErrorModel, empty: float, dark_variance: bool = False
) -> Plan:
    """Put the two together; the arrays of the matrix are shared where nothing has to be taken out."""
    weights = matrix.factor
    if correction.flat is not None:
        weights = correction.flat.ravel() * weights
    usable = ~correction.mask.ravel() & np.isfinite(weights) & (weights != 0)
    bins, starts, coefs = matrix.bins, matrix.starts, matrix.coefs
    if matrix.split:
        counts = np.diff(starts)
        if (counts[~usable] > 0).any():
            keep = np.repeat(usable, counts)
            bins, coefs = bins[keep], coefs[keep]
            starts = np.concatenate(([0], np.cumsum(np.where(usable, counts, 0)))).astype(np.uint32)
    elif (bins[~usable] != matrix.n_bins).any():
        bins = np.where(usable, bins, bins.dtype.type(matrix.n_bins))
    largest = float(np.finfo(np.float64).max)
    return Plan(
        n_bins=matrix.n_bins,
        bins=bins,
        starts=starts,
        coefs=coefs,
        weights=weights,
        dark=np.empty(0, np.float32) if correction.dark is None else correction.dark.ravel(),
        low=max(correction.low, -largest),
        high=min(correction.high, largest),
        dummy_low=correction.dummy_low,
        dummy_high=correction.dummy_high,
        model=MODELS[model],
        empty=empty,
        dark_variance=dark_variance and correction.dark is not None,
    )


def whole_limits(plan: Plan, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """The smallest and largest valid count, where counts are whole, of at most 32 bits and never negative, and all
    between the two are valid; else None."""
    if dtype.kind not in "iu" or dtype.itemsize > 4 or plan.low < 0:
        return None
    if plan.dummy_low <= plan.dummy_high and plan.dummy_high >= plan.low and plan.dummy_low <= plan.high:
        return None
    low, high = int(np.ceil(plan.low)), int(min(plan.high, np.iinfo(dtype).max))
    return (low, high) if low <= high else None


def packing(plan: Plan, dtype: np.dtype[Any], pixels: int) -> tuple[int, int, int]:
    """low, span and shift of `scatter.tally`; shift 0 if the sums cannot be made as whole numbers.

    They can where counts are (see `whole_limits`), and the largest sum of a bin leaves room for its zeros. pixels: of
    the largest bin.
    """
    limits = whole_limits(plan, dtype)
    if limits is None or plan.split or plan.model > 1:
        return 0, 0, 0
    low, high = limits
    shift = max(1, (max(high, 0) * max(pixels, 1)).bit_length())
    return (low, high - low, shift) if shift + pixels.bit_length() <= 64 else (0, 0, 0)
