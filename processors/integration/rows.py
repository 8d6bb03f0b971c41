"""Which share of which pixel goes into which bin, bin by bin: pyFAI's own splitting code, asked as `integrate1d` and
`integrate2d` (method csr) ask it, on azimuths that have been put in order before (see `azimuth`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from processors.integration.azimuth import around_the_beam, side_by_side, turned_into
from processors.integration.request import Request
from stream.events import Array

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

HALF_CIRCLE = float(np.float32(np.pi))
"""To which pyFAI clips the azimuths of a whole circle."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A sparse matrix, bins in rows (2D: radial major). Bin centres: SI units, rad; azimuthal is empty for 1D."""

    data: Array
    indices: Array
    indptr: Array
    radial: NDArray[np.float64]
    azimuthal: NDArray[np.float64]


def rows_of_bins(integrator: "AzimuthalIntegrator", request: Request, mask: Array) -> Rows:
    """mask: int8 (rows, columns), nonzero = bad. Raises what pyFAI raises."""
    from pyFAI.units import to_unit

    unit = to_unit(request.unit)
    radial_range, sector = request.radial_range, request.azimuth_range
    limits = None if radial_range is None else (radial_range[0] / unit.scale, radial_range[1] / unit.scale)
    radians = None if sector is None else (sector[0] / 180 * np.pi, sector[1] / 180 * np.pi)
    made = _full if request.splitting == "full" else _boxes
    found: Rows = made(integrator, request, mask.ravel(), unit, limits, radians)
    return found


def _boxes(
    integrator: "AzimuthalIntegrator",
    request: Request,
    mask: Array,
    unit: Any,
    limits: tuple[float, float] | None,
    sector: tuple[float, float] | None,
) -> Rows:
    """No splitting, or by bounding boxes: centre and half width of every pixel."""
    from pyFAI.ext.splitBBoxCSR import HistoBBox1d, HistoBBox2d
    from pyFAI.units import CHI_DEG

    def array(kind: str, of: Any) -> Array | None:
        if kind == "delta" and request.splitting == "no":
            return None
        return np.asarray(integrator.array_from_unit(request.shape, kind, of, scale=False), np.float64).ravel()

    radius, radius_width = array("center", unit), array("delta", unit)
    if request.sharp and limits is not None:
        assert radius is not None
        mask = mask | (radius + (0.0 if radius_width is None else radius_width) < limits[0])
    common = {"mask_checksum": 0, "allow_pos0_neg": not unit.positive, "unit": unit, "empty": 0.0}
    chi = chi_width = None
    if sector is not None or request.npt_azimuthal:
        chi, chi_width = array("center", CHI_DEG), array("delta", CHI_DEG)
    if sector is not None:
        assert radius is not None and chi is not None
        limits = limits or _extent(unit, mask, radius, radius, radius_width)
        width = 0.0 if chi_width is None else chi_width
        turn, touched = turned_into(sector, chi - width, chi + width)
        chi, mask = chi + turn, mask | ~touched
    if not request.npt_azimuthal:
        sparse = HistoBBox1d(radius, radius_width, bins=request.npt, pos0_range=limits, mask=mask, **common)
        return Rows(sparse.data, sparse.indices, sparse.indptr, sparse.bin_centers, np.empty(0))
    common["unit"] = (unit, CHI_DEG)
    bins = (request.npt, request.npt_azimuthal)
    sparse = HistoBBox2d(
        radius, radius_width, chi, chi_width, bins=bins, pos0_range=limits, pos1_range=sector, mask=mask, **common
    )
    return Rows(sparse.data, sparse.indices, sparse.indptr, sparse.bin_centers0, sparse.bin_centers1)


def _full(
    integrator: "AzimuthalIntegrator",
    request: Request,
    mask: Array,
    unit: Any,
    limits: tuple[float, float] | None,
    sector: tuple[float, float] | None,
) -> Rows:
    """Full splitting: the four corners of every pixel."""
    from pyFAI.ext.splitPixelFullCSR import FullSplitCSR_1d
    from pyFAI.units import CHI_DEG

    corners = integrator.array_from_unit(request.shape, "corner", (unit, CHI_DEG), scale=False)
    corners = np.array(corners, np.float64).reshape(-1, 4, 2)
    raw = corners[..., 1][mask == 0]
    corners[..., 1] = side_by_side(corners[..., 1], -np.pi)
    low, high = corners[..., 1].min(axis=1), corners[..., 1].max(axis=1)
    if sector is not None:
        radius = corners[..., 0]
        limits = limits or _extent(unit, mask, radius.min(axis=1), radius.max(axis=1), None)
        turn, touched = turned_into(sector, low, high)
        mask = mask | ~(touched | around_the_beam(corners[..., 1]))
        if request.npt_azimuthal:
            corners[..., 1] += turn[:, np.newaxis]
    if request.npt_azimuthal:
        return _full_cake(corners, request, mask, unit, limits, sector or _around(raw))
    across = (low < 0) & (high >= 0)  # of these alone pyFAI might turn single corners; only differences matter in 1D
    corners[across, :, 1] -= low[across, np.newaxis]
    sparse = FullSplitCSR_1d(
        corners,
        bins=request.npt,
        pos0_range=limits,
        mask=mask,
        mask_checksum=0,
        allow_pos0_neg=not unit.positive,
        unit=unit,
        empty=0.0,
    )
    return Rows(sparse.data, sparse.indices, sparse.indptr, sparse.bin_centers, np.empty(0))


def _full_cake(
    corners: Array,
    request: Request,
    mask: Array,
    unit: Any,
    limits: tuple[float, float] | None,
    sector: tuple[float, float],
) -> Rows:
    """With a copy of the first usable pixel before all others, which is then taken out again: pyFAI 2026.9 reads the
    azimuthal extent of the first pixel it comes to from uninitialised memory, so that its shares differ from process
    to process.
    """
    from pyFAI.ext.splitPixelFullCSR import FullSplitCSR_2d
    from pyFAI.units import CHI_DEG

    usable = np.flatnonzero(mask == 0)
    first = usable[0] if usable.size else 0
    sparse = FullSplitCSR_2d(
        np.concatenate((corners[first : first + 1], corners)),
        bins=(request.npt, request.npt_azimuthal),
        pos0_range=limits,
        pos1_range=sector,
        mask=np.concatenate((mask[first : first + 1], mask)),
        mask_checksum=0,
        allow_pos0_neg=not unit.positive,
        unit=(unit, CHI_DEG),
        empty=0.0,
        pos1_period=0.0,  # the corners lie side by side already
    )
    real = sparse.indices > 0
    row = np.repeat(np.arange(len(sparse.indptr) - 1), np.diff(sparse.indptr))[real]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(sparse.indptr) - 1))))
    return Rows(sparse.data[real], sparse.indices[real] - 1, indptr, sparse.bin_centers0, sparse.bin_centers1)


def _extent(unit: Any, mask: Array, low: Array, high: Array, width: Array | None) -> tuple[float, float] | None:
    """Range of the radial bins where none is asked for: that of all pixels, whether the sector touches them or not."""
    usable = mask == 0
    if not usable.any():
        return None
    reach = 0.0 if width is None else width[usable]
    ends = float((low[usable] - reach).min()), float((high[usable] + reach).max())
    return (max(0.0, ends[0]), max(0.0, ends[1])) if unit.positive else ends


def _around(raw: Array) -> tuple[float, float]:
    """Range of the azimuthal bins where none is asked for: that of all corners, within the circle."""
    if not raw.size:
        return -HALF_CIRCLE, HALF_CIRCLE
    return max(float(raw.min()), -HALF_CIRCLE), min(float(raw.max()), HALF_CIRCLE)
