"""The integration kernels alone, side by side with a bare pass over the pixels and with pyFAI, on one decoded frame.

    python bench/integrate.py [--repeat 15] [--device opencl]

EIGER2 4M: 2162 x 2068 uint32, rings on a background, gaps flagged; 1000 bins, solid angle, polarization. One thread for
ours and the bare pass; pyFAI (csr, cython) uses the threads it wants. Minimum and median of the repetitions, ms.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from processors.integration.cpu import CpuEngine
from processors.integration.matrix import matrix_for
from processors.integration.opencl import OpenClEngine
from processors.integration.plan import make_plan
from processors.integration.request import Request
from processors.shared.correction import Correction
from processors.shared.device import choose
from processors.shared.geometry import from_header
from stream.events import Detector

SHAPE = (2162, 2068)
HEADER = Detector(
    pixel_size_x_m=75e-6,
    pixel_size_y_m=75e-6,
    beam_center_x_px=1020.7,
    beam_center_y_px=1050.3,
    distance_m=0.2,
    wavelength_angstrom=1.0,
)


@numba.njit(nogil=True)
def bare_pass(raw: Any, bins: Any, sums: Any) -> None:
    """The least that one pass can do: one addition per pixel, float64."""
    for i in range(raw.size):
        sums[bins[i]] += raw[i]


def frame() -> tuple[np.ndarray, np.ndarray]:
    """A frame, and the mask of its gaps."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(y - HEADER.beam_center_y_px, x - HEADER.beam_center_x_px)
    image = rng.poisson(2 + 100 * np.exp(-(((radius % 150 - 75) / 5) ** 2))).astype(np.uint32)
    gaps = np.zeros(SHAPE, bool)
    gaps[512::550] = gaps[:, 1030:1042] = True
    for offset in range(38):
        gaps[512 + offset :: 550] = True
    image[gaps] = np.iinfo(np.uint32).max
    return image, gaps


def timed(function: Callable[[], Any], repeat: int) -> tuple[float, float]:
    """Minimum and median in ms."""
    function()
    took = []
    for _ in range(repeat):
        began = time.perf_counter()
        function()
        took.append((time.perf_counter() - began) * 1e3)
    return min(took), statistics.median(took)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument(
        "--device", default="cpu", help="as the option of integrate; adds a column for an OpenCL device"
    )
    options = parser.parse_args()
    import pyFAI.detectors
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    image, gaps = frame()
    device = choose(options.device)
    geometry = from_header({}, HEADER, SHAPE)
    correction = Correction(SHAPE, gaps, low=0.0, high=2.0**32 - 2)
    integrator = AzimuthalIntegrator(
        dist=HEADER.distance_m,
        poni1=HEADER.beam_center_y_px * 75e-6,
        poni2=HEADER.beam_center_x_px * 75e-6,
        detector=pyFAI.detectors.Detector(75e-6, 75e-6, max_shape=SHAPE),
        wavelength=1e-10,
    )
    print(f"{'':34}{'min':>9}{'median':>9}   ms per frame of {SHAPE[0]} x {SHAPE[1]} uint32")
    for splitting in ("no", "bbox", "full"):
        request = Request(geometry, SHAPE, "q_nm^-1", 1000, splitting=splitting, polarization=0.99)
        matrix = matrix_for(request, gaps)
        if splitting == "no":
            sums, flat = np.zeros(matrix.n_bins + 1), image.ravel()
            show(
                "bare pass, one thread", timed(lambda s=sums, f=flat, b=matrix.bins: bare_pass(f, b, s), options.repeat)
            )
        for model in ("none", "poisson", "azimuthal", "azimuthal_exact"):
            plan = make_plan(matrix, correction, model, float("nan"))
            engine = CpuEngine(plan, image.dtype)
            show(f"inbeam, {splitting}, {model}", timed(lambda e=engine: e.run(image, 1.0), options.repeat))
            if device is not None:
                other = OpenClEngine(plan, image.dtype, device)
                show(f"inbeam, {device}, {model}", timed(lambda e=other: e.run(image, 1.0), options.repeat))
        for model in (None, "poisson", "azimuthal"):

            def by_pyfai(splitting: str = splitting, model: str | None = model) -> Any:
                return integrator.integrate1d(
                    image,
                    1000,
                    mask=gaps,
                    unit="q_nm^-1",
                    polarization_factor=0.99,
                    error_model=model,
                    method=(splitting, "csr", "cython"),
                )

            show(f"pyFAI, {splitting}, {model or 'none'}", timed(by_pyfai, max(3, options.repeat // 3)))


def show(name: str, took: tuple[float, float]) -> None:
    """One row."""
    print(f"{name:34}{took[0]:9.2f}{took[1]:9.2f}", flush=True)


if __name__ == "__main__":
    main()
