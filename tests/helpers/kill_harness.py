"""Kill a writing process at random instants, again and again, and look at what is in its files.

    python tests/helpers/kill_harness.py --kills 200 --sinks archive,hdf5,sparse

A child writes a scan through a sink and tells through a pipe which frames it has flushed; it is killed by SIGKILL, the
next child goes on with the same file. After each kill every frame that was flushed must be in the file, with the right
values; at the end of a scan there must be neither a hole nor a duplicate. Exit code 0 only if that is so.
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import sink_examples
import sparse_examples
from sink_examples import image, pattern, scan

from sinks.check import check
from sinks.file import ledger, superblock
from sinks.file.ledger_reader import read
from sinks.file.repair import repair
from stream.events import ScanEnd

READY = -1
FRAMES = 400
PATIENCE_S = 60.0


@dataclass
class Tally:
    """One row of the table."""

    sink: str
    kills: int = 0
    repaired: int = 0
    scans: int = 0
    flushed: int = 0
    present: int = 0
    lost: int = 0
    holes: int = 0
    duplicates: int = 0
    unsound: int = 0


def examples(kind: str) -> Any:
    """The module that makes sinks, frames and products of this kind."""
    return sparse_examples if kind == "sparse" else sink_examples


def make(kind: str, path: Path, **options: Any) -> Any:
    """A sink of this kind."""
    return sparse_examples.make(path, **options) if kind == "sparse" else sink_examples.make(kind, path, **options)


def write(kind: str, path: Path, report: int, flush_frames: int) -> None:
    """The child: write the whole scan, or what is left of it; report the number of frames that are safe."""
    sink = make(kind, path, flush_frames=flush_frames, flush_ms=20)
    stored = sink.start(scan(expected=FRAMES), (examples(kind).PRODUCT,))
    held = {} if stored is None else {i for i, state in enumerate(stored.states) if state == 1}
    os.write(report, f"{READY}\n".encode())
    mine: list[int] = []
    # every 50th frame comes late, so that rows are patched too
    order = sorted(range(FRAMES), key=lambda index: index + (5.5 if index % 50 == 7 else 0))
    for index in order:
        if index not in held:
            sink.write(examples(kind).frame(index))
            mine.append(index)
            if not sink.at_risk:
                os.write(report, "".join(f"{done}\n" for done in mine).encode())
                mine.clear()
    sink.finish(ScanEnd("01-first", announced=FRAMES, expected=FRAMES))
    sink.close()


def verify(kind: str, path: Path, flushed: set[int], complete: bool) -> dict[str, int]:
    """Look into a file after a kill (a copy of it, repaired), or after the end of the scan."""
    if not complete:
        copy = path.with_name("copy.h5")
        shutil.copyfile(path, copy)
        path = copy
    repaired = not superblock.read(path).clean
    repair(path)
    with h5py.File(path, "r") as file:
        record = read(file)
        numbers = file["/entry/ledger/frame_number"][:]
        held = np.flatnonzero(ledger.HAS_DATA[record.states]).tolist()
        right = {index for index in held if is_right(kind, file, index)}
    return {
        "repaired": int(repaired),
        "present": len(flushed & right),
        "lost": len(flushed - right) + len(set(held) - right),
        "holes": FRAMES - len(right) if complete else 0,
        "duplicates": len(numbers) - len(set(numbers.tolist())) + max(0, len(numbers) - FRAMES) + record.repeats,
        "unsound": int(complete and not check(path).sound),
    }


def is_right(kind: str, file: Any, index: int) -> bool:
    """True if a frame that the ledger has is in the file with its own values."""
    if kind != "sparse":
        row = file["/entry/data/data" if kind == "archive" else "/entry/data/I"][index]
        return np.array_equal(row, image(index) if kind == "archive" else pattern(index))
    group, late = file["/entry/sparse_frames"], file["/entry/late"]
    start, stop = group["frame_ptr"][index : index + 2]
    (waits,) = np.nonzero(late["frame"][: len(late["end"])] == index)
    if len(waits):  # until the end of the scan
        group, place = late, int(waits[-1])
        start, stop = late["end"][place - 1] if place else 0, late["end"][place]
    found = sparse_examples.frame(index).results["sparsify"]
    return (
        np.array_equal(group["index"][start:stop], found["index"])
        and np.array_equal(group["intensity"][start:stop], found["intensity"])
        and np.array_equal(file["/entry/sparse_frames/background_avg"][index], found["background_avg"])
        and file["/entry/counts/picked"][index] == found["picked"]
        and file["/entry/peaks/nPeaks"][index] == found["peaks"]
    )


def harass(kind: str, kills: int, seed: int, folder: Path) -> Tally:
    """Kill `kills` times; scans that come to their end in between are verified as a whole."""
    dice = random.Random(seed)
    tally = Tally(kind)
    path = folder / f"{kind}.h5"
    flushed: set[int] = set()
    while tally.kills < kills:
        reader, writer = os.pipe()
        flush_frames = dice.choice((1, 3, 16, 0))
        child = fork(lambda: write(kind, path, writer, flush_frames), reader)  # noqa: B023
        os.close(writer)
        killed = kill_sometime(child, reader, dice, flushed)
        os.close(reader)
        if not path.exists():
            tally.kills += killed
            continue
        found = ask(lambda: verify(kind, path, flushed, not killed))  # noqa: B023
        if killed:
            tally.kills += 1
            tally.flushed += len(flushed)
            tally.present += found["present"]
        for name in ("repaired", "lost", "holes", "duplicates", "unsound"):
            setattr(tally, name, getattr(tally, name) + found[name])
        if not killed:
            tally.scans += 1
            flushed.clear()
            path.unlink()
    return tally


def kill_sometime(child: int, reader: int, dice: random.Random, flushed: set[int]) -> bool:
    """Let the child run for a random time after it is ready, then kill it. False if it had finished before."""
    data = b""
    deadline: float | None = None
    if dice.random() < 0.15:
        deadline = time.monotonic() + dice.uniform(0, 0.03)  # while it opens, repairs or declares
    while True:
        left = PATIENCE_S if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reader], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            if deadline is None:
                raise TimeoutError(f"the writer did not report within {PATIENCE_S} s")
            deadline = time.monotonic() + PATIENCE_S
            continue
        part = os.read(reader, 65536)
        if not part:
            break
        data += part
        if deadline is None and data.startswith(b"-1\n"):
            deadline = time.monotonic() + dice.uniform(0, 0.15)
    _, status = os.waitpid(child, 0)
    flushed.update(int(line) for line in data[: data.rfind(b"\n") + 1].split() if int(line) >= 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError("the writer failed by itself, see above")
    return False


def fork(work: Callable[[], Any], *unneeded: int) -> int:
    """Run `work` in a child that has this process's imports already; HDF5 is never used in the parent."""
    child = os.fork()
    if child:
        return child
    try:
        for descriptor in unneeded:
            os.close(descriptor)
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def ask(question: Callable[[], dict[str, int]]) -> dict[str, int]:
    """The answer of a child."""
    reader, writer = os.pipe()
    child = fork(lambda: os.write(writer, json.dumps(question()).encode()), reader)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError("the file cannot be verified, see above")
    found: dict[str, int] = json.loads(answer)
    return found


def table(tallies: list[Tally]) -> str:
    """The result for people."""
    names = list(asdict(tallies[0]))
    lines = ["  ".join(f"{name:>10}" for name in names)]
    lines += ["  ".join(f"{getattr(tally, name):>10}" for name in names) for tally in tallies]
    return "\n".join(lines)


def main() -> int:
    """Run and print the table (or JSON)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="for all sinks together")
    parser.add_argument("--sinks", default="archive,hdf5,sparse")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = options.sinks.split(",")
    with tempfile.TemporaryDirectory(prefix="inbeam-kill-") as folder:
        tallies = [
            harass(kind, -(-options.kills // len(kinds)), options.seed + number, Path(folder))
            for number, kind in enumerate(kinds)
        ]
    print(json.dumps([asdict(tally) for tally in tallies]) if options.json else table(tallies))
    sound = all(
        tally.flushed == tally.present and not (tally.lost or tally.holes or tally.duplicates or tally.unsound)
        for tally in tallies
    )
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
