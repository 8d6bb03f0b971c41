"""inbeam as a user runs it: commands in processes of their own, configurations, and waiting for what they do."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import yaml

from stream.simulate.eiger import frames as eiger_frames
from stream.simulate.eiger import poni, small

FRAMES = 40


def inbeam(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "stream.commands.main", *arguments]


@contextmanager
def detector(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A detector in its own process; ended, by its id, when the test is over."""
    process = subprocess.Popen(inbeam(*arguments), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Look until the condition holds; a bounded wait for another process."""
    limit = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < limit, f"waited {seconds} s for {what}"
        pause.wait(0.02)
    return found


def ended(command: list[str], kill_when: Callable[[], bool] = lambda: False, **options: Any) -> int:
    """Its exit code: 0, or -9 where it was killed as soon as `kill_when` holds."""
    child = subprocess.Popen(command, stderr=subprocess.PIPE, **options)
    wait_for(lambda: kill_when() or child.poll() is not None, "the end or the kill")
    child.kill()
    _, words = child.communicate()
    assert child.returncode in (0, -9), words
    return child.returncode


def completed(path: Path) -> bool:
    """True once the writer of a file has finished its scan, as any reader sees it."""
    try:
        with h5py.File(path, "r", swmr=True) as file:
            return bool(file["entry/ledger/finished"][0])
    except (OSError, KeyError):
        return False


def committed(path: Path) -> int:
    """Frames that a file says it holds safely, as any reader sees it; 0 while it cannot be opened."""
    for swmr in (True, False):
        try:
            with h5py.File(path, "r", swmr=swmr) as file:
                return int(np.isin(file["entry/ledger/status"][()], (1, 2, 3)).sum())
        except (OSError, KeyError):
            continue
    return 0


def held(parts: Iterable[Path], frames: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """bool (frames,): what the parts of a scan, which are being written, hold safely just now."""
    found = np.zeros(frames, bool)
    for path in parts:
        if committed(path):
            try:
                with h5py.File(path, "r", swmr=True) as file:
                    rows = np.isin(file["entry/ledger/status"][:frames], (1, 2, 3))
            except (OSError, KeyError):
                continue
            found[: len(rows)] |= rows
    return found


def recorded(folder: Path, name: str = "scan.h5", frames: int = FRAMES) -> Path:
    with h5py.File(folder / name, "w") as file:
        file["entry/data/data"] = np.arange(frames * 32, dtype="u2").reshape(frames, 4, 8)
    return folder / name


def configuration(folder: Path, *processors: str, **run: Any) -> Path:
    document = {
        "stream": {"type": "files", "files": ["given on the command line"]},
        "processors": [{"type": name} for name in processors],
        "sinks": [{"type": "archive", "path": str(folder / "out" / "{scan}.h5")}],
        "run": {"workers": 2, **run},
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def pipeline(folder: Path, stream: Mapping[str, Any], *processors: Mapping[str, Any], **run: Any) -> dict[str, Any]:
    return {
        "stream": dict(stream),
        "processors": [dict(processor) for processor in processors],
        "sinks": [
            {"type": "archive", "path": str(folder / "{scan}_frames.h5")},
            {"type": "hdf5", "path": str(folder / "{scan}.h5"), "link": str(folder / "{scan}_frames.h5")},
        ],
        "run": {"scans": 1, "workers": 2, **run},
    }


def simulated_file(tmp_path: Path, count: int) -> Path:
    """A recorded scan of a small detector, and its geometry beside it."""
    simulated = small()
    path = tmp_path / "recorded.h5"
    path.with_suffix(".poni").write_text(poni(simulated))
    pool = [next(iter(each.values())) for each in eiger_frames(simulated, 4)]
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "entry/data/data", (count, *simulated.shape), "u2", chunks=(1, *simulated.shape), **hdf5plugin.Bitshuffle()
        )
        for index in range(count):
            data[index] = pool[index % 4]
    return path


def small_pipeline(tmp_path: Path, recorded: Path, **run: Any) -> Path:
    integrate = {"type": "integrate", "poni": str(recorded.with_suffix(".poni")), "npt": 100, "device": "cpu"}
    config = tmp_path / "small.yaml"
    document = pipeline(tmp_path / "out", {"type": "files", "files": [str(recorded)]}, integrate, **run)
    for sink in document["sinks"]:
        sink.update(flush_ms=20, flush_frames=20)
    config.write_text(yaml.safe_dump(document))
    return config
