"""Compiled kernels are kept on disk, and made anew when anything that went into them has changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALLED = """from stream.codec.compiler import kernel
import numbers_of_ours

NUMBER = {number}

@kernel{how}
def called(x):
    return x + NUMBER + numbers_of_ours.MORE
"""
CALLING = """from called import called
from stream.codec.compiler import kernel

@kernel
def calling(x):
    return called(x)
"""
SHOW = "from calling import calling; import sys; print(calling(1), int('numba' not in sys.modules))"


def run(folder: Path, show: str = SHOW) -> list[int]:
    """What the kernel gives in a new process, and whether it was found on disk."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])}
    environment |= {"NUMBA_CACHE_DIR": str(folder / "kept"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, text=True)
    assert not result.returncode, result.stderr
    return [int(word) for word in result.stdout.split()]


@pytest.mark.slow
def test_a_kernel_is_made_anew_when_one_that_it_calls_or_a_value_that_it_sees_has_changed(tmp_path: Path) -> None:
    (tmp_path / "calling.py").write_text(CALLING)
    for number, how, more in ((10, "", 0), (200, "", 0), (200, "", 500), (3000, '(inline="always")', 500)):
        (tmp_path / "called.py").write_text(CALLED.format(number=number, how=how))
        (tmp_path / "numbers_of_ours.py").write_text(f"MORE = {more}")
        assert run(tmp_path) == [number + more + 1, 0]
        assert run(tmp_path) == [number + more + 1, 1]
