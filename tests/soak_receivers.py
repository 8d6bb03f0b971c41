"""Kill and stall receivers at random instants, scan after scan: every frame that was on disk is in the master, once.

    python tests/soak_receivers.py --kills 200

One in five gets SIGSTOP instead and stands still for a while: the detector gives its images to the others. After every
second kill the detector sends its last images again, as to a receiver that is back. Three of four kills wait until all
receivers are connected, the others hit them while they start. Ends with a table.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from commands import held
from dectris_messages import pixels, stream2_end, stream2_image, stream2_start
from receivers import INTEGRATE

from sinks.check import check
from stream.commands.demo import free_port
from stream.commands.receivers import Receivers
from stream.config import validate

RECEIVERS, FRAMES, BLOWS_PER_SCAN = 3, 2500, 25
PERIOD_S, WHILE_ALONE_S = 0.002, 0.02
"""From image to image; while a receiver is away, so that a scan lasts for many kills."""
LONGEST_STALL_S = 1.5


class Detector:
    """Knows how many receivers are connected to it."""

    def __init__(self, number: int) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, 4)
        self._socket.setsockopt(zmq.SNDTIMEO, 60_000)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._names = {"series_id": number, "series_unique_id": f"01SOAK{number}"}
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self._socket.bind(self.endpoint)
        self._connected = 0

    def start(self) -> None:
        self._socket.send(stream2_start(number_of_images=FRAMES, **self._names))

    def image(self, index: int) -> None:
        self._socket.send(stream2_image(index, **self._names))

    def end(self) -> None:
        self._socket.send(stream2_end(**self._names))

    @property
    def connected(self) -> int:
        while self._monitor.poll(0):
            joined = recv_monitor_message(self._monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._connected += 1 if joined else -1
        return self._connected

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._context.destroy(linger=0)


MAP = {"type": "map", "fast": {"points": 50}, "slow": {"points": FRAMES // 50}}


def scan(number: int, folder: Path, rng: random.Random, most: int, mapped: bool) -> dict[str, int]:
    """One scan with `most` kills at most; the counts of its master, what was on disk before the last kill, faults."""
    detector = Detector(number)
    sinks = [{"type": "archive", "path": str(folder / f"{number}.h5")}]
    config = validate(
        {
            "stream": {"type": "stream2", "endpoint": detector.endpoint},
            "processors": [{"type": "correct"}, INTEGRATE, MAP] if mapped else [],
            "sinks": [*sinks, *([{"type": "hdf5", "path": str(folder / f"{number}_map.h5")}] if mapped else [])],
            "run": {"scans": 1, "journal": str(folder)},
        }
    )
    receivers = Receivers(config, RECEIVERS)
    thread = threading.Thread(target=receivers.execute)
    thread.start()
    blows = {"kills": 0, "stalls": 0}
    on_disk, again = np.zeros(FRAMES, bool), 0
    due, patient = rng.randrange(20, 100), True
    detector.start()
    for index in range(FRAMES):
        detector.image(index)
        whole = detector.connected >= RECEIVERS
        time.sleep(PERIOD_S if whole else WHILE_ALONE_S)
        if index < due or (patient and not whole) or blows["kills"] >= most or sum(blows.values()) >= BLOWS_PER_SCAN:
            continue
        due, patient = index + rng.randrange(10, 100), rng.random() < 0.75
        on_disk |= held(folder.glob(f"{number}.r*.h5"), FRAMES)
        what = "stalls" if rng.random() < 0.2 else "kills"
        blows[what] += struck(receivers.processes[rng.randrange(RECEIVERS)], what, rng)
        if what == "kills" and rng.random() < 0.5:
            for repeated in range(max(0, index - 2), index + 1):
                detector.image(repeated)
                again += 1
    detector.end()
    thread.join(180)
    receivers.stop()
    thread.join(30)
    detector.close()
    found = {**blows, "sent again": again, **counted(folder / f"{number}.h5", on_disk)}
    return found | (mapped_wrong(folder / f"{number}_map.h5", folder / f"{number}.h5") if mapped else {})


def struck(process: int, what: str, rng: random.Random) -> int:
    """Kill or stall it; 0 if there is none just now."""
    if not process:
        return 0
    try:
        os.kill(process, signal.SIGSTOP if what == "stalls" else signal.SIGKILL)
    except ProcessLookupError:  # it has just been killed
        return 0
    if what == "stalls":
        timer = threading.Timer(rng.uniform(0.1, LONGEST_STALL_S), go_on, (process,))
        timer.start()
    return 1


def go_on(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def counted(master: Path, on_disk: np.ndarray) -> dict[str, int]:
    """What the master says, and what is wrong with it."""
    verdict = check(master)
    if not verdict.sound:
        print(verdict.line(), flush=True)
    with h5py.File(master) as file:
        ledger = file["entry/ledger"]
        has, counts = with_data(file), ledger["counts"][()]
        images = file["entry/data/data"][()]
        wrong = sum(not np.array_equal(images[index], pixels(index)) for index in np.flatnonzero(has).tolist())
        repeats = int(ledger["repeats"][0])
    return {
        "frames": FRAMES,
        "accounted": int(counts.sum()),
        "with data": int(has.sum()),
        "missing": int(counts.sum()) - int(has.sum()),
        "on disk before": int(on_disk.sum()),
        "of these gone": int((on_disk & ~has).sum()),
        "duplicated": repeats,
        "wrong pixels": wrong,
        "not sound": int(not verdict.sound),
    }


def mapped_wrong(master: Path, archived: Path) -> dict[str, int]:
    """Points of the map that are not the pattern of their frame, or have one of a frame that is not there.

    The map has what the results have: a killed receiver may have had a frame in one of its files only.
    """
    with h5py.File(master) as file, h5py.File(archived) as other:
        has, archived_too = with_data(file), with_data(other)
        index, cube = file["entry/map/frame_index"][()].ravel(), file["entry/map/I"][()].reshape(FRAMES, -1)
        covered = np.zeros(FRAMES, bool)
        told = file["entry/map/covered_frames"][:FRAMES]
        covered[: len(told)] = told
        patterns = file["entry/data/I"][()]
    wrong = (index != np.where(covered, np.arange(FRAMES), -1)) | (covered & ~has)
    for number in np.flatnonzero(covered & has).tolist():
        wrong[number] |= not np.array_equal(cube[number], patterns[number], equal_nan=True)
    problems = check(master).problems
    for text in problems:
        print(text, flush=True)
    return {
        "points": int(covered.sum()),
        "in the map only": int((has & ~archived_too).sum()),
        "in the archive only": int((archived_too & ~has).sum()),
        "wrong points": int(wrong.sum()),
        "points gone": int((has & ~covered).sum()),
        "map not sound": int(bool(problems)),
    }


def with_data(file: h5py.File) -> np.ndarray:
    """bool (FRAMES,), by the ledger."""
    states = file["entry/ledger/status"][:FRAMES]
    found = np.zeros(FRAMES, bool)
    found[: len(states)] = np.isin(states, (1, 2, 3))
    return found


def main() -> int:
    """Print the table; 1 if a frame that was on disk is gone, or is wrong, or a master is not sound or not whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--map", action="store_true", help="each receiver also integrates and maps its frames")
    parser.add_argument("--limit-s", type=float, default=1800.0)
    options = parser.parse_args()
    rng, begun, number = random.Random(options.seed), time.monotonic(), 0
    totals: dict[str, int] = {"scans": 0, "kills": 0}
    with tempfile.TemporaryDirectory() as folder:
        while totals["kills"] < options.kills and time.monotonic() - begun < options.limit_s:
            number += 1
            found = scan(number, Path(folder), rng, options.kills - totals["kills"], options.map) | {"scans": 1}
            for name, count in found.items():
                totals[name] = totals.get(name, 0) + count
            print(f"scan {number}, {time.monotonic() - begun:.0f} s: {found}", flush=True)
    for name, count in totals.items():
        print(f"{name:>15} {count:6d}")
    faults = ("of these gone", "wrong pixels", "not sound", "wrong points", "points gone", "map not sound")
    lost = totals["accounted"] != totals["frames"]
    return int(lost or any(totals.get(name) for name in faults) or totals["kills"] < options.kills)


if __name__ == "__main__":
    sys.exit(main())
