"""A viewer that holds a file open, and writers that are killed in the middle of one."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELPERS = Path(__file__).parent

VIEWER = """
import sys, h5py
file = h5py.File(sys.argv[1], "r", swmr=True)
print("open", flush=True)
sys.stdin.read()
"""

WRITER = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import kill_harness
from sink_examples import scan
kind, path, first, last = sys.argv[1], sys.argv[2], int(sys.argv[4]), int(sys.argv[5])
from sinks.file import locks
locks.PATIENCE_S = 0.1
sink = kill_harness.make(kind, path, flush_frames=1, if_exists=sys.argv[6])
stored = sink.start(scan(expected=12), (kill_harness.examples(kind).PRODUCT,))
for index in range(first, last):
    sink.write(kill_harness.examples(kind).frame(index))
print(sink.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def viewer(path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", VIEWER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        yield process
    finally:
        process.communicate(timeout=30)


def killed(kind: str, path: Path, first: int, last: int, if_exists: str = "number") -> Path:
    """A writer that is killed behind these frames; returns its file."""
    command = [sys.executable, "-c", WRITER, kind, str(path), str(HELPERS), str(first), str(last), if_exists]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return Path(done.stdout.strip())
