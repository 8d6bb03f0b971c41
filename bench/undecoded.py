"""Decoding and integrating one frame, in one step and in two: CPU time of one thread, without files and queues.

    python bench/undecoded.py [--repeat 25]

Simulated EIGER2 4M frames, dense and sparse (what it sends at its full rate), of each pixel type, and the recorded
EIGER frames beside the checkout, if they are there. 1000 bins, poisson errors. Floor: dectris-compression, where it is
installed, and one bare pass over the pixels.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numba
import numpy as np
from common import table

from processors.integration.cpu import CpuEngine
from processors.integration.matrix import matrix_for
from processors.integration.plan import make_plan
from processors.integration.request import Request
from processors.shared.correction import Correction
from processors.shared.geometry import from_header
from stream.codec.payload import decode
from stream.events import Array, Detector, Encoding, Payload
from stream.simulate.eiger import brighter, eiger2_4m, pixel_mask, pool

NPT = 1000
SPARSE = 0.05
"""Of the benchmark's beam: 0.03 counts per pixel."""
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data"
SCANS = {
    "crystal, EIGER2 CdTe 4M": "single_crystal/derived_ewoksscxrd_eiger2_cdte4m_2frames_bslz4.h5::"
    "entry_0000/ESRF-ID11/eiger/data",
    "powder, EIGER2 CdTe 500K": "powder/i15_1_eiger2_cdte500k/i15-1-100245-fastcs_eiger_000001.h5::data",
    "next to nothing, EIGER2 CdTe 500K": "powder/i15_1_eiger2_cdte500k/i15-1-100614-fastcs_eiger_000001.h5::data",
}


@numba.njit(nogil=True)
def one_pass(image, bins, sums):  # type: ignore[no-untyped-def]
    """The least that an integration can do: read every pixel once and add it to its bin."""
    for pixel in range(image.size):
        sums[bins[pixel]] += image[pixel]


def kinds() -> Iterator[tuple[str, Sequence[Payload], Array]]:
    """(what, frames, mask) of each kind of frame."""
    for dtype in ("uint32", "uint16", "uint8"):
        detector = eiger2_4m(dtype)
        for what, beam in (("dense", 1.0), ("sparse", SPARSE)):
            frames = [next(iter(frame.values())) for frame in pool(brighter(detector, beam), 4)]
            yield f"{what}, {dtype}", frames, pixel_mask(detector) != 0
    for what, place in SCANS.items():
        name, _, inside = place.partition("::")
        if not (RECORDED / name).is_file():
            continue
        with h5py.File(RECORDED / name) as file:
            data = file[inside]
            chunks = [data.id.read_direct_chunk((index, 0, 0))[1] for index in range(min(4, len(data)))]
            frames = [Payload(chunk, Encoding.BSLZ4, data.shape[1:], data.dtype) for chunk in chunks]
            yield f"{what}, recorded", frames, data[0] == np.iinfo(data.dtype).max


def engine_of(frame: Payload, mask: Array) -> CpuEngine:
    """An engine for a detector facing the beam."""
    rows, columns = frame.shape
    middle = {"beam_center_x_px": columns / 2 + 12.25, "beam_center_y_px": rows / 2 - 7.5}
    size = {"pixel_size_x_m": 75e-6, "pixel_size_y_m": 75e-6}
    geometry = from_header({}, Detector(distance_m=0.15, wavelength_angstrom=0.62, **size, **middle), frame.shape)
    matrix = matrix_for(Request(geometry, frame.shape, "q_nm^-1", NPT, polarization=0.99), mask)
    correction = Correction(frame.shape, mask, low=0.0, high=float(np.iinfo(frame.dtype).max - 1))
    return CpuEngine(make_plan(matrix, correction, "poisson", float("nan")), frame.dtype)


def measured(ways: Sequence[Callable[[Payload], object]], frames: Sequence[Payload], repeat: int) -> list[float]:
    """The least CPU time of each way, in ms per frame, by turns."""
    least = [float("inf")] * len(ways)
    for turn in range(repeat + 1):
        for number, way in enumerate(ways):
            began = time.thread_time()
            way(frames[turn % len(frames)])
            if turn:
                least[number] = min(least[number], 1e3 * (time.thread_time() - began))
    return least


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=25)
    options = parser.parse_args()
    try:
        from dectris.compression import decompress
    except ImportError:
        decompress = None
    rows, first, before = [], 0.0, 0.0
    for what, frames, mask in kinds():
        engine, image = engine_of(frames[0], mask), np.empty(frames[0].shape, frames[0].dtype)
        sums = np.zeros(NPT + 1)

        def in_two_steps(frame: Payload, engine: CpuEngine = engine, image: Array = image) -> None:
            engine.run(decode(frame, image), 1.0)

        def in_one_step(frame: Payload, engine: CpuEngine = engine) -> None:
            engine.add_packed(frame)
            engine.result(1.0)

        def least(frame: Payload, engine: CpuEngine = engine, sums: Array = sums) -> None:
            pixels = np.frombuffer(decompress(frame.data, "bslz4", elem_size=frame.dtype.itemsize), frame.dtype)
            one_pass(pixels, engine.plan.bins, sums)

        ways = [in_one_step, in_two_steps, *([least] if decompress else [])]
        one, two, *bare = measured(ways, frames, options.repeat)
        goal = ""
        if what.startswith("sparse"):
            goal = f"{before / one:.1f} x the dense one's speed (>= 2)"
        elif not first:
            goal, first = "<= 0.8 of the floor", one
        before = one
        share = f", {one / bare[0]:.2f} of the floor ({bare[0]:.2f} ms)" if bare else ""
        rows.append((what, f"{one:.2f} ms, {one / two:.2f} of two steps ({two:.2f} ms){share}", goal))
    table("decoding and integrating a frame, CPU of one thread", rows)


if __name__ == "__main__":
    main()
