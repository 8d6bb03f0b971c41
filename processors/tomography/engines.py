"""One slice by name of engine and algorithm: our own, and tomopy's and ASTRA's where these are installed.

Neither is a dependency: tomopy is not on PyPI, ASTRA is under the GPL. What they give has the place and the values of
our own slices.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from processors.tomography import backprojection, gridding, iterative
from processors.tomography.angles import weights_of
from processors.tomography.filters import Window
from stream.errors import ConfigError
from stream.events import Array

Engine: TypeAlias = Literal["inbeam", "tomopy", "astra"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
ALGORITHMS: Mapping[Engine, tuple[str, ...]] = {
    "inbeam": ("gridrec", "fbp", "sirt", "cgls"),
    "tomopy": (
        "gridrec", "sirt", "art", "bart", "fbp", "mlem", "osem", "ospml_hybrid", "ospml_quad", "pml_hybrid", "pml_quad",
    ),
    "astra": ("FBP", "SIRT", "CGLS", "FBP_CUDA", "SIRT_CUDA", "CGLS_CUDA"),
}  # fmt: skip
"""The first one is the default."""
DIRECT = ("gridrec", "fbp", "FBP", "FBP_CUDA")
"""Algorithms without rounds."""


def check(engine: Engine, algorithm: str) -> None:
    """Raises ConfigError for one that is not known, or not installed."""
    if algorithm not in ALGORITHMS[engine]:
        known = ", ".join(ALGORITHMS[engine])
        raise ConfigError([("algorithm", f"{engine} has no {algorithm!r}: take one of {known}")])
    if engine != "inbeam":
        _imported(engine)


def slice_of(
    sinogram: Array,
    angles_deg: Array,
    centre: float,
    *,
    engine: Engine = "inbeam",
    algorithm: str = "gridrec",
    iterations: int = 50,
    window: Window = "ramp",
    size: int | None = None,
    weights: Array | None = None,
) -> Array:
    """sinogram (angles, columns), finite -> float32 (size, size), per column. Raises ConfigError."""
    check(engine, algorithm)
    values, angles = np.asarray(sinogram, np.float32), np.asarray(angles_deg, np.float64)
    wide = values.shape[1] if size is None else size
    if engine == "tomopy":
        found = _tomopy(values, angles, centre, algorithm, iterations)
    elif engine == "astra":
        found = _astra(values, angles, centre, algorithm, iterations, wide)
    elif algorithm == "gridrec":
        found = gridding.fbp(values, angles, centre=centre, size=wide, window=window, weights=weights)
    elif algorithm == "fbp":
        found = backprojection.fbp(values, angles, centre=centre, size=wide, window=window, weights=weights)
    elif algorithm == "sirt":
        found = iterative.sirt(values, angles, centre=centre, size=wide, iterations=iterations)
    else:
        found = iterative.cgls(values, angles, centre=centre, size=wide, iterations=iterations)
    return np.asarray(found, np.float32)


def _imported(engine: Engine) -> Any:
    try:
        if engine == "tomopy":
            import tomopy

            return tomopy
        import astra
    except ImportError as error:
        how = "conda install -c conda-forge tomopy" if engine == "tomopy" else "pip install astra-toolbox"
        raise ConfigError([("tool", f"{engine} is not installed ({how}): {error}")]) from error
    return astra


def _tomopy(sinogram: Array, angles: Array, centre: float, algorithm: str, iterations: int) -> Array:
    tomopy = _imported("tomopy")
    _even(angles, "tomopy")
    rounds = {} if algorithm in DIRECT else {"num_iter": iterations}
    found = tomopy.recon(
        sinogram[:, None, :], np.deg2rad(angles), center=centre, sinogram_order=False, algorithm=algorithm, **rounds
    )[0]
    return np.asarray(found)[::-1]  # its rows run upwards


def _astra(sinogram: Array, angles: Array, centre: float, algorithm: str, iterations: int, size: int) -> Array:
    """ASTRA's y runs upwards, ours downwards with the rows."""
    astra = _imported("astra")
    columns, radian = sinogram.shape[1], np.deg2rad(angles)
    volume = astra.create_vol_geom(size, size)
    if algorithm in DIRECT:  # which take no axis beside the middle
        _even(angles, "astra")
        sinogram = np.ascontiguousarray(_in_the_middle(sinogram, centre))
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
        made = astra.algorithm.create(options)
        astra.algorithm.run(made, 1 if algorithm in DIRECT else iterations)
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


def _even(angles: Array, engine: str) -> None:
    """Theirs weigh every angle alike."""
    weights = weights_of(angles)
    if weights.min() < 0.9 * weights.max():
        text = f"{engine} weighs all angles alike, but these are not evenly spread: take inbeam, or an iterative one"
        raise ConfigError([("tool", text)])
