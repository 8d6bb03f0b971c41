"""Compiled kernels are kept on disk, and made anew when anything that went into them has changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALLED = """from stream.codec.compiler import kernel

@kernel{how}
def called(x):
    return x + {number}
"""
CALLING = """from called import called
from stream.codec.compiler import kernel

@kernel
def calling(x):
    return called(x)
"""
SHOW = "from calling import calling; print(calling(1), sum(calling.stats.cache_hits.values()))"


def run(folder: Path) -> tuple[int, int]:
    """What the kernel gives in a new process, and whether it was found on disk."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])}
    environment["NUMBA_CACHE_DIR"] = str(folder / "kept")
    result = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, check=True, text=True)
    value, hits = result.stdout.split()
    return int(value), int(hits)


@pytest.mark.slow
def test_a_kernel_is_made_anew_when_one_that_it_calls_has_changed(tmp_path: Path) -> None:
    (tmp_path / "calling.py").write_text(CALLING)
    for number, how in ((10, ""), (200, ""), (3000, '(inline="always")')):
        (tmp_path / "called.py").write_text(CALLED.format(number=number, how=how))
        assert run(tmp_path) == (number + 1, 0)
        assert run(tmp_path) == (number + 1, 1)
