"""What the benchmarks share: the file of frames, a process with its CPU time, the table."""

import os
import re
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin

from stream.codec.native import bslz4_compress
from stream.simulate.eiger import Simulated, frames, pixel_mask, poni

HERE = Path(__file__).parent
OUT = HERE / "out"

# What pip installs has its bytecode beside it; so have the processes that are measured here, whatever the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(OUT / "pycache")


@dataclass(frozen=True)
class Cost:
    """What a finished process took: wall and CPU seconds, peak resident memory in MB (10^6 bytes)."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def frame_file(detector: Simulated, count: int, *, pool: int = 16, spots: int = 0, name: str = "frames.h5") -> Path:
    """A recorded scan of `count` bslz4 frames, `pool` different ones by turns, with mask and geometry."""
    OUT.mkdir(exist_ok=True)
    path = OUT / name
    path.with_suffix(".poni").write_text(poni(detector))
    packed = [bslz4_compress(next(iter(frame.values()))) for frame in frames(detector, pool, spots=spots)]
    rows, columns = detector.shape
    with h5py.File(path, "w", libver="latest") as file:
        file["entry/instrument/detector/pixel_mask"] = pixel_mask(detector)
        entry = file.create_group("entry/data")
        data = entry.create_dataset(
            "data", (count, rows, columns), detector.dtype, chunks=(1, rows, columns), **hdf5plugin.Bitshuffle()
        )
        for index in range(count):
            data.id.write_direct_chunk((index, 0, 0), packed[index % pool])
    return path


def inbeam(*arguments: str) -> list[str]:
    """The command line of `inbeam` in this environment."""
    return [sys.executable, "-m", "stream.commands.main", *arguments]


def measure(command: list[str], *, check: bool = True, quiet: bool = False) -> Cost:
    """Run to the end. Raises CalledProcessError if it fails. quiet: without what it prints."""
    began = time.perf_counter()
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} if quiet else {}
    process = subprocess.Popen(command, **silent)
    return reap(process, began, check=check)


def reap(process: "subprocess.Popen[bytes]", began: float, *, check: bool = True) -> Cost:
    """Wait for a process and take its resource usage."""
    peak = _Peak(process.pid)
    peak.start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    peak.join()
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak.mb)


class _Peak(threading.Thread):
    """Looks at the peak of a process while it is there; the system's own word afterwards counts what this process had
    when it made that one."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.mb = 0.0

    def run(self) -> None:
        """Until the process is gone."""
        while True:
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
            except OSError:
                return
            if found is None:  # it has ended
                return
            self.mb = int(found[1]) * 1024 / 1e6
            time.sleep(0.02)


def own_cpu_s() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def table(title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print (what, figure, goal) as a Markdown table."""
    print(f"\n### {title}\n\n| what | measured | goal |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()
