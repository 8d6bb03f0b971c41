"""An EIGER2 4M at its full rate over loopback, into an archive and integrated: CPU of the receiving process per frame.

    python bench/live.py [--seconds 60] [--rate 560]

Sparse frames (0.03 counts per pixel), as such a detector sends them at that rate. The simulated detector is a process
of its own, whose CPU is accounted apart; where both share the cores, the rate may be less than what was asked for: then
the detector waits, and nothing is lost.
"""

import argparse
import subprocess
import sys
import time

import h5py
import numpy as np
from common import OUT, Cost, inbeam, reap, table
from throughput import SPARSE, pipeline

from stream.commands.demo import free_port
from stream.simulate.eiger import brighter, eiger2_4m, poni, pool
from stream.simulate.scans import simulated
from stream.simulate.sender import Sender


def send(endpoint: str, frames: int, rate: float) -> None:
    """Be the detector."""
    detector = brighter(eiger2_4m(), SPARSE)
    messages = simulated(detector, pool(detector), protocol="stream2", frames=frames, frame_time_s=1 / rate)
    with Sender(endpoint, timeout_s=120) as sender:
        sender.send(messages, rate_hz=rate)


def live(frames: int, rate: float) -> tuple[Cost, Cost]:
    """(cost of the receiver, cost of the detector); the files stay for `arrived`."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    OUT.mkdir(exist_ok=True)
    path = OUT / "live.h5"
    path.with_suffix(".poni").write_text(poni(eiger2_4m()))
    config = pipeline(path, {"type": "stream2", "endpoint": endpoint}, archive=True)
    began = time.perf_counter()
    receiver = subprocess.Popen(inbeam("run", "--quiet", str(config)))
    detector = subprocess.Popen([sys.executable, __file__, "--send", endpoint, f"--frames={frames}", f"--rate={rate}"])
    try:
        cost = reap(receiver, began)
        return cost, reap(detector, began)
    finally:
        if detector.poll() is None:
            detector.terminate()
            detector.wait()


def arrived(name: str) -> tuple[int, float, tuple[float, float]]:
    """(frames with data, frames per second, p50 and p99 of arrival to file in ms) of one of the files."""
    with h5py.File(OUT / "results" / name) as file:
        ledger = file["entry/ledger"]
        status, received, on_disk = (ledger[key][()] for key in ("status", "received_time", "on_disk_time"))
    there = status == 1
    steady = there & (np.arange(len(there)) >= len(there) // 3)
    rate = (steady.sum() - 1) / np.ptp(received[steady])
    p50, p99 = np.percentile(1e3 * (on_disk - received)[steady], (50, 99))
    return int(there.sum()), float(rate), (float(p50), float(p99))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=560)
    parser.add_argument("--frames", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--send", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.frames, options.rate)
        return
    frames = round(options.seconds * options.rate)
    start, _ = live(20, options.rate)
    cost, detector = live(frames, options.rate)
    there, rate, (p50, p99) = arrived("1_frames.h5")
    integrated, _, _ = arrived("1.h5")
    size = (OUT / "results" / "1_frames.h5").stat().st_size / frames
    each = 1e3 * (cost.cpu_s - start.cpu_s) / (frames - 20)
    table(
        f"EIGER2 4M at {options.rate:.0f}/s asked for, {frames} frames of {size / 1e6:.2f} MB (sparse), over loopback",
        [
            (
                "**CPU of the receiver**, archive and integration, start-up left out",
                f"**{each:.2f} ms/frame**",
                "<= 3.5",
            ),
            ("frames in the archive; integrated", f"{there}; {integrated} of {frames}", "all"),
            ("frames per second, beside the detector on the same cores", f"{rate:.0f}", f"{options.rate:.0f}"),
            ("arrival to file, p50 and p99", f"{p50:.0f} and {p99:.0f} ms", ""),
            ("CPU of the simulated detector", f"{1e3 * detector.cpu_s / frames:.2f} ms/frame", ""),
            ("peak memory of the receiver", f"{cost.peak_mb:.0f} MB", ""),
        ],
    )


if __name__ == "__main__":
    main()
