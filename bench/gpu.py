"""Frames per second of an OpenCL device: EIGER2 4M, bitshuffle-LZ4 in, patterns out, decoding included.

    python bench/gpu.py [--device opencl] [--seconds 2] [--threads 2] [--dtype uint32]

The compressed bytes are sent to the device and decoded there; each thread is a worker that has one frame sent and
decoded while another is computed, as in a run; beside it the same without that look ahead. Every pattern is compared
with that of the CPU: they are the same bit for bit. Beside it pyFAI's OpenCL integration on the same device (no
splitting, CSR, poisson errors), with pixels that are decoded already, and with our CPU decoder before it; and our
CPU kernels with as many threads. Then `sparsify` on the device, with polarization and peaks. Frames are in memory, no
files. It runs on whatever device there is (PoCL on a CPU too: half a minute on two quiet cores) and says which; the
figures are in out/gpu.json too.
"""

import argparse
import itertools
import json
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
from stream.events import Array, Detector, Frame, Payload
from stream.simulate.eiger import eiger2_4m, pixel_mask, poni, pool
from stream.work import Work

NPT = 1000
GOAL = 1000
Way = Callable[[Payload], Array]
CHANNEL = "a"


class Bench:
    """The bench of a worker that knows which frame follows."""

    def __init__(self, frames: Sequence[Payload], ahead: bool) -> None:
        self.work = Work()
        packed = [Frame("uid", number, {CHANNEL: frame}, 0.0) for number, frame in enumerate(frames)]
        self._next = {id(frame): packed[(number + 1) % len(packed)] for number, frame in enumerate(frames)}
        self._packed = {id(frame): packed[number] for number, frame in enumerate(frames)}
        self._ahead = ahead

    def take(self, frame: Payload) -> None:
        """Have this frame in hand."""
        self.work.take(self._packed[id(frame)], self._next[id(frame)] if self._ahead else None)


def per_second(make: Callable[[], Way], frames: Sequence[Payload], threads: int, seconds: float) -> float:
    """Frames per second of so many threads, each with what `make` gives it; two frames before are not timed."""
    counts, ends = [0] * threads, [0.0] * threads
    ready = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        way = make()
        for each in frames[:2]:
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
    parser.add_argument("--seconds", type=float, default=2.0)
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
    wanted = {id(frame): cpu.run(decode(frame), 1.0) for frame in frames}

    def on_device(ahead: bool = True) -> Way:
        bench = Bench(frames, ahead)
        desk = Desk.of(bench.work)
        engine = OpenClEngine(plan, dtype, device, lambda: desk.frames(device, CHANNEL, shape, dtype))

        def way(frame: Payload) -> Array:
            bench.take(frame)
            found = engine.compute(frame, lambda: decode(frame), 1.0)
            for one, other in zip(found, wanted[id(frame)], strict=True):
                np.testing.assert_array_equal(one, other)
            return found[0]

        return way

    def on_cpu() -> Way:
        engine = CpuEngine(plan, dtype)

        def way(frame: Payload) -> Array:
            engine.add_packed(frame)
            return engine.result(1.0)[0]

        return way

    geometry = pyFAI.load(str(path))

    def peer(pixels: Callable[[Payload], Array]) -> Way:
        method = ("no", "csr", "opencl", (device.platform, device.number))
        asked = {"unit": "q_nm^-1", "method": method, "polarization_factor": 0.99, "error_model": "poisson"}
        return lambda frame: geometry.integrate1d(pixels(frame), NPT, mask=mask, **asked).intensity

    rings = polar.set_up(geometry, shape, bins=800, unit="r_m", mask=mask, radial_range=None)
    limits = (0.0, float(np.iinfo(dtype).max - 1), np.inf, -np.inf)
    recipe = Recipe("poisson", 0.0, 5, 1.0, 3.0, 4.0, 3, 3, limits, 0.0)
    norm = geometry.polarization(shape, 0.99).astype(np.float32)

    def sparsified() -> Way:
        bench = Bench(frames, True)
        desk = Desk.of(bench.work)
        more = {"dtype": dtype, "device": device, "frames": lambda: desk.frames(device, CHANNEL, shape, dtype)}
        engine = OpenclEngine(rings, recipe, None, norm, **more)

        def way(frame: Payload) -> Array:
            bench.take(frame)
            return engine.compute(frame, lambda: decode(frame)).mean

        return way

    decoded = {id(frame): decode(frame) for frame in frames}
    ours = per_second(on_device, frames, options.threads, options.seconds)
    in_turn = per_second(lambda: on_device(ahead=False), frames, options.threads, options.seconds)
    kernels = per_second(on_cpu, frames, options.threads, options.seconds)
    bare = per_second(lambda: peer(lambda frame: decoded[id(frame)]), frames, 1, options.seconds)
    theirs = per_second(lambda: peer(decode), frames, 1, options.seconds)
    sparse = per_second(sparsified, frames, options.threads, options.seconds)
    threads = f"{options.threads} threads"
    figures = {
        f"**inbeam on the device, decoded there**, {threads}": ours,
        f"the same without a look ahead, {threads}": in_turn,
        f"inbeam on the CPU, {threads}": kernels,
        "pyFAI's OpenCL on the same device, decoded on the CPU": theirs,
        "the same, with pixels that are decoded already": bare,
        f"inbeam's sparsify on the device, decoded there, {threads}": sparse,
    }
    goals = [f">= {GOAL} on a GPU", *[""] * (len(figures) - 1)]
    where = f"{device.name} ({device}, {device.kind}, {device.platform_name})"
    rows = [(what, f"{each:.1f} frames/s", goal) for (what, each), goal in zip(figures.items(), goals, strict=True)]
    table(
        f"EIGER2 4M {dtype}, bslz4 in memory to {NPT} bins, poisson errors, on {where}",
        [*rows, ("ratio of integrations, decoding included", f"{ours / theirs:.1f}", "")],
    )
    plain = {what.replace("*", ""): each for what, each in figures.items()}
    (OUT / "gpu.json").write_text(json.dumps({"device": where, "dtype": str(dtype), "frames/s": plain}, indent=1))


if __name__ == "__main__":
    main()
