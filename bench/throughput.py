"""EIGER2 4M, azimuthal integration: recorded and live, against the tuned pyFAI loop and against the floor.

Everything in one run on one machine, alternating where two things are compared; the ratios are what counts.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import time
from operator import attrgetter
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numba
import numpy as np
import pyFAI
import yaml
from common import OUT, Cost, frame_file, inbeam, measure, reap, table

from stream.commands.demo import free_port
from stream.simulate.eiger import brighter, eiger2_4m

NPT = 1000
SPARSE = 0.05
"""Of the benchmark's beam: 0.03 counts per pixel, what such a detector sends at its full rate."""
FIGURES = OUT / "figures.json"
"""Seconds per frame of each bar of `picture`."""


def pyfai_loop(path: Path, frames: int) -> float:
    """Seconds per frame of h5py read + integrate1d, csr cython, no splitting, poisson errors; set-up not counted."""
    ai = pyFAI.load(str(path.with_suffix(".poni")))
    options = {
        "npt": NPT,
        "unit": "q_nm^-1",
        "method": ("no", "csr", "cython"),
        "polarization_factor": 0.99,
        "error_model": "poisson",
    }
    with h5py.File(path) as file:
        data = file["entry/data/data"]
        mask = data[0] == np.iinfo(data.dtype).max
        ai.integrate1d(data[0], mask=mask, **options)
        took = []
        for index in range(1, frames + 1):
            began = time.perf_counter()
            ai.integrate1d(data[index], mask=mask, **options)
            took.append(time.perf_counter() - began)
    return statistics.median(took)


@numba.njit(nogil=True)
def one_pass(image, bins, sums):  # type: ignore[no-untyped-def]
    """The least that an integration can do: read every pixel once and add it to its bin."""
    for pixel in range(image.size):
        sums[bins[pixel]] += image[pixel]


def floor(path: Path, frames: int) -> float | None:
    """CPU seconds per frame of dectris-compression plus one pass over the pixels; None if it is not installed."""
    try:
        from dectris.compression import decompress
    except ImportError:
        return None
    with h5py.File(path) as file:
        data = file["entry/data/data"]
        chunks = [data.id.read_direct_chunk((index, 0, 0))[1] for index in range(8)]
        shape, dtype = data.shape[1:], data.dtype
    rows, columns = np.indices(shape)
    bins = (np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) * NPT / 1600).astype(np.uint16).ravel()
    sums = np.zeros(65536, np.float64)
    took = []
    for index in range(frames):
        began = time.thread_time()
        image = np.frombuffer(decompress(chunks[index % 8], "bslz4", elem_size=dtype.itemsize), dtype)
        one_pass(image, bins, sums)
        took.append(time.thread_time() - began)
    return statistics.median(took[2:])


def pipeline(path: Path, stream: dict[str, object], *, archive: bool = False) -> Path:
    """The configuration of the benchmark, as a file."""
    folder = OUT / "results"
    sinks: list[dict[str, object]] = [{"type": "hdf5", "path": str(folder / "{scan}.h5")}]
    if archive:
        sinks.append({"type": "archive", "path": str(folder / "{scan}_frames.h5")})
    integrate = {
        "type": "integrate",
        "poni": str(path.with_suffix(".poni")),
        "npt": NPT,
        "polarization": 0.99,
        "error_model": "poisson",
        "device": "cpu",
    }
    config = OUT / "bench.yaml"
    document = {"stream": stream, "processors": [{"type": "correct"}, integrate], "sinks": sinks, "run": {"scans": 1}}
    config.write_text(yaml.safe_dump(document))
    shutil.rmtree(folder, ignore_errors=True)
    return config


def process(path: Path) -> Cost:
    """`inbeam process` over the whole file, everything counted, start-up included."""
    config = pipeline(path, {"type": "files", "files": [str(path)]})
    return measure(inbeam("process", "--quiet", str(config), str(path)))


def first_frame(path: Path) -> tuple[float, Cost]:
    """(seconds from the start of the process to its first frame in the file, cost of the whole command)."""
    began = time.time()
    cost = process(path)
    with h5py.File(OUT / "results" / path.name) as file:
        return float(file["entry/ledger/on_disk_time"][()].min()) - began, cost


def live(path: Path, frames: int, rate: str) -> tuple[float, float, int, Cost]:
    """(frames per second, p99 of arrival to file in ms, frames lost, cost), from the simulated detector."""
    port = free_port()
    endpoint = f"tcp://127.0.0.1:{port}"
    config = pipeline(path, {"type": "stream2", "endpoint": endpoint})
    began = time.perf_counter()
    receiver = subprocess.Popen(inbeam("run", "--quiet", str(config)))
    sender = ["simulate", "--frames", str(frames), "--rate", rate, "--bind", endpoint, "--timeout", "120"]
    detector = subprocess.Popen(inbeam(*sender), stdout=subprocess.DEVNULL)
    try:
        cost = reap(receiver, began, check=False)
    finally:
        detector.terminate()
        detector.wait()
    (result,) = (OUT / "results").glob("*.h5")
    with h5py.File(result) as file:
        ledger = file["entry/ledger"]
        status, received, on_disk = (ledger[name][()] for name in ("status", "received_time", "on_disk_time"))
    there = np.isin(status, (1, 2, 3))
    # The first third holds the start-up and the filling of the queues; speed and latency are those of the rest.
    rest = np.arange(len(there)) >= len(there) // 3
    steady = there & rest
    speed = (steady.sum() - 1) / np.ptp(on_disk[steady])
    return float(speed), float(np.percentile(1e3 * (on_disk - received)[steady], 99)), int((~there).sum()), cost


def each(costs: list[Cost], starts: list[Cost], frames: int) -> tuple[float, float]:
    """(wall, CPU) seconds per frame, start-up left out: medians."""
    found = [
        statistics.median(kind(cost) for cost in costs) - statistics.median(kind(start) for start in starts)
        for kind in (attrgetter("wall_s"), attrgetter("cpu_s"))
    ]
    return found[0] / (frames - 2), found[1] / (frames - 2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    detector = eiger2_4m()
    path = frame_file(detector, options.frames)
    sparse = frame_file(brighter(detector, SPARSE), options.frames, name="sparse.h5")
    two = frame_file(detector, 2, pool=2, name="two.h5")
    process(path)  # fills the caches of compiled kernels and of the geometry, as any second run of a user finds them
    costs, thin, firsts, starts, loops, floors = [], [], [], [], [], []
    for _ in range(options.repeat):
        costs.append(process(path))
        began, cost = first_frame(two)
        firsts.append(began)
        starts.append(cost)
        thin.append(process(sparse))
        loops.append(pyfai_loop(path, 12))
        floors.append(floor(path, 24))
    whole = statistics.median(cost.wall_s for cost in costs)
    start = statistics.median(cost.wall_s for cost in starts)
    start_cpu = statistics.median(cost.cpu_s for cost in starts)
    per_frame, cpu = each(costs, starts, options.frames)
    sparse_per_frame, sparse_cpu = each(thin, starts, options.frames)
    loop = statistics.median(loops)
    speed, _, lost, _ = live(path, 6 * options.frames, "max")
    half = max(speed / 2, 1.0)
    _, latency, lost_half, _ = live(path, int(half * 12), f"{half:.0f}")
    figures = {
        "tuned pyFAI loop": loop,
        "inbeam process": per_frame,
        "inbeam process, CPU": cpu,
        "inbeam process, sparse frames": sparse_per_frame,
    }
    rows = [
        ("tuned pyFAI loop (h5py + integrate1d csr cython)", f"{1e3 * loop:.1f} ms/frame", ""),
        ("`inbeam process`: read, decode, correct, integrate, write", f"{1e3 * per_frame:.2f} ms/frame", ""),
        (
            "**`inbeam process` against the pyFAI loop**, start-up in neither",
            f"**{loop / per_frame:.1f} x**",
            ">= 25 x",
        ),
        (
            "**start-up of `inbeam process`, everything cached, to the first frame in its file**",
            f"**{statistics.median(firsts):.2f} s**, least {min(firsts):.2f} s",
            "<= 0.5 s",
        ),
        ("the whole command over two frames", f"{start:.2f} s, CPU {start_cpu:.2f} s", ""),
        (
            f"**peak of its memory**, {options.frames} frames; two frames",
            f"**{max(cost.peak_mb for cost in costs):.0f} MB**; {max(cost.peak_mb for cost in starts):.0f} MB",
            "<= 200 MB",
        ),
        (
            f"the whole command over {options.frames} frames against the loop",
            f"{loop * options.frames / whole:.1f} x",
            "",
        ),
        ("CPU of the whole process, start-up left out", f"{1e3 * cpu:.2f} ms/frame", ""),
        ("the same of sparse frames (0.03 counts per pixel)", f"{1e3 * sparse_cpu:.2f} ms/frame", ""),
        ("**sparse frames against dense ones**, wall", f"**{per_frame / sparse_per_frame:.1f} x**", ">= 2 x"),
    ]
    if known := [took for took in floors if took is not None]:
        least = statistics.median(known)
        figures["floor: decode and one pass, CPU"] = least
        rows += [
            ("floor: dectris-compression + one pass", f"{1e3 * least:.2f} ms/frame", ""),
            ("**CPU against the floor**", f"**{cpu / least:.2f} x**", "<= 0.8 x"),
        ]
    rows += [
        ("live over loopback, simulator on the same cores", f"{speed:.0f} frames/s, {lost} lost", ""),
        ("**live against `inbeam process`**", f"**{speed * per_frame:.2f}**", ">= 0.5"),
        (f"arrival to file, p99 at half load ({half:.0f}/s)", f"{latency:.0f} ms, {lost_half} lost", "reported"),
    ]
    table(f"EIGER2 4M, {options.frames} frames uint32 bslz4, {NPT} bins, poisson errors", rows)
    FIGURES.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
