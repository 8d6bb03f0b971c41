"""The steps of `projection` on the CPU and on an OpenCL device, side by side: one radiograph after the other.

    python bench/projection.py [--device opencl] [--size 2048] [--dtype uint16] [--repeat 7]

Counts in memory (the last row: compressed as bitshuffle-LZ4, decoding included) to line integrals in memory. By turns,
the least of several; CPU seconds are those of the whole process, which on PoCL does the device's work too, on all
cores. Every image is compared before it is timed. It runs on whatever device there is and says which.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import own_cpu_s, table

from processors.projections.cpu import CpuEngine
from processors.projections.normalise import open_beam
from processors.projections.opencl import OpenClEngine, Tables
from processors.projections.options import Steps
from processors.projections.stage import Stage, compile_kernels
from processors.shared.correction import Correction
from processors.shared.device import choose
from processors.shared.device_frames import Desk
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.events import Encoding, Payload
from stream.work import Work

PHASE = {"pixel_m": 1e-6, "distance_m": 0.05, "energy_kev": 20, "delta_beta": 300}
STEPS: dict[str, dict[str, Any]] = {
    "flat, dark, bad pixels": {"logarithm": False},
    "and the logarithm": {},
    "turned by 90 degrees": {"rotate": 1},
    "outliers of 3 x 3": {"outliers": {"difference": 0.2}},
    "median of 5 x 5": {"median": 5},
    "phase retrieval, on the CPU": {
        "phase": {"pixel_m": 1e-6, "distance_m": 0.05, "energy_kev": 20, "delta_beta": 300}
    },
    "air, cut-off, outliers, median of 3 x 3, scaling": {
        "air": {"x": [0, 100], "y": [0, 300]},
        "cut_off": {"part": 0.01},
        "outliers": {"difference": 0.2},
        "median": 3,
        "scale_down": 2,
    },
}


def least(works: list[Callable[[], object]], repeat: int) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each."""
    found = [(float("inf"), float("inf"))] * len(works)
    for _ in range(repeat):
        for place, work in enumerate(works):
            began, cpu = time.perf_counter(), own_cpu_s()
            work()
            took = time.perf_counter() - began, own_cpu_s() - cpu
            found[place] = (min(found[place][0], took[0]), min(found[place][1], took[1]))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="opencl", help="as the option `device` of projection")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--dtype", default="uint16", choices=("uint16", "uint32", "float32"))
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    device = choose(options.device, "--device")
    if device is None:
        parser.error("choose an OpenCL device")
    shape, dtype, dice = (options.size, options.size), np.dtype(options.dtype), np.random.default_rng(1)
    beam = open_beam(dice.poisson(20000, shape), dice.poisson(100, shape))
    correction = Correction(shape, dice.random(shape) < 1e-3, low=0.0, high=65534.0)
    image = dice.poisson(9000, shape).astype(dtype)
    packed = Payload(bslz4_compress(image), Encoding.BSLZ4, shape, dtype)
    compile_kernels(dtype)

    def engines(steps: dict[str, Any]) -> tuple[CpuEngine, OpenClEngine]:
        stage, desk = Stage(Steps.model_validate(steps), shape, ""), Desk.of(Work())
        made = OpenClEngine(
            stage, device, dtype, lambda: desk.frames(device, "a", shape, dtype), correction,
            divides=True, tables=lambda: Tables(device, beam),
        )  # fmt: skip
        return CpuEngine(stage, correction), made

    rows = []

    def row(name: str, cpu: Callable[[], Any], on_device: Callable[[], Any]) -> None:
        (wanted, told), (found, counted) = cpu(), on_device()
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
        assert (told.mended, told.outliers, told.low) == (counted.mended, counted.outliers, counted.low)
        (wall, spent), (other_wall, other_spent) = least([cpu, on_device], options.repeat)
        figures = f"{1e3 * wall:.0f} ({1e3 * spent:.0f}) ms, {1e3 * other_wall:.0f} ({1e3 * other_spent:.0f}) ms"
        rows.append((name, f"{figures}: {wall / other_wall:.1f} ({spent / other_spent:.1f}) times", ""))

    for name, steps in STEPS.items():
        cpu, on_device = engines(steps)
        row(name, lambda cpu=cpu: cpu.run(image, beam, None), lambda made=on_device: made.run(image, beam, None))
    cpu, on_device = engines({})
    buffer = np.empty(shape, dtype)
    row(
        "flat, dark, bad pixels, logarithm of a compressed frame",
        lambda: cpu.run(decode(packed, out=buffer), beam, None),
        lambda: on_device.compute(_other(packed), lambda: decode(packed), beam, None),
    )
    table(
        f"a projection of {options.size} x {options.size} {dtype} pixels: wall (CPU) time on the CPU, on {device.name} "
        f"({device}, {device.kind}, {device.platform_name}), and how many times as long the CPU takes",
        rows,
    )


def _other(payload: Payload) -> Payload:
    """The same bytes as those of another frame: a frame is sent only once."""
    return Payload(payload.data, payload.encoding, payload.shape, payload.dtype)


if __name__ == "__main__":
    main()
