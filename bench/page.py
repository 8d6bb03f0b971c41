"""The live page with ten viewers of an EIGER2 4M: what it takes from `process`, its CPU per image, and how late it is.

    python bench/page.py [--frames 1000]

The viewers are ten connections of one process with the lowest priority, as browsers on other machines would be none of
ours. They read everything, and say `shown` at once.

What is taken from busy cores is told twice. Exactly: the CPU per second of the sink, which is a thread in the process
of the pipeline, and of the process that serves, while others want every core; the workers of a pipeline could have had
it. And by turns, as frames per second of `process` with and without a page in the last of three scans: this has in it
what the caches lose, the viewers and, on a machine that others use too, the start of the page; from run to run it
differs by more than the page takes.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import yaml
from common import OUT, frame_file, inbeam, measure, table
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sinks.live.preview import preview
from sinks.page import Config, Page
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.commands.demo import free_port
from stream.events import Encoding, Frame, Payload
from stream.roles import Counters
from stream.simulate.eiger import eiger2_4m, frames
from stream.simulate.encode import scan_of

VIEWERS = 10
RATE_HZ = 5.0
TICK_S = 0.01


async def view(url: str, lags: list[float]) -> None:
    """One viewer, until the page ends; comes again while it is not there yet."""
    while True:
        try:
            async with connect(url, max_size=None, proxy=None, compression=None) as socket:
                await socket.send('{"kind": "hello"}')
                source = ""
                async for message in socket:
                    if isinstance(message, str):
                        told = json.loads(message)
                        if told["kind"] == "turn":
                            if not source and (
                                images := [each for each in told["sources"] if each.startswith("image ")]
                            ):
                                source = images[0]
                                views = {"detector": {"source": source, "size": 900}}
                                await socket.send(json.dumps({"kind": "watch", "views": views}))
                            await socket.send('{"kind": "shown"}')
                        continue
                    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                    if header["kind"] == "image":
                        lags.append(time.time() - header["received"])
        except (OSError, WebSocketException):
            await asyncio.sleep(0.05)


async def watch_all(url: str, path: Path) -> None:
    """Ten of them, until their standard input ends; the lags go to a file."""
    lags: list[float] = []
    tasks = [asyncio.create_task(view(url, lags)) for _ in range(VIEWERS)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    path.write_text(json.dumps(lags))


class Viewers:
    """Context manager: ten viewers look inside the block; `lags` are the seconds from each frame to each viewer."""

    def __init__(self, url: str) -> None:
        self._path = OUT / "lags.json"
        self._command = ["nice", "-n", "19", sys.executable, __file__, "--watch", url, str(self._path)]
        self.lags: list[float] = []

    def __enter__(self) -> "Viewers":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)
        self.lags = json.loads(self._path.read_text())


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Served:
    """CPU seconds of the serving process and of the sink in `wall` seconds, in which `updates` were given to the page.

    lags: seconds from each frame to each viewer, of the whole time.
    """

    theirs: float
    ours: float
    wall: float
    updates: int
    lags: list[float]


def served(seconds: float, share: float, start_s: float) -> Served:
    """Ten viewers of frames at RATE_HZ; measured from `start_s` on: they have come, kernels are loaded."""
    detector = eiger2_4m()
    packed = [bslz4_compress(next(iter(each.values()))) for each in frames(detector, 8)]
    shape, dtype = detector.shape, detector.dtype
    page = Page(Config(endpoint="127.0.0.1:0", rate_hz=RATE_HZ, share=share))
    page.start(scan_of(detector, expected=100_000, name="bench"), [])
    url = page.address.replace("http", "ws") + "live"
    with Viewers(url) as viewers:
        index = first = 0
        begin = ended = time.monotonic() + start_s
        ours = theirs = 0.0
        due = time.monotonic()
        child = page.child
        assert child is not None and child.pid is not None
        while ended < begin + seconds:
            now = time.monotonic()
            if now >= due:
                payload = Payload(packed[index % len(packed)], Encoding.BSLZ4, shape, dtype)
                page.write(Frame("bench", index, {"threshold_1": payload}, time.time()))
                index, due = index + 1, due + 1.0 / RATE_HZ
            page.tick(Counters())
            if now >= begin and not theirs:
                begin, first, theirs, ours = now, index, cpu_of(child.pid), time.process_time()
            time.sleep(TICK_S)
            ended = now
        theirs, ours = cpu_of(child.pid) - theirs, time.process_time() - ours
    page.close()
    return Served(theirs, ours, ended - begin, index - first, viewers.lags)


@contextmanager
def busy() -> Iterator[int]:
    """Every core is wanted by somebody else; how many there are."""
    cores = os.cpu_count() or 1
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield cores
    finally:
        for each in burning:
            each.kill()
            each.wait()


def process(path: Path, page: bool) -> float:
    """Frames per second of the last of three scans in `inbeam process`, with ten viewers or without a page."""
    folder = OUT / "page"
    shutil.rmtree(folder, ignore_errors=True)
    port = free_port()
    integrate = {"type": "integrate", "poni": str(path.with_suffix(".poni")), "npt": 1000, "error_model": "poisson"}
    sinks: list[dict[str, object]] = [{"type": "hdf5", "path": str(folder / "{scan}.h5")}]
    if page:
        sinks.append({"type": "page", "endpoint": f"127.0.0.1:{port}", "rate_hz": RATE_HZ})
    document = {
        "stream": {"type": "files", "files": [str(path)]},
        "processors": [{"type": "correct"}, integrate],
        "sinks": sinks,
    }
    config = OUT / "page.yaml"
    config.write_text(yaml.safe_dump(document))
    scans = [path.with_stem(f"again{number}") for number in range(3)]
    for scan in scans:
        scan.unlink(missing_ok=True)
        scan.hardlink_to(path)
    command = inbeam("process", "--quiet", str(config), *map(str, scans))
    with Viewers(f"ws://127.0.0.1:{port}/live") if page else nullcontext():
        measure(command, quiet=True)
    with h5py.File(folder / f"{scans[-1].stem}.h5") as file:
        at = np.sort(file["entry/ledger/received_time"][()])
    return float((len(at) - 1) / (at[-1] - at[0]))


def taken(path: Path, pairs: int) -> list[tuple[str, str, str]]:
    """Rows of the table: what the page takes from busy cores."""
    with busy() as cores:
        found = served(20.0, Config().share, 15.0)
    shares = [100 * each / (cores * found.wall) for each in (found.theirs, found.ours)]
    process(path, page=True)  # fills the caches
    rates = [(process(path, page=False), process(path, page=True)) for _ in range(pairs)]
    slower = sorted(100 * (1 - with_it / without) for without, with_it in rates)
    return [
        (
            f"**taken by the page with {VIEWERS} viewers from {cores} busy cores**, of their time",
            f"**{sum(shares):.2f} %**: {shares[0]:.2f} % the serving process, {shares[1]:.2f} % the sink",
            "<= 1 %",
        ),
        (
            "`process` with such a page against none, frames per second, median of pairs",
            f"{statistics.median(slower):.1f} % fewer ({', '.join(f'{each:.1f}' for each in slower)})",
            "",
        ),
    ]


def compile_kernels() -> None:
    """Those that draw the frames, as the page does: on a machine where they are new it takes many seconds, once."""
    detector = eiger2_4m()
    image = next(iter(next(iter(frames(detector, 1))).values()))
    for bad in (None, np.zeros(image.shape, bool)):
        preview(decode(Payload(bslz4_compress(image), Encoding.BSLZ4, image.shape, image.dtype)), 512, "mean", bad)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        asyncio.run(watch_all(options.watch[0], Path(options.watch[1])))
        return
    compile_kernels()
    rows = taken(frame_file(eiger2_4m(), options.frames), options.pairs)
    found = served(15.0, 1.0, 3.0)
    lags = sorted(found.lags[len(found.lags) // 4 :])
    theirs, ours = (1e3 * each / found.updates for each in (found.theirs, found.ours))
    rows += [
        (f"**CPU per update, {VIEWERS} viewers**, serving process", f"**{theirs:.1f} ms**", "<= 15 ms"),
        ("the same, the sink in inbeam's process", f"{ours:.1f} ms", ""),
        (
            f"**frame to viewer**, median and 99 % of {len(lags)}",
            f"**{1e3 * statistics.median(lags):.0f} ms**, {1e3 * lags[int(0.99 * (len(lags) - 1))]:.0f} ms",
            "<= 200 ms to the screen",
        ),
    ]
    table(f"live page: EIGER2 4M, {VIEWERS} viewers, {RATE_HZ:g} images/s", rows)


if __name__ == "__main__":
    main()
