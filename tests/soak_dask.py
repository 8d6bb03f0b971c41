"""Kill and stall what `inbeam run --dask` is made of, at random instants, scan after scan; ends with a table.

    python tests/soak_dask.py --scans 28

Every frame that was on disk before must be in the master, once, and every command must end by itself. Where the
scheduler is killed either the detector goes on, and so does the scan; or the detector waits, the command ends, and a
new start with a new scheduler goes on.
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

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from commands import held
from receivers import Detector, configuration, end, image, start
from schedulers import Scheduler, scheduler

from sinks.check import check
from stream.commands import receivers as receivers_module
from stream.commands.dask_receivers import DaskChild, crews
from stream.commands.receivers import Receivers
from stream.config import Config

RECEIVERS, FRAMES, EVENTS, STALL_S, LONGEST_S = 3, 600, 4, 0.5, 120.0
KINDS = (
    "receiver killed",
    "worker killed",
    "receiver stalled",
    "worker stalled",
    "scheduler stalled",
    "scheduler killed, the scan goes on",
    "scheduler killed, a new start",
)


class Command:
    """`inbeam run --dask`, in a thread."""

    def __init__(self, config: Config, dask: Scheduler) -> None:
        self.receivers = Receivers(config, RECEIVERS, crews(dask.address, config))
        self.thread = threading.Thread(target=self.receivers.execute)
        self.thread.start()

    def ended(self) -> bool:
        """Within reason; if not it is told to stop, so that the soak goes on."""
        self.thread.join(LONGEST_S)
        alive = self.thread.is_alive()
        self.receivers.stop()
        self.thread.join(LONGEST_S)
        return not alive


def scan(kind: str, folder: Path, dask: Scheduler, rng: random.Random) -> dict[str, int]:
    """One scan with events of a kind."""
    detector = Detector()
    detector.open()
    config = configuration(folder, detector.endpoint, scans=1)
    command, events, hung, on_disk = Command(config, dask), 0, 0, np.zeros(FRAMES, bool)
    instants = sorted(rng.sample(range(60, FRAMES - 60), 1 if "scheduler killed" in kind else EVENTS))
    detector.send(start(FRAMES))
    for index in range(FRAMES):
        detector.send(image(index))
        time.sleep(0.002)
        if not instants or index != instants[0]:
            continue
        instants.pop(0)
        on_disk |= held(folder.glob("1_frames.r*.h5"), FRAMES)
        events += happens(kind, command.receivers, dask, rng)
        if kind.endswith("a new start"):
            hung += not command.ended()
            on_disk |= held(folder.glob("1_frames.r*.h5"), FRAMES)
            detector.close()
            with scheduler(folder, RECEIVERS) as another:
                again = Detector()
                again.port = detector.port
                again.open()
                command = Command(config, another)
                for rest in range(index + 1, FRAMES):
                    again.send(image(rest))
                again.send(end())
                hung += not command.ended()
                again.close()
            break
    else:
        detector.send(end())
        hung += not command.ended()
        detector.close()
    return {"events": events, "hung": hung, **counts(folder, on_disk)}


def happens(kind: str, receivers: Receivers, dask: Scheduler, rng: random.Random) -> int:
    """One event; 0 if there was nobody to meet it."""
    if kind.startswith("scheduler"):
        process = dask.process.pid
    else:
        child = rng.choice(receivers.children)
        assert isinstance(child, DaskChild)
        worker = dask.workers.get(child.worker)
        process = child.pid if kind.startswith("receiver") else worker.pid if worker is not None else 0
    if not process:
        return 0
    try:
        os.kill(process, signal.SIGSTOP if "stalled" in kind else signal.SIGKILL)
    except ProcessLookupError:
        return 0
    if "stalled" in kind:
        time.sleep(STALL_S)
        os.kill(process, signal.SIGCONT)
    elif kind.startswith("worker"):
        dask.add_worker()
    return 1


def counts(folder: Path, on_disk: np.ndarray) -> dict[str, int]:
    """What the master has, and whether it is sound."""
    verdict = check(folder / "1_frames.h5")
    if not verdict.sound:
        print(verdict.line())
    has, copies = np.zeros(FRAMES, bool), 0
    if (folder / "1_frames.h5").exists():
        with h5py.File(folder / "1_frames.h5") as file:
            rows = np.isin(file["entry/ledger/status"][:FRAMES], (1, 2, 3))
            copies = int(file["entry/ledger/repeats"][0])
        has[: len(rows)] = rows
    return {
        "on disk before": int(on_disk.sum()),
        "of these gone": int((on_disk & ~has).sum()),
        "there": int(has.sum()),
        "missing": FRAMES - int(has.sum()),
        "copies": copies,
        "not sound": int(not verdict.sound),
    }


def main() -> int:
    """Print the table; 1 if a frame that was on disk is gone, a master is not sound, or a command did not end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=28)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=1800.0)
    options = parser.parse_args()
    receivers_module.PATIENCE_S = 2.0
    rng, until = random.Random(options.seed), time.monotonic() + options.limit_s
    totals: dict[str, dict[str, int]] = {kind: {"scans": 0, "frames": 0} for kind in KINDS}
    for number in range(options.scans):
        if time.monotonic() > until:
            break
        kind = KINDS[number % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder, scheduler(Path(folder), RECEIVERS) as dask:
            row = totals[kind]
            found = {"scans": 1, "frames": FRAMES, **scan(kind, Path(folder), dask, rng)}
            for name, count in found.items():
                row[name] = row.get(name, 0) + count
    names = list(dict.fromkeys(name for row in totals.values() for name in row))
    print(f"| what | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for kind, row in totals.items():
        print(f"| {kind} | {' | '.join(str(row.get(name, 0)) for name in names)} |")
    bad = ("of these gone", "not sound", "hung")
    return int(any(row.get(name) for row in totals.values() for name in bad))


if __name__ == "__main__":
    sys.exit(main())
