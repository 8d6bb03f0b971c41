"""Slices by tomopy and by ASTRA, with the place and the values of our own.

Both weigh all angles alike, so that in filtered back-projection a projection is multiplied by its true weight first.

tomopy has its peculiarities, which are met here (its sources at 2c94ed1): its iterative algorithms and `fbp` count the
axis from the outer edge of the first column, not from its middle; its rows run upwards; its `fbp` does not filter; its
gridrec neither pads a projection nor keeps its mean, which takes away a third of a phantom of 128 columns, and has its
axis between two pixels. So projections are padded and filtered here, with the windows of our own, and the mean that
gridrec leaves out is added: it is the same all over the slice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from processors.tomography import filters
from processors.tomography.angles import weights_of
from processors.tomography.filters import Window
from stream.errors import ConfigError
from stream.events import Array

DIRECT = ("gridrec", "fbp", "FBP", "FBP_CUDA")
"""Algorithms without rounds."""
OF_COUNTS = ("mlem", "osem", "ospml_hybrid", "ospml_quad", "pml_hybrid", "pml_quad")
"""tomopy's that are defined for what is not negative: noise below 0 counts as 0."""
ASTRA_WINDOWS: Mapping[Window, str] = {
    "ramp": "ram-lak",
    "shepp-logan": "shepp-logan",
    "cosine": "cosine",
    "hamming": "hamming",
    "hann": "hann",
}
SOME_ANGLES = 90


@dataclass(frozen=True, slots=True)
class Wanted:
    """size: of the slice, pixels; weights: what each projection stands for, radian, None: by the angles."""

    algorithm: str
    iterations: int
    size: int
    window: Window
    weights: Array | None

    def shares(self, angles: Array) -> Array:
        """The weights, float64 (angles,)."""
        return weights_of(angles) if self.weights is None else np.asarray(self.weights)


def imported(engine: Literal["tomopy", "astra"]) -> Any:
    """The package. Raises ConfigError where it is not installed."""
    try:
        if engine == "tomopy":
            import tomopy

            return tomopy
        import astra
    except ImportError as error:
        how = "conda install -c conda-forge tomopy" if engine == "tomopy" else "pip install astra-toolbox"
        raise ConfigError([("tool", f"{engine} is not installed ({how}): {error}")]) from error
    return astra


def by_tomopy(sinogram: Array, angles: Array, centre: float, wanted: Wanted) -> Array:
    """sinogram float32 (angles, columns), angles in degrees -> float32 (size, size)."""
    share, algorithm, size = wanted.shares(angles), wanted.algorithm, wanted.size
    radian, recon = np.deg2rad(angles), partial(_recon, radian=np.deg2rad(angles), algorithm=algorithm)
    if algorithm == "gridrec":
        return _gridrec(sinogram, radian, centre, size, wanted.window, share)
    if algorithm == "fbp":
        ready = filters.filtered(sinogram, filters.response(sinogram.shape[1], wanted.window)) * share[:, None]
        return recon(ready, centre=centre + 0.5, size=size)
    values = np.maximum(sinogram, 0) if algorithm in OF_COUNTS else sinogram
    return recon(values, centre=centre + 0.5, size=size, num_iter=wanted.iterations)


def _recon(sinogram: Array, radian: Array, centre: float, size: int, algorithm: str, **more: Any) -> Array:
    """tomopy's; rows run downwards."""
    values = np.ascontiguousarray(sinogram[None], np.float32)
    found = imported("tomopy").recon(
        values, radian, center=centre, sinogram_order=True, algorithm=algorithm, num_gridx=size, num_gridy=size,
        ncore=1, **more,
    )  # fmt: skip
    return np.asarray(found)[0, ::-1]


def _gridrec(sinogram: Array, radian: Array, centre: float, size: int, window: Window, share: Array) -> Array:
    columns, count = sinogram.shape[1], len(radian)
    length = 1 << int(np.ceil(np.log2(2 * max(columns, size))))
    first = (length - columns) // 2
    spectrum = np.fft.rfft(np.pad(sinogram, ((0, 0), (first, length - columns - first))), axis=1)
    spectrum *= filters.response(length // 2, window) * (share * count / np.pi)[:, None]
    spectrum *= np.exp(-2j * np.pi * _off(radian, size)[:, None] * np.fft.rfftfreq(length))
    found = _gridded(np.fft.irfft(spectrum, length, axis=1), radian, centre + first, size)
    scale = _scale_of_gridrec(length, size)
    return np.asarray(found / np.outer(scale, scale))


def _gridded(filtered: Array, radian: Array, centre: float, size: int) -> Array:
    """Filtered projections on 2^n columns -> (size, size), with the mean that gridrec leaves out."""
    odd = size % 2
    found = _recon(2 * filtered, radian, centre, size + odd, "gridrec", filter_name="none")
    return found[odd:, odd:] + np.float32(np.pi * filtered.mean())


def _off(radian: Array, size: int) -> Array:
    """Columns by which projections have to be shifted: the axis is at number size / 2 of an even number of pixels,
    and has to be half a pixel before it."""
    return -0.5 * (np.cos(radian) + np.sin(radian)) if size % 2 == 0 else np.zeros(len(radian))


@cache
def _scale_of_gridrec(length: int, size: int) -> Array:
    """float64 (size,): by how much its slices are too large along one side, by what it makes of a Gaussian, whose
    filtered projection is known (Dawson's integral)."""
    from scipy.special import dawsn

    sigma, radian = size / 5, np.arange(SOME_ANGLES) * np.pi / SOME_ANGLES
    place = (np.arange(length) - length // 2 - _off(radian, size)[:, None]) / (np.sqrt(2) * sigma)
    found = _gridded((1 - 2 * place * dawsn(place)) / np.pi, radian, length // 2, size)
    pixels = np.arange(size) - (size - 1) / 2
    ratio = found[size // 2] / np.exp(-(pixels**2 + pixels[size // 2] ** 2) / (2 * sigma**2))
    return np.asarray(ratio / np.sqrt(ratio[size // 2]))


def by_astra(sinogram: Array, angles: Array, centre: float, wanted: Wanted) -> Array:
    """sinogram float32 (angles, columns), angles in degrees -> float32 (size, size). ASTRA's y runs upwards, ours
    downwards with the rows."""
    astra = imported("astra")
    columns, radian, algorithm = sinogram.shape[1], np.deg2rad(angles), wanted.algorithm
    volume = astra.create_vol_geom(wanted.size, wanted.size)
    if algorithm in DIRECT:  # which take no axis beside the middle
        weighted = sinogram * (wanted.shares(angles) * len(angles) / np.pi)[:, None]
        sinogram = np.ascontiguousarray(_in_the_middle(weighted, centre))
        geometry = astra.create_proj_geom("parallel", 1.0, sinogram.shape[1], -radian)
    else:
        along = np.stack([np.cos(radian), -np.sin(radian)], axis=1)
        ray = np.stack([np.sin(radian), np.cos(radian)], axis=1)
        middle = ((columns - 1) / 2 - centre) * along
        geometry = astra.create_proj_geom("parallel_vec", columns, np.concatenate([ray, middle, along], axis=1))
    cuda = algorithm.endswith("_CUDA")
    projector = astra.create_projector("cuda" if cuda else "linear", geometry, volume)
    data = astra.data2d.create("-sino", geometry, sinogram)
    into = astra.data2d.create("-vol", volume)
    try:
        options = astra.astra_dict(algorithm)
        options |= {"ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": into}
        if algorithm in DIRECT:
            options["option"] = {"FilterType": ASTRA_WINDOWS[wanted.window]}
        made = astra.algorithm.create(options)
        astra.algorithm.run(made, 1 if algorithm in DIRECT else wanted.iterations)
        found = np.array(astra.data2d.get(into))
        astra.algorithm.delete(made)
    finally:
        astra.data2d.delete([data, into])
        astra.projector.delete(projector)
    return found


def _in_the_middle(sinogram: Array, centre: float) -> Array:
    """Wider by what the axis is off the middle, which is there then; by the Fourier series of each projection."""
    columns = sinogram.shape[1]
    more = int(np.ceil(2 * abs((columns - 1) / 2 - centre))) + 1
    wide = np.pad(sinogram, ((0, 0), (more, more)), mode="edge")
    shift = (columns - 1) / 2 - centre
    turned = np.fft.rfft(wide, axis=1) * np.exp(-2j * np.pi * np.fft.rfftfreq(wide.shape[1]) * shift)
    return np.fft.irfft(turned, wide.shape[1], axis=1).astype(np.float32)
