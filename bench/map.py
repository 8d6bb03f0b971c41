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


def write(path: Path, lines: int) -> tuple[list[float], list[float]]:
    """Seconds per frame, line by line: of the gatherer, and of the sink."""
    path.unlink(missing_ok=True)
    config = mapping.Config(fast={"points": COLUMNS}, slow={"points": lines}, rois=ROIS)
    gatherer, sink = mapping.create(config), hdf5.create(hdf5.Config(path=str(path)))
    work, scan = Work(), replace(examples.scan("one", lines * COLUMNS), readings={})
    work.put(Declared((SOURCE,)))
    sink.start(scan, gatherer.start(scan, work))
    pool, payload = patterns(), Payload(b"", Encoding.RAW, examples.SHAPE, np.dtype("u2"))
    gathering, writing = [], []
    for line in range(lines):
        updates = []
        began = time.perf_counter()
        for column in range(COLUMNS):
            index = line * COLUMNS + column
            frame = Frame("one", index, {"ch": payload}, 0.0, results={"integrate": {"I": pool[(line + column) % 64]}})
            work.take(frame)
            updates += gatherer.take(work)
        gathered = time.perf_counter()
        for update in updates:
            sink.write(update)
        sink.tick(Counters())
        gathering.append((gathered - began) / COLUMNS)
        writing.append((time.perf_counter() - gathered) / COLUMNS)
    for update in gatherer.finish(ScanEnd("one", expected=lines * COLUMNS)):
        sink.write(update)
    sink.finish(ScanEnd("one", expected=lines * COLUMNS))
    return gathering, writing


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
    write(OUT / "map_warm.h5", 3)
    gathering, writing = write(path, options.lines)
    few = max(options.lines // 10, 1)

    def ends(each: list[float]) -> tuple[float, float]:
        return 1e6 * statistics.median(each[:few]), 1e6 * statistics.median(each[-few:])

    both = [one + other for one, other in zip(gathering, writing, strict=True)]
    rows = []
    for what, each in (("gatherer", gathering), ("sink", writing), ("**both**", both)):
        first, last = ends(each)
        goal = "no more at the end" if each is both else ""
        rows.append((f"{what}, per frame: first and last tenth of the lines", f"{first:.1f} µs, {last:.1f} µs", goal))
    seconds = read(path, options.lines)
    rows += [(f"reading {what}", f"{1e3 * each:.1f} ms", "<= 50 ms") for what, each in seconds.items()]
    size, raw = path.stat().st_size / 1e6, 4e-6 * options.lines * COLUMNS * BINS
    rows.append(("size of the file", f"{size:.0f} MB of {raw:.0f} MB uncompressed", ""))
    table(f"map of {options.lines} x {COLUMNS} points, {BINS} radial bins, {len(ROIS)} regions", rows)


if __name__ == "__main__":
    main()
