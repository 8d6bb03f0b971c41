"""Fixtures shared by all tests: the recorded data beside the checkout, and a guard against leaks."""

import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_node import one_node, there

pytest.register_assert_rewrite("stream.testing")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for the recorded data carries the marker that says so."""
    for item in items:
        if isinstance(item, pytest.Function) and "shared" in item.fixturenames:
            item.add_marker("shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of recorded detector data; the test is skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip("no recorded data beside this checkout (../shared/data)")
    return SHARED


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fail a test that leaves a thread of ours running."""
    before = set(threading.enumerate())
    yield
    leaked = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("inbeam")]
    assert not leaked, f"threads still running after the test: {leaked}"


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Matrices that the tests prepare stay out of the user's cache, also those of child processes."""
    os.environ["INBEAM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here; the limit on the file size is tested instead")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def ipv6() -> None:
    """Skips where the loopback interface has no IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A SLURM that every process started from here finds."""
    if not there():
        pytest.skip("no SLURM here (Debian: slurm-wlm, munge), or not root")
    with (
        tempfile.TemporaryDirectory(prefix="one") as folder,  # the names of sockets must be short
        one_node(Path(folder)) as config,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)
        patch.setenv("SLURM_CONF", str(config))
        yield
