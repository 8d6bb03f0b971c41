"""One slice by name of engine and algorithm: our own, and tomopy's and ASTRA's where these are installed.

Neither is a dependency: tomopy is not on PyPI, ASTRA is under the GPL. What they give has the place and the values of
our own slices.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np

from processors.tomography import backprojection, gridding, iterative, peers
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


def check(engine: Engine, algorithm: str) -> None:
    """Raises ConfigError for one that is not known, or not installed."""
    if algorithm not in ALGORITHMS[engine]:
        known = ", ".join(ALGORITHMS[engine])
        raise ConfigError([("algorithm", f"{engine} has no {algorithm!r}: take one of {known}")])
    if engine != "inbeam":
        peers.imported(engine)


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
    if engine != "inbeam":
        work = peers.by_tomopy if engine == "tomopy" else peers.by_astra
        found = work(values, angles, centre, peers.Wanted(algorithm, iterations, wide, window, weights))
    elif algorithm == "gridrec":
        found = gridding.fbp(values, angles, centre=centre, size=wide, window=window, weights=weights)
    elif algorithm == "fbp":
        found = backprojection.fbp(values, angles, centre=centre, size=wide, window=window, weights=weights)
    elif algorithm == "sirt":
        found = iterative.sirt(values, angles, centre=centre, size=wide, iterations=iterations)
    else:
        found = iterative.cgls(values, angles, centre=centre, size=wide, iterations=iterations)
    return np.asarray(found, np.float32)
