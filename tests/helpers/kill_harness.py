"""Kill a writing process at random instants, again and again, and look at what is in its files.

    python tests/helpers/kill_harness.py --kills 200 --sinks archive,hdf5,sparse

A child writes a scan through a sink and tells through a pipe which frames it has flushed; it is killed by SIGKILL, the
next child goes on with the same file. After each kill every frame that was flushed must be in the file, with the right
values; at the end of a scan there must be neither a hole nor a duplicate. Exit code 0 only if that is so. Meanwhile
viewers open the growing file as the README says, read it, hold it, and close it some time or other: where one stays,
the scan goes on in a further file.
"""

import argparse
import itertools
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

from sinks import nxtomo
from sinks.check import check
from sinks.file import ledger_layout, locks, naming, superblock
from sinks.file.ledger_reader import read
from sinks.file.repair import repair
from sinks.sparse_frames.merge import merge_late
from stream.events import ScanEnd

READY = -1
FRAMES = 400
PATIENCE_S = 60.0
WRITERS_PATIENCE_S = 0.1
"""How long a writer waits here for a viewer to go: some stay longer."""
VIEWED = 0.6
"""Share of the writers that get a viewer."""
MOST_VIEWERS = 4


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
    viewers: int = 0
    misled: int = 0
    """Viewers that have read another value than was written."""
    continued: int = 0
    """Files that go on with another one."""


def examples(kind: str) -> Any:
    """The module that makes sinks, frames and products of this kind."""
    return sparse_examples if kind == "sparse" else sink_examples


def make(kind: str, path: Path, **options: Any) -> Any:
    """A sink of this kind."""
    return sparse_examples.make(path, **options) if kind == "sparse" else sink_examples.make(kind, path, **options)


def write(kind: str, path: Path, report: int, flush_frames: int) -> None:
    """The child: write the whole scan, or what is left of it; report the number of frames that are safe."""
    locks.PATIENCE_S = WRITERS_PATIENCE_S
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


def parts(path: Path) -> list[Path]:
    """The files of the scan that are there, from the first on."""
    names = itertools.takewhile(Path.exists, naming.numbered(path))
    return list(names)


def verify(kind: str, path: Path, flushed: set[int], complete: bool) -> dict[str, int]:
    """Look into the files (into copies of them, repaired) after a kill, or after the end of the scan."""
    folder = path.parent / "copies"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    found = dict.fromkeys(("repaired", "lost", "duplicates", "unsound"), 0)
    right: list[int] = []
    for part in parts(path):
        shutil.copyfile(part, folder / part.name)
    copies = [folder / part.name for part in parts(path)]
    for copy in copies:
        found["repaired"] += not superblock.read(copy).clean
        repair(copy)
        with h5py.File(copy, "r") as file:
            record = read(file)
            numbers = file["/entry/ledger/frame_number"][:]
            held = np.flatnonzero(ledger_layout.HAS_DATA[record.states]).tolist()
            here = [index for index in held if is_right(kind, file, index)]
        right += here
        found["lost"] += len(held) - len(here)
        found["duplicates"] += len(numbers) - len(set(numbers.tolist())) + max(0, len(numbers) - FRAMES)
        found["duplicates"] += record.repeats
    if complete:
        for copy in copies[:-1]:
            merge_late(copy)
        found["unsound"] = sum(not check(copy).sound for copy in copies)
    found["duplicates"] += len(right) - len(set(right))
    return {
        **found,
        "lost": found["lost"] + len(flushed.difference(right)),
        "present": len(flushed.intersection(right)),
        "holes": FRAMES - len(set(right)) if complete else 0,
    }


def view(kind: str, path: Path, hold_s: float, seed: int) -> None:
    """A viewer: reads frames while the file grows, and keeps it open. Exit code 3 if one is not as it was written."""
    dice, until = random.Random(seed), time.monotonic() + hold_s
    # the writer is another process, which tells nobody of its file: a viewer has to look again, as those of users do
    while not (there := parts(path)) and time.monotonic() < until:
        time.sleep(0.005)
    if not there:
        return
    try:
        file = h5py.File(dice.choice(there), "r", swmr=True)
    except OSError:  # killed while it was being reopened
        return
    rows = {"archive": "/entry/data/data", "nxtomo": "/entry/data/data", "hdf5": "/entry/data/I"}.get(kind)
    while time.monotonic() < until:
        time.sleep(0.02)
        if rows is None:
            continue
        status, data = file["/entry/ledger/status"], file[rows]
        try:
            status.refresh()
            data.refresh()
            if kind == "nxtomo":
                for place in (nxtomo.ANGLE, nxtomo.KEY):
                    file[place].refresh()
            held = np.flatnonzero(ledger_layout.HAS_DATA[status[:]])
            index = int(dice.choice(held)) if len(held) else -1
            if index >= 0 and not is_right(kind, file, index):
                os._exit(3)
        except OSError:  # what is being written just now
            continue


def is_right(kind: str, file: Any, index: int) -> bool:
    """True if a frame that the ledger has is in the file with its own values."""
    if kind != "sparse":
        pixels = kind in ("archive", "nxtomo")
        row = file["/entry/data/data" if pixels else "/entry/data/I"][index]
        told = kind != "nxtomo" or (file[nxtomo.KEY][index] == 0 and file[nxtomo.ANGLE][index] == 0.5 * index)
        return told and np.array_equal(row, image(index) if pixels else pattern(index))
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
    path = folder / kind / f"{kind}.h5"
    path.parent.mkdir()
    flushed: set[int] = set()
    viewers: list[int] = []
    while tally.kills < kills:
        reader, writer = os.pipe()
        flush_frames = dice.choice((1, 3, 16, 0))
        child = fork(lambda: write(kind, path, writer, flush_frames), reader)  # noqa: B023
        os.close(writer)
        if dice.random() < VIEWED and len(viewers) < MOST_VIEWERS:
            hold_s, number = dice.choice((0.05, 0.2, 1.0)), dice.randrange(1 << 30)
            viewers.append(fork(lambda: view(kind, path, hold_s, number)))  # noqa: B023
            tally.viewers += 1
        killed = kill_sometime(child, reader, dice, flushed)
        os.close(reader)
        tally.misled += reaped(viewers, os.WNOHANG)
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
            tally.misled += reaped(viewers, 0)
            tally.continued += len(parts(path)) - 1
            flushed.clear()
            for part in parts(path)[::-1]:
                part.unlink()
    tally.misled += reaped(viewers, 0)
    tally.continued += max(0, len(parts(path)) - 1)
    return tally


def reaped(viewers: list[int], how: int) -> int:
    """Forget the viewers that have ended (with 0: wait for all); returns how many were misled."""
    misled = 0
    for viewer in list(viewers):
        child, status = os.waitpid(viewer, how)
        if child:
            viewers.remove(viewer)
            misled += status != 0
    return misled


def kill_sometime(child: int, reader: int, dice: random.Random, flushed: set[int]) -> bool:
    """Let the child run for a random time after it is ready, or after its first flush, then kill it.

    By time alone, a machine that is busy would kill every writer before it has flushed anything. False if the child had
    finished before.
    """
    data = b""
    awaited = dice.choice((1, 2))  # lines: that it is ready, and the first frame that is safe
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
        if deadline is None and data.count(b"\n") >= awaited:
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
        tally.flushed == tally.present
        and not (tally.lost or tally.holes or tally.duplicates or tally.unsound or tally.misled)
        for tally in tallies
    )
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
