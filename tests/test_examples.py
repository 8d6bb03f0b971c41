"""The packages in examples/ install, are found by their names, run in a pipeline, and pass their own tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import yaml
from installing import ROOT, install

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
IMAGES = np.random.default_rng(5).integers(0, 900, (7, 24, 20)).astype("u2")
WANTED = {"inbeam-brightest": IMAGES.max((1, 2)), "inbeam-maximum": IMAGES.max(0)}


@pytest.fixture(scope="module", params=EXAMPLES, ids=[path.name for path in EXAMPLES])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of an example, and the one that it was installed into."""
    return request.param, install(request.param, tmp_path_factory.mktemp("example"))


def run(command: list[str], folder: Path, target: Path) -> str:
    """What a Python command prints that has the example installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(target), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_example_runs_in_a_pipeline_by_its_name(example: tuple[Path, Path], tmp_path: Path) -> None:
    project, target = example
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file.create_dataset("entry/data/data", data=IMAGES, chunks=(1, 24, 20), **hdf5plugin.Bitshuffle())
    name = project.name.removeprefix("inbeam-")
    document = {
        "stream": {"type": "files", "files": ["frames.h5"]},
        "processors": [{"type": name}],
        "sinks": [{"type": "hdf5", "path": "results.h5"}],
    }
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(document))
    run(["stream.commands.main", "process", "one.yaml", "frames.h5"], tmp_path, target)
    with h5py.File(tmp_path / "results.h5") as file:
        np.testing.assert_array_equal(file[f"entry/{name}/counts"], WANTED[project.name])
    (known,) = re.findall(r"^processors +(.*)", run(["stream.commands.main", "info"], tmp_path, target), re.MULTILINE)
    assert name in known.split(", ")


@pytest.mark.slow
def test_the_tests_of_an_example_pass(example: tuple[Path, Path]) -> None:
    project, target = example
    assert " passed" in run(["pytest", "-q", "-p", "no:cacheprovider", str(project)], project, target)


def test_there_is_one_example_of_a_processor_and_one_of_a_gatherer() -> None:
    assert [path.name for path in EXAMPLES] == sorted(WANTED)
