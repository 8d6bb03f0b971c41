"""What a start imports, and what it does not: `inbeam --help` is there at once."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import stream

ROOT = Path(__file__).parents[1]


def modules(code: str) -> set[str]:
    """What is imported when `code` has run in a Python of its own."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
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


@pytest.mark.parametrize("name", stream.__all__)
def test_every_public_name_is_there_when_it_is_asked_for(name: str) -> None:
    value = getattr(stream, name)
    homes = [importlib.import_module(f"stream.{home}") for home in stream._HOMES]
    assert any(vars(home).get(name) is value for home in homes)
    assert name in dir(stream)


def test_another_name_is_an_attribute_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'stream' has no attribute 'Frames'"):
        _ = stream.Frames
