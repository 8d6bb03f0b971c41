"""What a start imports, and what it does not: `inbeam --help` is there at once."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import simulated_file, small_pipeline

import stream
from stream.codec.kept.machine import machine

ROOT = Path(__file__).parents[1]


HEAVY = {"numba", "llvmlite", "pyFAI", "silx", "fabio", "scipy", "matplotlib", "PIL", "pyopencl", "pandas", "numexpr"}
HEAVY |= {"zmq", "asyncio", "msgpack", "watchdog", "websockets", "prometheus_client", "multiprocessing", "distributed"}


def modules(code: str, **environment: str) -> set[str]:
    """What is imported when `code` has run in a Python of its own."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), **environment},
    )
    return set(told.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_needs_nothing_but_the_standard_library(word: str) -> None:
    code = f"try:\n    from stream.commands.main import main; main(['{word}'])\nexcept SystemExit: pass"
    plain = modules("import argparse, logging, signal, threading, importlib.metadata")
    more = modules(code) - plain
    assert not {name.partition(".")[0] for name in more} & {"numpy", "pydantic", "yaml", "numba", "h5py", "zmq", "rich"}
    assert len(more) < 40, sorted(more)


def test_recorded_files_are_read_without_the_protocols_of_detectors() -> None:
    found = modules("import stream.sources.files")
    assert "stream.sources.captures" in found
    assert not found & {"zmq", "stream.sources.capture", "stream.wire.simplon", "stream.wire.stream2"}


@pytest.mark.slow
@pytest.mark.skipif(machine() is None, reason="code is kept on Linux, x86-64")
def test_a_start_with_everything_cached_is_small_and_needs_no_compiler(tmp_path: Path) -> None:
    recorded = simulated_file(tmp_path, 3)
    config = small_pipeline(tmp_path, recorded)
    arguments = ["process", "--quiet", "--force", str(config), str(recorded)]
    code = f"from stream.commands.main import main; assert not main({arguments}); "
    code += "status = dict(line.split(':') for line in open('/proc/self/status')); print()"
    kept = {"INBEAM_CACHE": str(tmp_path / "cache"), "HOME": os.environ.get("HOME", "")}
    modules(code, **kept)
    told = modules(f"{code}; import sys; sys.modules['peak' + status['VmHWM'].split()[0]] = None", **kept)
    assert "processors.integration.scatter" in told and not {name.partition(".")[0] for name in told} & HEAVY
    (peak,) = [int(name.removeprefix("peak")) / 1000 for name in told if name.startswith("peak") and name[4:].isdigit()]
    assert peak < 140, "MB; numba and what it loads are 110"


@pytest.mark.parametrize("name", stream.__all__)
def test_every_public_name_is_there_when_it_is_asked_for(name: str) -> None:
    value = getattr(stream, name)
    homes = [importlib.import_module(f"stream.{home}") for home in stream._HOMES]
    assert any(vars(home).get(name) is value for home in homes)
    assert name in dir(stream)


def test_another_name_is_an_attribute_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'stream' has no attribute 'Frames'"):
        _ = stream.Frames
