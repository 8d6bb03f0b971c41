"""A slice by the Fourier grid against direct back-projection and against the peers, on the same sinogram.

    python bench/gridding.py [--columns 640 --angles 181] [--gridrec libtomo-gridrec.so]

CPU time of one thread, the shortest of several runs. Peers count where they can be had: algotom and astra-toolbox from
PyPI, tomopy from conda-forge; of tomopy alone its gridrec too, as the library that its sources make with FFTW:

    gcc -O3 -march=native -ffast-math -std=c99 -D_GNU_SOURCE -DTOMOPY_USE_FFTW -Iinclude -shared -fPIC \\
        source/libtomo/gridrec/gridrec.c -o libtomo-gridrec.so -lfftw3f_threads -lfftw3f -lm
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import table

from processors.tomography import backprojection
from processors.tomography.angles import weights_of
from processors.tomography.gridding import Gridded, fbp
from stream.events import Array

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
TOGETHER = 8
"""Slices that gridrec is given at once; it makes two of them for the price of one."""


def shortest(work: Callable[[], object], rounds: int = 5) -> float:
    """Milliseconds of CPU, the first run left out."""
    work()
    found = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        found = min(found, time.process_time() - began)
    return 1e3 * found


def algotom(sinogram: Array, angles: Array, centre: float) -> Callable[[], object] | None:
    """Its filtered back-projection on the CPU; None where it is not installed."""
    try:
        from algotom.rec.reconstruction import fbp_reconstruction
    except ImportError:
        return None
    radian = np.deg2rad(angles)
    return lambda: fbp_reconstruction(sinogram, centre, angles=radian, apply_log=False, ncore=1, gpu=False)


def gridrec(path: str | None, sinogram: Array, angles: Array, centre: float) -> Callable[[], object] | None:
    """tomopy's, called as tomopy does; None without the library."""
    if path is None or sinogram.shape[1] & (sinogram.shape[1] - 1) == 0:  # it writes beyond its grid of 2^n
        return None
    pointer = ctypes.POINTER(ctypes.c_float)
    made = ctypes.CDLL(path).gridrec
    many = np.ascontiguousarray(np.repeat(sinogram[None], TOGETHER, axis=0))
    count, number, columns = many.shape
    found = np.zeros((count, columns, columns), np.float32)
    arrays = [np.full(count, centre, np.float32), np.deg2rad(angles).astype(np.float32), np.zeros(2, np.float32)]

    def of(array: Array) -> object:
        return array.ctypes.data_as(pointer)

    def work() -> object:
        made(
            of(many), count, number, columns, of(arrays[0]), of(arrays[1]), of(found), columns, columns,
            b"ramlak", of(arrays[2]),
        )  # fmt: skip
        return found

    return work


def main() -> None:
    """Print the table."""
    from phantoms import sinogram as exact
    from phantoms import well_inside

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=640)
    parser.add_argument("--angles", type=int, default=181)
    parser.add_argument("--gridrec", metavar="LIBRARY")
    options = parser.parse_args()
    angles, centre = np.arange(options.angles) * 180.0 / options.angles, (options.columns - 1) / 2
    sinogram = exact(options.columns, angles).astype(np.float32)
    weights, gridded = weights_of(angles), Gridded(options.columns)
    wanted = well_inside(options.columns)

    def whole() -> Array:
        gridded.clear()
        gridded.add(sinogram, angles, centre, weights)
        return gridded.slice()

    def one() -> None:
        for number in range(len(angles)):
            some = slice(number, number + 1)
            gridded.add(sinogram[some], angles[some], centre, weights[some])

    ours = shortest(whole)
    picture = fbp(sinogram, angles)
    bias = max(abs(float(picture[part].mean()) - value) / abs(value) for part, value in wanted)
    rows = [
        ("all projections and the picture", f"{ours:.1f} ms", ""),
        (
            "of it, one more projection, alone",
            f"{1e3 * shortest(one) / len(angles):.0f} us",
            "<= 120 us (1024 columns)",
        ),
        ("of it, the picture of what is there", f"{shortest(gridded.slice):.1f} ms", ""),
        ("largest error of a part's mean value", f"{1e2 * bias:.3f} %", "<= 0.2 %"),
    ]
    others: dict[str, tuple[Callable[[], object] | None, int, str]] = {
        "our direct back-projection": (lambda: backprojection.fbp(sinogram, angles), 1, ""),
        "algotom's fbp": (algotom(sinogram, angles, centre), 1, ">= 10 x"),
        "tomopy's gridrec": (gridrec(options.gridrec, sinogram, angles, centre), TOGETHER, ">= 0.67 x"),
    }
    for name, (work, slices, goal) in others.items():
        if work is not None:
            took = shortest(work) / slices
            rows.append((name, f"{took:.1f} ms, **{took / ours:.2f} x** ours", goal))
    table(f"A slice by the Fourier grid: {options.columns} columns, {options.angles} angles, CPU of one thread", rows)


if __name__ == "__main__":
    main()
