"""What the README promises is true: its YAML is valid, its processor works, its links lead somewhere."""

import re
import sys
from pathlib import Path

import h5py
import pytest
import yaml

from stream import registry
from stream.codec.native import bslz4_compress
from stream.config import validate
from stream.pipeline.runner import Run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_yaml_is_valid() -> None:
    config = validate(yaml.safe_load(block("yaml")))
    assert len(config.sinks) == 3


def test_the_processor_of_the_readme_runs_from_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brightest.py").write_text(block("python"), encoding="utf-8")
    metadata = tmp_path / "someones_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-package\nVersion: 1.0\n")
    section = re.search(r'\[project\.entry-points\."(.*?)"\]\n(\w+) = "(\w+)"', block("toml"))
    assert section is not None
    (metadata / "entry_points.txt").write_text(f"[{section[1]}]\n{section[2]} = {section[3]}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "brightest", raising=False)
    assert "brightest" in registry.names("processors")
    import numpy as np

    image = np.arange(64, dtype="u2").reshape(8, 8)
    image[0, 0] = 65535
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        import hdf5plugin

        data = file.create_dataset("entry/data/data", (2, 8, 8), "u2", chunks=(1, 8, 8), **hdf5plugin.Bitshuffle())
        for index in range(2):
            data.id.write_direct_chunk((index, 0, 0), bslz4_compress(image))
    document = {
        "stream": {"type": "files", "files": [str(tmp_path / "frames.h5")]},
        "processors": [{"type": "brightest"}],
        "sinks": [{"type": "hdf5", "path": str(tmp_path / "out.h5")}],
    }
    report = Run(validate(document), reopen=False).execute()
    assert report.exit_code == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file["entry/brightest/counts"]) == [63, 63]


def test_links_lead_to_files_and_commands_exist() -> None:
    for target in re.findall(r"\]\((?!#|http)(.*?)\)", README):
        assert (ROOT / target).exists(), target
    from stream.commands.main import COMMANDS

    for command in re.findall(r"^inbeam (\S+)", README, re.MULTILINE):
        assert command in COMMANDS, command
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        if target != "and" and target != "each":
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
