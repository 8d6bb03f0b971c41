"""pyFAI's geometry, turned into what the kernels need: which bin every pixel belongs to, and its norm.

The rows of pyFAI's matrix are turned from bin by bin to pixel by pixel, because one pass over the pixels in their own
order is ten times faster than gathering them (15 against 1.6 ms for 4.5 Mpixel).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from processors.integration.request import Request
from processors.integration.rows import rows_of_bins
from processors.shared import cache
from processors.shared.correction import Mask
from processors.shared.geometry import files_of
from processors.shared.poni import load
from stream.errors import ConfigError
from stream.events import Array
from stream.versions import version

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

FORMAT = 5
"""Counted up when the kept arrays change their meaning."""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Which share of which pixel goes into which bin.

    bins: uint16 or uint32. Without splitting (pixels,), the bin of each pixel, `n_bins` for none. With splitting
    (entries,), where those of pixel i are starts[i]:starts[i + 1]. A bin of 2D is azimuthal * npt + radial.
    starts: uint32 (pixels + 1,), empty without splitting. coefs: float32 (entries,), empty without splitting.
    factor: float32 (pixels,), relative solid angle times polarization factor, by which the norm is multiplied.
    radial, azimuthal: float64 bin centres in the unit, in degrees; azimuthal is empty for 1D.
    """

    bins: Array
    starts: NDArray[np.uint32]
    coefs: NDArray[np.float32]
    factor: NDArray[np.float32]
    radial: NDArray[np.float64]
    azimuthal: NDArray[np.float64]

    @property
    def n_bins(self) -> int:
        """Number of bins, radial times azimuthal."""
        return len(self.radial) * max(1, len(self.azimuthal))

    @property
    def split(self) -> bool:
        """True if a pixel may belong to several bins."""
        return len(self.starts) > 0


def matrix_for(request: Request, mask: Mask) -> Matrix:
    """The matrix of a request and a mask (rows, columns), True = bad: from the disk, or made by pyFAI the first time.

    Raises ConfigError where pyFAI cannot make sense of the geometry.
    """
    parameters = {**_parameters(request), "pyFAI": version("pyFAI"), "format": FORMAT}
    rows, columns = request.shape
    bins = f"{request.npt} x {request.npt_azimuthal}" if request.npt_azimuthal else f"{request.npt}"
    announce = f"the matrix of {rows} x {columns} pixels and {bins} bins, splitting {request.splitting}"
    key = cache.key_of(parameters, mask)
    return Matrix(**cache.prepared(key, lambda: _make(request, mask), announce))


def edges(centers: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The edges (n + 1,) of equally wide bins; None for a single one, whose width its centre does not tell."""
    if len(centers) < 2:
        return None
    half = (centers[-1] - centers[0]) / (len(centers) - 1) / 2
    found: NDArray[np.float64] = np.linspace(centers[0] - half, centers[-1] + half, len(centers) + 1)
    return found


def _parameters(request: Request) -> Mapping[str, Any]:
    plain = {name: getattr(request, name) for name in Request.__dataclass_fields__ if name != "geometry"}
    return {**plain, "poni": request.geometry.essence, "files": files_of(request.geometry)}


def _make(request: Request, mask: Mask) -> dict[str, Array]:
    """Everything that needs pyFAI, which is imported here and nowhere else."""
    from pyFAI.units import CHI_DEG, to_unit

    integrator = _integrator(request)
    everything = mask.astype(np.int8)
    own = integrator.detector.mask
    if own is not None and own.shape == request.shape:
        everything |= (own != 0).astype(np.int8)
    try:
        rows = rows_of_bins(integrator, request, everything)
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError, IndexError) as error:
        raise ConfigError([("integrate", f"pyFAI cannot make the bins: {error}; check geometry and ranges")]) from error
    return {
        **_by_pixel(rows.data, rows.indices, rows.indptr, request),
        "factor": _factor(integrator, request),
        "radial": np.ascontiguousarray(rows.radial * to_unit(request.unit).scale, np.float64),
        "azimuthal": np.ascontiguousarray(rows.azimuthal * CHI_DEG.scale, np.float64),
    }


def _integrator(request: Request) -> "AzimuthalIntegrator":
    origin = request.geometry.origin.get("geometry", "of the header")
    return load("integrate.poni", origin, request.geometry.poni, request.shape)


def _factor(integrator: "AzimuthalIntegrator", request: Request) -> Array:
    factor = np.ones(request.shape, np.float32)
    if request.polarization is not None:
        factor *= integrator.polarization(request.shape, request.polarization).astype(np.float32)
    if request.solid_angle:
        factor *= integrator.solidAngleArray(request.shape, True).astype(np.float32)
    return factor.ravel()


def _by_pixel(data: Array, indices: Array, indptr: Array, request: Request) -> dict[str, Array]:
    """From pyFAI's rows of bins (CSR; 2D: radial major) to rows of pixels, our 2D order being azimuthal major."""
    pixels = request.shape[0] * request.shape[1]
    radial, azimuthal = request.npt, request.npt_azimuthal or 1
    n_bins = radial * azimuthal
    row = np.repeat(np.arange(n_bins), np.diff(indptr))
    row = (row % azimuthal) * radial + row // azimuthal
    small = np.uint16 if n_bins < 2**16 - 1 else np.uint32
    if request.splitting == "no":
        bins = np.full(pixels, n_bins, small)
        used = data != 0
        bins[indices[used]] = row[used]
        return {"bins": bins, "starts": np.empty(0, np.uint32), "coefs": np.empty(0, np.float32)}
    used = data != 0
    order = np.argsort(indices[used], kind="stable")
    counts = np.bincount(indices[used], minlength=pixels)
    return {
        "bins": row[used][order].astype(small),
        "starts": np.concatenate(([0], np.cumsum(counts))).astype(np.uint32),
        "coefs": np.ascontiguousarray(data[used][order], np.float32),
    }
