"""Several receivers of one detector: what merging costs, and how long the ledgers of many take to become one.

Small frames (256 x 256 uint16, bslz4) from a socket into the archive: by one reader, by one, two and four connections
of one process (`several`), and by one, two and four processes (`run --receivers`); then the ledgers of 16 receivers
with 1 000 000 frame numbers.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from common import OUT, Cost, inbeam, reap, table

from sinks.file.ledger_layout import CHUNK_ROWS, COLUMNS, GROUP, PER_CHANNEL
from sinks.receivers.ledgers import Part, column, merge
from stream.commands.demo import free_port
from stream.events import FrameStatus


def received(frames: int, rate: str, connections: int, receivers: int) -> tuple[Cost, int]:
    """(cost of all receiving processes, frames that the file has). connections: 0: no `several`."""
    folder = OUT / "several"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    one: dict[str, Any] = {"type": "stream2", "endpoint": endpoint}
    stream = {"type": "several", "sources": [one] * connections} if connections else one
    sinks = [{"type": "archive", "path": str(folder / "{scan}.h5")}]
    config = folder / "several.yaml"
    config.write_text(yaml.safe_dump({"stream": stream, "sinks": sinks, "run": {"scans": 1}}))
    began = time.perf_counter()
    more = ["--receivers", str(receivers)] if receivers else []
    process = subprocess.Popen(inbeam("run", "--quiet", str(config), *more), stderr=subprocess.DEVNULL)
    sender = ["simulate", "--detector", "small", "--frames", str(frames), "--rate", rate, "--bind", endpoint]
    detector = subprocess.Popen(inbeam(*sender, "--timeout", "120"), stdout=subprocess.DEVNULL)
    try:
        cost = reap(process, began)
    finally:
        detector.terminate()
        detector.wait()
    with h5py.File(folder / "1.h5") as file:
        there = int(np.isin(file["entry/ledger/status"][()], (1, 2, 3)).sum())
    return cost, there


def merging(numbers: int, receivers: int) -> float:
    """Seconds until the ledgers of so many receivers, who took turns, are one."""
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        paths = [Path(folder) / f"r{number}.h5" for number in range(receivers)]
        for number, path in enumerate(paths):
            _ledger(path, numbers, np.arange(number, numbers, receivers))
        began = time.perf_counter()
        files = [h5py.File(path, "r") for path in paths]
        parts = [Part.of(path, file) for path, file in zip(paths, files, strict=True)]
        merged = merge(parts)
        found = [column(merged, parts, name) for name in COLUMNS if name != "status"]
        took = time.perf_counter() - began
        assert merged.expected == numbers and (merged.states == FrameStatus.RECEIVED).all() and len(found) == 11
        for file in files:
            file.close()
    return took


def _ledger(path: Path, numbers: int, own: Any) -> None:
    with h5py.File(path, "w", libver="v110") as file:
        group = file.create_group(GROUP)
        group.attrs.update({"channels": ["data"], "scan_uid": "one"})
        for name, (kind, fill, _) in COLUMNS.items():
            inner = (1,) if name in PER_CHANNEL else ()
            values = np.full((numbers, *inner), fill, kind)
            if name != "problem":
                values[own] = 1
            chunk = 64 if name == "problem" else CHUNK_ROWS
            if name == "problem":
                group.create_dataset(name, (numbers,), kind, maxshape=(None,), chunks=(chunk,), fillvalue=fill)
            else:
                group.create_dataset(name, data=values, maxshape=(None, *inner), chunks=(chunk, *inner), fillvalue=fill)
        for name, value in (("expected", numbers), ("announced", numbers), ("repeats", 0), ("finished", 1)):
            group[name] = np.array([value])
        group["end_status"] = np.array([b"complete"])
        group["notes"] = np.array([b""])
        group["counts"] = np.bincount(np.ones(len(own), int), minlength=len(FrameStatus))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rate", default="2000")
    parser.add_argument("--numbers", type=int, default=1_000_000)
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    ways = {"one reader": (0, 0), **{f"{count} connections": (count, 0) for count in (1, 2, 4)}}
    ways |= {f"{count} processes": (0, count) for count in (1, 2, 4)}
    rows = []
    reference = 0.0
    for name, (connections, receivers) in ways.items():
        start, _ = received(100, options.rate, connections, receivers)
        cost, there = received(options.frames, options.rate, connections, receivers)
        each = 1e6 * (cost.cpu_s - start.cpu_s) / (options.frames - 100)
        reference = reference or each
        goal = "<= 1.10" if connections else ""
        rows.append(
            (
                f"{name}: CPU per frame; {there} of {options.frames} there",
                f"{each:.0f} µs, {each / reference:.2f}",
                goal,
            )
        )
    took = merging(options.numbers, 16)
    rows.append((f"the ledgers of 16 receivers with {options.numbers} numbers become one", f"{took:.1f} s", "<= 5 s"))
    table("several receivers, small frames, into the archive", rows)


if __name__ == "__main__":
    main()
