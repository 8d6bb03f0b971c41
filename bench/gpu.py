"""Frames per second of an OpenCL device: EIGER2 4M, bitshuffle-LZ4 in, patterns out, decoding included.

    python bench/gpu.py [--device opencl] [--seconds 3] [--threads 2] [--dtype uint32]

The compressed bytes are sent to the device and decoded there; each thread is a worker with a queue of its own, so that
one frame is sent while another is computed. Every pattern is compared with that of the CPU: they are the same bit for
bit. Beside it pyFAI's OpenCL integration on the same device (no splitting, CSR, poisson errors), with pixels that are
decoded already, and with our CPU decoder before it; and our CPU kernels with as many threads. Then `sparsify` on the
device, with polarization and peaks. Frames are in memory, no files. It runs on whatever device there is (PoCL on a CPU
too) and says which.
"""

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyFAI
from common import OUT, table

from processors.bragg import polar
from processors.bragg.model import Recipe
from processors.bragg.opencl import OpenclEngine
from processors.integration.cpu import CpuEngine
from processors.integration.matrix import matrix_for
from processors.integration.opencl import OpenClEngine
from processors.integration.plan import make_plan
from processors.integration.request import Request
from processors.shared.correction import Correction
from processors.shared.device import choose
from processors.shared.device_frames import Desk
from processors.shared.geometry import from_poni
from stream.codec.payload import decode
from stream.events import Array, Detector, Payload
from stream.simulate.eiger import eiger2_4m, pixel_mask, poni, pool
from stream.work import Work

NPT = 1000
GOAL = 1000
Way = Callable[[Payload], Array]


def per_second(make: Callable[[], Way], frames: Sequence[Payload], threads: int, seconds: float) -> float:
    """Frames per second of so many threads, each with what `make` gives it; the first frames are not timed."""
    counts, ends = [0] * threads, [0.0] * threads
    ready = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        way = make()
        for each in frames:
            way(each)
        ready.wait()
        until = time.perf_counter() + seconds
        for each in itertools.cycle(frames[number % len(frames) :] + frames[: number % len(frames)]):
            way(each)
            counts[number] += 1
            if time.perf_counter() > until:
                break
        ends[number] = time.perf_counter()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return sum(counts) / (max(ends) - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="opencl", help="as the option `device` of integrate")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="uint32", choices=("uint8", "uint16", "uint32"))
    options = parser.parse_args()
    device = choose(options.device, "--device")
    if device is None:
        parser.error("choose an OpenCL device")
    detector = eiger2_4m(options.dtype)
    frames = [next(iter(frame.values())) for frame in pool(detector, 8)]
    shape, dtype, mask = frames[0].shape, frames[0].dtype, pixel_mask(detector) != 0
    OUT.mkdir(exist_ok=True)
    path = OUT / "gpu.poni"
    path.write_text(poni(detector))
    request = Request(from_poni(path, None, Detector()), shape, "q_nm^-1", NPT, polarization=0.99)
    correction = Correction(shape, mask, low=0.0, high=float(np.iinfo(dtype).max - 1))
    plan = make_plan(matrix_for(request, mask), correction, "poisson", float("nan"))
    cpu = CpuEngine(plan, dtype)
    wanted = [cpu.run(decode(frame), 1.0) for frame in frames]

    def on_device() -> Way:
        desk = Desk.of(Work())
        engine = OpenClEngine(plan, dtype, device, lambda: desk.frames(device, "a", shape, dtype))
        for frame, patterns in zip(frames, wanted, strict=True):
            for one, other in zip(engine.compute(frame, lambda frame=frame: decode(frame), 1.0), patterns, strict=True):
                np.testing.assert_array_equal(one, other)
        return lambda frame: engine.compute(frame, lambda: decode(frame), 1.0)[0]

    def on_cpu() -> Way:
        engine = CpuEngine(plan, dtype)

        def way(frame: Payload) -> Array:
            engine.add_packed(frame)
            return engine.result(1.0)[0]

        return way

    def peer(pixels: Callable[[Payload], Array]) -> Way:
        ai = pyFAI.load(str(path))
        method = ("no", "csr", "opencl", (device.platform, device.number))
        asked = {"unit": "q_nm^-1", "method": method, "polarization_factor": 0.99, "error_model": "poisson"}
        return lambda frame: ai.integrate1d(pixels(frame), NPT, mask=mask, **asked).intensity

    geometry = pyFAI.load(str(path))
    rings = polar.set_up(geometry, shape, bins=800, unit="r_m", mask=mask, radial_range=None)
    limits = (0.0, float(np.iinfo(dtype).max - 1), np.inf, -np.inf)
    recipe = Recipe("poisson", 0.0, 5, 1.0, 3.0, 4.0, 3, 3, limits, 0.0)
    norm = geometry.polarization(shape, 0.99).astype(np.float32)

    def sparsified() -> Way:
        desk = Desk.of(Work())
        more = {"dtype": dtype, "device": device, "frames": lambda: desk.frames(device, "a", shape, dtype)}
        engine = OpenclEngine(rings, recipe, None, norm, **more)
        return lambda frame: engine.compute(frame, lambda: decode(frame)).mean

    decoded = {id(frame): decode(frame) for frame in frames}
    ours = per_second(on_device, frames, options.threads, options.seconds)
    kernels = per_second(on_cpu, frames, options.threads, options.seconds)
    bare = per_second(lambda: peer(lambda frame: decoded[id(frame)]), frames, 1, options.seconds)
    theirs = per_second(lambda: peer(decode), frames, 1, options.seconds)
    sparse = per_second(sparsified, frames, options.threads, options.seconds)
    goal = f">= {GOAL} on a GPU"
    table(
        f"EIGER2 4M {dtype}, bslz4 in memory to {NPT} bins, poisson errors, on {device.name} ({device}, {device.kind}, "
        f"{device.platform_name})",
        [
            (f"**inbeam on the device, decoded there**, {options.threads} threads", f"**{ours:.0f} frames/s**", goal),
            (f"inbeam on the CPU, {options.threads} threads", f"{kernels:.0f} frames/s", ""),
            ("pyFAI's OpenCL on the same device, decoded on the CPU", f"{theirs:.1f} frames/s", ""),
            ("the same, with pixels that are decoded already", f"{bare:.1f} frames/s", ""),
            (
                f"inbeam's sparsify on the device, decoded there, {options.threads} threads",
                f"{sparse:.1f} frames/s",
                "",
            ),
            ("ratio of integrations, decoding included", f"{ours / theirs:.1f}", ""),
        ],
    )


if __name__ == "__main__":
    main()
