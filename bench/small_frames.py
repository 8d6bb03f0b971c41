"""Small frames (256 x 256 uint16, bslz4) from a socket into an archive with its per-frame table: CPU and memory."""

import argparse
import shutil
import subprocess
import time

import h5py
import yaml
from common import OUT, Cost, inbeam, reap, table

from stream.commands.demo import free_port


def archive(frames: int, rate: str) -> tuple[Cost, int]:
    """(cost of the receiving process, frames that the file has)."""
    folder = OUT / "small"
    shutil.rmtree(folder, ignore_errors=True)
    OUT.mkdir(exist_ok=True)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    config = OUT / "small.yaml"
    sinks = [{"type": "archive", "path": str(folder / "{scan}.h5")}]
    document = {"stream": {"type": "stream2", "endpoint": endpoint}, "sinks": sinks, "run": {"scans": 1}}
    config.write_text(yaml.safe_dump(document))
    began = time.perf_counter()
    receiver = subprocess.Popen(inbeam("run", "--quiet", str(config)))
    sender = ["simulate", "--detector", "small", "--frames", str(frames), "--rate", rate, "--bind", endpoint]
    detector = subprocess.Popen(inbeam(*sender, "--timeout", "120"), stdout=subprocess.DEVNULL)
    try:
        cost = reap(receiver, began)
    finally:
        detector.terminate()
        detector.wait()
    (path,) = folder.glob("*.h5")
    with h5py.File(path) as file:
        there = int((file["entry/ledger/status"][()] == 1).sum())
        there = min(there, file["entry/data/data"].id.get_num_chunks())
    return cost, there


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--rate", default="3000")
    options = parser.parse_args()
    few = options.frames // 10
    start, there_start = archive(100, options.rate)
    small, there_small = archive(few, options.rate)
    large, there_large = archive(options.frames, options.rate)
    each = 1e6 * large.cpu_s / options.frames
    slope = 1e6 * (large.cpu_s - start.cpu_s) / (options.frames - 100)
    growth = large.peak_mb - small.peak_mb
    table(
        f"256 x 256 uint16 bslz4 from a socket to the archive at {options.rate}/s",
        [
            ("**CPU of the receiving process per frame, start-up spread**", f"**{each:.0f} µs**", "<= 200 µs"),
            ("the same without start-up", f"{slope:.0f} µs", ""),
            ("frames in the file", f"{there_start + there_small + there_large} of {100 + few + options.frames}", "all"),
            (f"peak memory, {few} frames", f"{small.peak_mb:.0f} MB", ""),
            (f"peak memory, {options.frames} frames", f"{large.peak_mb:.0f} MB ({growth:+.0f})", "flat"),
        ],
    )


if __name__ == "__main__":
    main()
