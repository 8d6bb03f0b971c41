"""A map of 200 x 200 points, 1000 radial bins: the cost per frame at its beginning and its end, and reading it back.

    python bench/map.py [--lines 200]

The gatherer and the `hdf5` sink are fed with patterns that are there already: what is measured is the map alone.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
from common import OUT, table

from processors import map as mapping
from sinks import hdf5
from stream import Axis, Encoding, Field, Frame, Payload, Product, ScanEnd, Work
from stream.products import Declared
from stream.roles import Counters
from stream.testing import examples

COLUMNS, BINS = 200, 1000
SOURCE = Product(
    "integrate", (Field("I", (BINS,), np.dtype("f4"), "counts"),), "I", (Axis("q", np.linspace(1, 50, BINS), "nm^-1"),)
)
ROIS = {"austenite": {"range": (10, 12)}, "martensite": {"range": (20, 23), "edge_bins": 3}}


def patterns() -> list[np.ndarray]:
    """Poisson noise on peaks, some different ones."""
    dice, q = np.random.default_rng(1), SOURCE.axes[0].values
    shape = 200 + sum(4000 * np.exp(-(((q - centre) / 0.2) ** 2)) for centre in (11, 17, 21.5, 33))
    return [dice.poisson(shape).astype(np.float32) for _ in range(64)]


class Growing:
    """A map that is made line by line: the gatherer, and the `hdf5` sink behind it."""

    def __init__(self, path: Path, lines: int) -> None:
        path.unlink(missing_ok=True)
        config = mapping.Config(fast={"points": COLUMNS}, slow={"points": lines}, rois=ROIS)
        self._gatherer, self._sink = mapping.create(config), hdf5.create(hdf5.Config(path=str(path)))
        self._work, self._next = Work(), 0
        self._frames = lines * COLUMNS
        scan = replace(examples.scan("one", self._frames), readings={})
        self._work.put(Declared((SOURCE,)))
        self._sink.start(scan, self._gatherer.start(scan, self._work))
        self._payload = Payload(b"", Encoding.RAW, examples.SHAPE, np.dtype("u2"))

    def line(self, pool: list[np.ndarray]) -> tuple[float, float]:
        """One more. Returns CPU seconds per frame, of the gatherer and of the sink."""
        updates = []
        began = time.thread_time()
        for column in range(COLUMNS):
            index, results = self._next * COLUMNS + column, {"I": pool[(self._next + column) % len(pool)]}
            frame = Frame("one", index, {"ch": self._payload}, 0.0, results={"integrate": results})
            self._work.take(frame)
            updates += self._gatherer.take(self._work)
        gathered = time.thread_time()
        for update in updates:
            self._sink.write(update)
        self._sink.tick(Counters())
        self._next += 1
        return (gathered - began) / COLUMNS, (time.thread_time() - gathered) / COLUMNS

    def finish(self) -> None:
        """The rest, and close."""
        end = ScanEnd("one", expected=self._frames)
        for update in self._gatherer.finish(end):
            self._sink.write(update)
        self._sink.finish(end)


def write(path: Path, lines: int, few: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """CPU seconds per frame of `few` lines at a map's beginning and at its end, (gatherer, sink) each: by turns, of a
    map that begins and of one that comes to its end, so that whatever else the machine does meets both."""
    pool = patterns()
    whole, fresh = Growing(path, lines), Growing(path.with_name("map_begun.h5"), lines)
    for _ in range(lines - few):
        whole.line(pool)
    first, last = [], []
    for _ in range(few):
        last.append(whole.line(pool))
        first.append(fresh.line(pool))
    whole.finish()
    fresh.finish()
    return first, last


def read(path: Path, lines: int) -> dict[str, float]:
    """Seconds, the median of 20, each in a file that was just opened."""
    dice, took = np.random.default_rng(2), {"one radial bin": [], "one pattern": [], "total intensity": []}
    for _ in range(20):
        row, column, radius = (int(dice.integers(size)) for size in (lines, COLUMNS, BINS))
        for what, name, where in (
            ("one radial bin", "map/I", (slice(None), slice(None), radius)),
            ("one pattern", "map/I", (row, column)),
            ("total intensity", "map_images/total", ()),
        ):
            with h5py.File(path, "r") as file:
                dataset = file["entry"].get(name) if name in file["entry"] else file["entry/data/" + name.split("/")[1]]
                began = time.perf_counter()
                dataset[where]
                took[what].append(time.perf_counter() - began)
    return {what: statistics.median(each) for what, each in took.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200)
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    path = OUT / "map.h5"
    write(OUT / "map_warm.h5", 6, 3)
    first, last = write(path, options.lines, max(options.lines // 10, 1))
    rows = []
    for what, cost in (("gatherer", lambda each: each[0]), ("sink", lambda each: each[1]), ("**both**", sum)):
        begun, ended = (1e6 * statistics.median(map(cost, each)) for each in (first, last))
        goal = "no more at the end" if what == "**both**" else ""
        text = f"{begun:.1f} µs, {ended:.1f} µs: {ended / begun:.2f}"
        rows.append((f"{what}, CPU per frame: first and last tenth of the lines, by turns", text, goal))
    seconds = read(path, options.lines)
    rows += [(f"reading {what}", f"{1e3 * each:.1f} ms", "<= 50 ms") for what, each in seconds.items()]
    size, raw = path.stat().st_size / 1e6, 4e-6 * options.lines * COLUMNS * BINS
    rows.append(("size of the file", f"{size:.0f} MB of {raw:.0f} MB uncompressed", ""))
    table(f"map of {options.lines} x {COLUMNS} points, {BINS} radial bins, {len(ROIS)} regions", rows)


if __name__ == "__main__":
    main()
