"""The live page with ten viewers of an EIGER2 4M: what it takes from `process`, its CPU per image, and how late it is.

    python bench/page.py [--frames 600]

The viewers are ten connections of one process with the lowest priority, as browsers on other machines would be none of
ours. They read everything, and say `shown` at once.
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
from pathlib import Path

import yaml
from common import OUT, frame_file, inbeam, measure, table
from websockets.asyncio.client import connect

from sinks.page import Config, Page
from stream.codec.native import bslz4_compress
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
    watch = {"kind": "watch", "views": {"detector": {"source": "image threshold_1", "size": 900}}}
    while True:
        try:
            async with connect(url, max_size=None, proxy=None, compression=None) as socket:
                for message in ({"kind": "hello"}, watch):
                    await socket.send(json.dumps(message))
                async for message in socket:
                    if isinstance(message, str):
                        if json.loads(message)["kind"] == "turn":
                            await socket.send('{"kind": "shown"}')
                        continue
                    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                    if header["kind"] == "image":
                        lags.append(time.time() - header["received"])
        except OSError:
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
        self._command = [sys.executable, __file__, "--watch", url, str(self._path)]
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
    page = Page(Config(endpoint="127.0.0.1:0", rate_hz=RATE_HZ))
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


def process(path: Path, page: bool) -> float:
    """Wall seconds of `inbeam process`, with ten viewers or without a page."""
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
    command = inbeam("process", "--quiet", str(config), str(path))
    if not page:
        return measure(command).wall_s
    with Viewers(f"ws://127.0.0.1:{port}/live"):
        return measure(command).wall_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        os.nice(19)
        asyncio.run(watch_all(options.watch[0], Path(options.watch[1])))
        return
    path = frame_file(eiger2_4m(), options.frames)
    process(path, page=True)  # fills the caches
    pairs = [(process(path, page=False), process(path, page=True)) for _ in range(5)]
    least = min(without for without, _ in pairs), min(with_it for _, with_it in pairs)
    ratios = sorted(with_it / without - 1 for without, with_it in pairs)
    theirs, ours, lags, updates = served(15.0)
    lags.sort()
    taken = least[1] / least[0] - 1
    rows = [
        (
            f"**taken from `process` by the page with {VIEWERS} viewers**, best of 5 against best of 5",
            f"**{100 * taken:.1f} %** (pairs: {', '.join(f'{100 * each:.1f}' for each in ratios)})",
            "<= 1 %",
        ),
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
