"""What the README promises is true: its YAML is valid, its processor works, its links lead somewhere."""

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
import yaml
from following import ROOT, blocks, commands, follow, shell

from sinks.check import check
from stream.commands.demo import free_port
from stream.config import validate
from stream.simulate.eiger import frames, poni, small

PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")
SPARSIFY = ROOT / "docs" / "sparsify.md"
FIRST_WORDS = [" ".join(line.split()[:2]) for line in (*commands(PAGE), *commands(SPARSIFY))]


def block(language: str) -> str:
    return blocks(PAGE, language)[0]


def test_the_yaml_is_valid() -> None:
    config = validate(yaml.safe_load(block("yaml")))
    assert len(config.sinks) == 4


def test_the_processor_of_the_readme_is_the_example_which_is_tested() -> None:
    example = ROOT / "examples" / "inbeam-brightest"
    assert block("python") == (example / "brightest.py").read_text(encoding="utf-8")
    assert block("toml") in (example / "pyproject.toml").read_text(encoding="utf-8")


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


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: a geometry, a mask, recorded scans, the YAML; ports that are free here."""
    folder = tmp_path_factory.mktemp("beamline")
    simulated = small()
    (folder / "detector.poni").write_text(poni(simulated))
    fabio.edfimage.EdfImage(np.eye(*simulated.shape, dtype=np.uint8)).write(str(folder / "mask.edf"))
    images = [next(iter(each.values())) for each in frames(simulated, 3)]
    for name in ("scan", "scan_1", "scan_2", "recorded"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset(
                "entry/data/data", data=np.stack(images), chunks=(1, *simulated.shape), **hdf5plugin.Bitshuffle()
            )
    text = block("yaml").replace("172.31.1.1:31001", f"127.0.0.1:{free_port()}")
    for port in ("45454", "8765"):
        text = text.replace(port, str(free_port()))
    (folder / "my.yaml").write_text(text)
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


@contextmanager
def started(line: str, folder: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A line that goes on until it is stopped; it is, by its id."""
    process = subprocess.Popen(
        ["sh", "-c", f"exec {line}"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands(PAGE) if re.match("inbeam (validate|process)", line)])
def test_a_command_of_the_readme_does_what_it_says(line: str, beamline: Path) -> None:
    done = follow(line, beamline, shell(beamline / "bin"))
    assert done.returncode == 0, done.stderr
    if "process" in line:
        for name in ("scan_1", "scan_2"):
            assert check(beamline / "data" / f"{name}.h5").sound
            assert check(beamline / "data" / f"{name}_frames.h5").sound


@pytest.mark.slow
def test_the_live_run_of_the_readme_goes_on_until_ctrl_c(beamline: Path) -> None:
    (line,) = (line for line in commands(PAGE) if line.startswith("inbeam run"))
    with started(line.partition("#")[0], beamline, shell(beamline / "bin")) as process:
        assert process.stderr is not None
        assert any("not connected to tcp://127.0.0.1:" in told for told in process.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands(PAGE) if re.match("inbeam (simulate|replay)", line)])
def test_a_detector_of_the_readme_sends_to_who_connects(line: str, beamline: Path, tmp_path: Path) -> None:
    environment, endpoint = shell(beamline / "bin"), f"tcp://127.0.0.1:{free_port()}"
    with started(f"{line} --bind {endpoint}", beamline, environment) as process:
        told: list[str] = []
        assert process.stderr is not None
        reading = threading.Thread(target=lambda: told.extend(process.stderr or ()), name="inbeam-test-reading")
        reading.start()
        done = follow(f"inbeam capture {endpoint} {tmp_path / 'got.cbors'} --messages 2", tmp_path, environment)
        assert done.returncode == 0, done.stderr + "".join(told)
        process.kill()
        reading.join()


@pytest.mark.slow
def test_the_commands_of_the_sparsify_page_follow_one_another(beamline: Path) -> None:
    for line in (line for line in commands(SPARSIFY) if "yaml" not in line):
        done = follow(line, beamline, shell(beamline / "bin"))
        assert done.returncode == 0, done.stderr


def test_every_command_of_the_pages_is_followed_somewhere_here() -> None:
    """A new one needs a test that runs it. What reads a detector's stream for ever is `run`'s test, once."""
    followed = {"inbeam validate", "inbeam process", "inbeam run", "inbeam simulate", "inbeam replay"}
    assert set(FIRST_WORDS) == followed | {"inbeam sparsify-bragg", "inbeam densify"}
