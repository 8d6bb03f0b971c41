"""Slices by tomopy and ASTRA have the place and the values of our own, where these are installed.

tomopy is not on PyPI. From its sources it takes a C compiler and FFTW: cmake -DTOMOPY_USE_MKL=OFF, then its `source`
and PyWavelets on PYTHONPATH and its `lib` on LD_LIBRARY_PATH.
"""

import numpy as np
import pytest
from phantoms import sinogram

from processors.tomography import engines
from processors.tomography.angles import weights_of
from processors.tomography.backprojection import seen
from processors.tomography.engines import ALGORITHMS, Engine
from processors.tomography.peers import OF_COUNTS

STRENGTH = 0.03
ITERATIVE = [each for each in ALGORITHMS["tomopy"] if each not in ("gridrec", "fbp")]


def off(
    size: int, centre: float, angles: np.ndarray, ours: str, engine: Engine, algorithm: str, **more: object
) -> float:
    """Root mean square of the difference from our own slice, of its largest value."""
    pytest.importorskip(engine)
    lines = STRENGTH * sinogram(size, angles, centre, size)
    window = {"window": more["window"]} if "window" in more else {}
    wanted = engines.slice_of(lines, angles, centre, algorithm=ours, **window)  # type: ignore[arg-type]
    found = engines.slice_of(lines, angles, centre, engine=engine, algorithm=algorithm, **more)  # type: ignore[arg-type]
    inside = seen(size, size, centre)
    assert found[inside].mean() == pytest.approx(wanted[inside].mean(), rel=0.02)
    return float(np.sqrt(np.mean((found - wanted)[inside] ** 2)) / wanted[inside].max())


@pytest.mark.filterwarnings("ignore")  # of tomopy's own imports
@pytest.mark.parametrize(("size", "centre"), [(64, 31.5), (64, 28.8), (65, 32.0), (65, 35.3)])
@pytest.mark.parametrize("window", ["ramp", "hann"])
@pytest.mark.parametrize(
    ("engine", "algorithm", "ours", "most"),
    [("tomopy", "gridrec", "gridrec", 0.012), ("tomopy", "fbp", "fbp", 0.02), ("astra", "FBP", "fbp", 0.02)],
)
def test_filtered_back_projections_of_others_lie_where_ours_do_and_have_their_values(
    engine: Engine, algorithm: str, ours: str, most: float, size: int, centre: float, window: str
) -> None:
    angles = np.arange(90) * 2.0
    assert off(size, centre, angles, ours, engine, algorithm, window=window) < most


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("engine", "algorithm"), [("tomopy", "gridrec"), ("tomopy", "fbp"), ("astra", "FBP")])
def test_others_weigh_every_projection_by_what_it_stands_for(engine: Engine, algorithm: str) -> None:
    angles = np.mod(np.arange(101) * 111.246117975, 360)
    weights = weights_of(angles)
    assert weights.max() > 1.5 * weights.min()
    ours = "gridrec" if algorithm == "gridrec" else "fbp"
    assert off(64, 30.2, angles, ours, engine, algorithm) < 0.03


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("centre", [31.5, 28.8])
@pytest.mark.parametrize("algorithm", ITERATIVE)
def test_tomopys_iterative_algorithms_lie_where_ours_do_and_have_their_values(algorithm: str, centre: float) -> None:
    assert off(64, centre, np.arange(90) * 2.0, "gridrec", "tomopy", algorithm, iterations=50) < 0.05


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", OF_COUNTS)
def test_noise_below_nothing_is_no_absorption_where_an_algorithm_knows_none(algorithm: str) -> None:
    pytest.importorskip("tomopy")
    angles = np.arange(60) * 3.0
    lines = STRENGTH * sinogram(48, angles, 23.5, 48)
    noisy = lines + np.random.default_rng(0).normal(0, 0.02 * lines.max(), lines.shape)
    found = engines.slice_of(noisy, angles, 23.5, engine="tomopy", algorithm=algorithm, iterations=10)
    assert np.isfinite(found).all() and found.min() >= 0
