"""The live page with ten viewers of an EIGER2 4M: what it takes from `process`, its CPU per image, and how late it is.

    python bench/page.py [--frames 1000]

The viewers are ten connections of one process with the lowest priority, as browsers on other machines would be none of
ours. They read everything, and say `shown` at once.

What is taken is told twice, both for the last of three scans, so without what starts once. The CPU that the page had is
exact: the thread of its sink in the process of the pipeline, and the process that serves; whatever either has of the
time of all cores, the workers could have had, if every core is busy. The throughput with and without a page, by turns,
has in it what the caches lose, and the viewers; but from run to run it differs by more than the page takes.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import yaml
from common import OUT, frame_file, measure, table
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sinks.live.preview import preview
from sinks.page import Config, Page
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.commands.demo import free_port
from stream.commands.main import main as run
from stream.events import Encoding, Frame, Payload
from stream.roles import Counters
from stream.simulate.eiger import eiger2_4m, frames
from stream.simulate.encode import scan_of

VIEWERS = 10
RATE_HZ = 5.0
TICK_S = 0.01
SAMPLE_S = 0.05


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


def served(seconds: float) -> tuple[float, float, list[float], int]:
    """(CPU of the serving process and of the sink per update, s; lags, s; updates) at RATE_HZ."""
    detector = eiger2_4m()
    packed = [bslz4_compress(next(iter(each.values()))) for each in frames(detector, 8)]
    shape, dtype = detector.shape, detector.dtype
    page = Page(Config(endpoint="127.0.0.1:0", rate_hz=RATE_HZ, share=1.0))
    page.start(scan_of(detector, expected=100_000, name="bench"), [])
    url = page.address.replace("http", "ws") + "live"
    with Viewers(url) as viewers:
        index = 0
        begin = ended = time.monotonic() + 3.0  # the viewers have come, kernels are loaded
        ours = theirs = 0.0
        updates = first = 0
        due = time.monotonic()
        assert page.child is not None and page.child.pid is not None
        while ended < begin + seconds:
            now = time.monotonic()
            if now >= due:
                payload = Payload(packed[index % len(packed)], Encoding.BSLZ4, shape, dtype)
                page.write(Frame("bench", index, {"threshold_1": payload}, time.time()))
                index, due = index + 1, due + 1.0 / RATE_HZ
            page.tick(Counters())
            if now >= begin and not theirs:
                first, theirs, ours = index, cpu_of(page.child.pid), time.process_time()
            time.sleep(TICK_S)
            ended = now
        updates = index - first
        theirs, ours = cpu_of(page.child.pid) - theirs, time.process_time() - ours
    page.close()
    settled = viewers.lags[len(viewers.lags) // 4 :]
    return theirs / updates, ours / updates, settled, updates


@dataclass(frozen=True)
class Taken:
    """Of one run of `inbeam process`, of its last scan, so without what starts once.

    own, thread, served: CPU seconds of its process, of the page's thread in it, of the process that serves. rate:
    frames per second. images: those that the viewers got, in all, by seconds of the whole run.
    """

    own: float
    thread: float
    served: float
    rate: float
    wall: float
    """Seconds."""
    started: float
    """CPU seconds of the process that serves before that."""
    images: float = 0.0


def pipeline(path: Path, arguments: list[str]) -> None:
    """`inbeam` in this process; a thread of ours notes CPU times while it runs, which go to a file."""
    samples: list[tuple[float, ...]] = []
    over = threading.Event()

    def note() -> None:
        children: list[int] = []
        while not over.wait(SAMPLE_S):
            lanes = [each.ident for each in threading.enumerate() if each.name.endswith(" page")]
            clocks = [time.pthread_getcpuclockid(each) for each in lanes if each is not None]
            thread = sum(time.clock_gettime(each) for each in clocks)
            for task in Path("/proc/self/task").iterdir():
                children += [int(each) for each in (task / "children").read_text().split()]
            with suppress(OSError):  # it has ended
                served = cpu_of(children[0]) if children else 0.0
                samples.append((time.time(), time.process_time(), thread, served))

    threading.Thread(target=note, daemon=True).start()
    sys.argv = ["inbeam", *arguments]
    try:
        run()
    finally:
        over.set()
        path.write_text(json.dumps(samples))


def process(path: Path, page: bool) -> Taken:
    """`inbeam process`, with ten viewers or without a page."""
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
    config, times = OUT / "page.yaml", OUT / "page_times.json"
    config.write_text(yaml.safe_dump(document))
    scans = [path.with_stem(f"again{number}") for number in range(3)]
    for scan in scans:
        scan.unlink(missing_ok=True)
        scan.hardlink_to(path)
    arguments = ["process", "--quiet", str(config), *map(str, scans)]
    command = [sys.executable, __file__, "--pipeline", str(times), *arguments]
    images = 0.0
    if page:
        with Viewers(f"ws://127.0.0.1:{port}/live") as viewers:
            cost = measure(command, quiet=True)
        images = len(viewers.lags) / cost.wall_s
    else:
        measure(command, quiet=True)
    with h5py.File(folder / f"{scans[-1].stem}.h5") as file:
        at = np.sort(file["entry/ledger/received_time"][()])
    samples = np.array(json.loads(times.read_text())).T
    own, thread, served = (np.interp((at[0], at[-1]), samples[0], each) for each in samples[1:])
    spent = (float(each[1] - each[0]) for each in (own, thread, served))
    wall = float(at[-1] - at[0])
    return Taken(*spent, (len(at) - 1) / wall, wall, float(served[0]), images)


def taken(path: Path, pairs: int) -> list[tuple[str, str, str]]:
    """Rows of the table: what the page takes from `process`."""
    process(path, page=True)  # fills the caches
    without, with_it = zip(*((process(path, page=False), process(path, page=True)) for _ in range(pairs)), strict=True)
    cores = os.cpu_count() or 1
    of_all = [100 * (each.thread + each.served) / (cores * each.wall) for each in with_it]
    thread_of_all = [100 * each.thread / (cores * each.wall) for each in with_it]
    shares = [100 * (each.thread + each.served) / (each.own + each.served) for each in with_it]
    slower = sorted(100 * (1 - one.rate / other.rate) for other, one in zip(without, with_it, strict=True))
    median = statistics.median
    rates = [median(each.rate for each in runs) for runs in (without, with_it)]
    return [
        (
            f"**taken by the page with {VIEWERS} viewers while `process` runs**: of the time of all cores",
            f"**{median(of_all):.2f} %** ({min(of_all):.2f} to {max(of_all):.2f}); "
            f"in inbeam's process {median(thread_of_all):.2f} % of it",
            "<= 1 %",
        ),
        (
            "the same, of the CPU that `process` and the page had (no less, if others work on this machine too)",
            f"{median(shares):.2f} %",
            "",
        ),
        (
            "the same, frames per second with a page against none",
            f"{median(slower):.1f} % fewer (pairs: {', '.join(f'{each:.1f}' for each in slower)}; "
            f"{rates[0]:.0f} and {rates[1]:.0f} frames/s)",
            "",
        ),
        (
            "images that each viewer got meanwhile; CPU of the start of the process that serves",
            f"{median(each.images for each in with_it) / VIEWERS:.2f} per second; "
            f"{median(each.started for each in with_it):.2f} s, once",
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
    parser.add_argument("--pipeline", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        asyncio.run(watch_all(options.watch[0], Path(options.watch[1])))
        return
    if options.pipeline:
        pipeline(Path(options.pipeline[0]), options.pipeline[1:])
        return
    compile_kernels()
    rows = taken(frame_file(eiger2_4m(), options.frames), options.pairs)
    theirs, ours, lags, updates = served(15.0)
    lags.sort()
    rows += [
        (f"**CPU per update, {VIEWERS} viewers**, serving process", f"**{1e3 * theirs:.1f} ms**", "<= 15 ms"),
        ("the same, the sink in inbeam's process", f"{1e3 * ours:.1f} ms", ""),
        (
            f"**frame to viewer**, median and 99 % of {len(lags)}",
            f"**{1e3 * statistics.median(lags):.0f} ms**, {1e3 * lags[int(0.99 * (len(lags) - 1))]:.0f} ms",
            "<= 200 ms to the screen",
        ),
        ("images that the viewers got, of those sent", f"{len(lags)} of some {int(0.75 * VIEWERS * updates)}", ""),
    ]
    table(f"live page: EIGER2 4M, {VIEWERS} viewers, {RATE_HZ:g} images/s", rows)


if __name__ == "__main__":
    main()
