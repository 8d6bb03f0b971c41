"""Kill and stall receivers at random instants, scan after scan: every frame that was on disk is in the master, once.

    python tests/soak_receivers.py --kills 200

A receiver that gets SIGSTOP stands still for a while: the detector gives its images to the others. Ends with a table.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import zmq

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from commands import committed
from dectris_messages import stream2_end, stream2_image, stream2_start

from sinks.check import check
from stream.commands.demo import free_port
from stream.commands.receivers import Receivers
from stream.config import validate

RECEIVERS, FRAMES, KILLS_PER_SCAN = 3, 600, 5


def scan(number: int, folder: Path, rng: random.Random, stalls: bool) -> dict[str, int]:
    """One scan with kills (or stalls); the counts of its master, what was on disk before the last kill, faults."""
    port = free_port()
    uid = f"01SOAK{number}"
    config = validate(
        {
            "stream": {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{port}"},
            "sinks": [{"type": "archive", "path": str(folder / f"{number}.h5")}],
            "run": {"scans": 1, "journal": str(folder)},
        }
    )
    context = zmq.Context()
    detector = context.socket(zmq.PUSH)
    detector.setsockopt(zmq.SNDHWM, 4)
    detector.setsockopt(zmq.SNDTIMEO, 60_000)
    detector.bind(f"tcp://127.0.0.1:{port}")
    receivers = Receivers(config, RECEIVERS)
    thread = threading.Thread(target=receivers.execute)
    thread.start()
    kills, on_disk = 0, np.zeros(FRAMES, bool)
    instants = sorted(rng.sample(range(20, FRAMES), KILLS_PER_SCAN))
    detector.send(stream2_start(number_of_images=FRAMES, series_id=number, series_unique_id=uid))
    for index in range(FRAMES):
        detector.send(stream2_image(index, series_id=number, series_unique_id=uid))
        time.sleep(0.002)
        if instants and index == instants[0]:
            instants.pop(0)
            which = rng.randrange(RECEIVERS)
            on_disk |= there(folder, number)
            process = receivers.processes[which]
            if not process:
                continue
            try:
                if stalls:
                    os.kill(process, signal.SIGSTOP)
                    threading.Timer(0.5, os.kill, (process, signal.SIGCONT)).start()
                else:
                    os.kill(process, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:  # it has just been killed
                pass
    detector.send(stream2_end(series_id=number, series_unique_id=uid))
    thread.join(120)
    receivers.stop()
    thread.join(30)
    context.destroy(linger=0)
    master = folder / f"{number}.h5"
    verdict = check(master)
    if not verdict.sound:
        print(verdict.line())
    with h5py.File(master) as file:
        has = np.isin(file["entry/ledger/status"][()], (1, 2, 3))
        has = np.pad(has, (0, max(0, FRAMES - len(has))))
        copies = int(file["entry/ledger/repeats"][0])
    lost = int((on_disk & ~has[:FRAMES]).sum())
    return {
        "kills": kills,
        "on disk before": int(on_disk.sum()),
        "of these gone": lost,
        "frames there": int(has.sum()),
        "in hand, missing": FRAMES - int(has.sum()),
        "copies": copies,
        "not sound": 0 if verdict.sound else 1,
    }


def there(folder: Path, number: int) -> np.ndarray:
    """The frames that the parts hold safely just now."""
    found = np.zeros(FRAMES, bool)
    for path in folder.glob(f"{number}.r*.h5"):
        if committed(path):
            try:
                with h5py.File(path, "r", swmr=True) as file:
                    rows = np.isin(file["entry/ledger/status"][:FRAMES], (1, 2, 3))
            except (OSError, KeyError):
                continue
            found[: len(rows)] |= rows
    return found


def main() -> int:
    """Print the table; 1 if a frame that was on disk is gone, or a master is not sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=1800.0)
    options = parser.parse_args()
    rng, until, number = random.Random(options.seed), time.monotonic() + options.limit_s, 0
    totals: dict[str, dict[str, int]] = {"killed": {}, "stalled": {}}
    with tempfile.TemporaryDirectory() as folder:
        while sum(each.get("kills", 0) for each in totals.values()) < options.kills and time.monotonic() < until:
            number += 1
            stalls = number % 4 == 0
            found = scan(number, Path(folder), rng, stalls)
            row = totals["stalled" if stalls else "killed"]
            for name, count in found.items():
                row[name] = row.get(name, 0) + count
    for what, row in totals.items():
        print(f"{what}: " + ", ".join(f"{name} {count}" for name, count in row.items()))
    return int(any(row.get("of these gone") or row.get("not sound") for row in totals.values()))


if __name__ == "__main__":
    sys.exit(main())
