"""What `pip install` gives is whole: every module, kernel, marker and example configuration, importable elsewhere."""

from pathlib import Path

import pytest
from installing import ROOT, install, python

import stream

ROOMS = ("inbeam", "stream", "processors", "sinks")


def files_below(folder: Path) -> set[str]:
    """Paths below a folder, without what Python keeps there by itself."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "__pycache__" not in name}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, installed into a folder of its own."""
    return install(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_three_rooms_and_nothing_else(installed: Path) -> None:
    wanted = {f"{room}/{name}" for room in ROOMS for name in files_below(ROOT / room)}
    wanted |= {f"stream/configs/{name}" for name in files_below(ROOT / "configs")}
    assert {name for name in files_below(installed) if name.split("/")[0] in ROOMS} == wanted
    assert {path.name for path in installed.iterdir()} - set(ROOMS) == {"bin", "inbeam-0.1.0.dist-info"}
    assert {"stream/py.typed", "processors/py.typed", "sinks/py.typed"} < wanted
    assert "processors/integration/integrate.cl" in wanted and "stream/configs/inbeam.schema.json" in wanted


@pytest.mark.slow
def test_every_module_of_the_wheel_can_be_imported_elsewhere(installed: Path, tmp_path: Path) -> None:
    program = f"""
import importlib, pkgutil
for name in {ROOMS}:
    package = importlib.import_module(name)
    assert package.__file__.startswith({str(installed)!r}), package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
        print(module.name)
"""
    assert len(python(program, tmp_path, installed).split()) > 150


def test_the_installed_command_finds_its_configurations(installed: Path, tmp_path: Path) -> None:
    program = 'from stream.commands.main import main; main(["info"])'
    assert f"configs      {installed}/stream/configs" in python(program, tmp_path, installed)


def test_stream_exports_what_it_says() -> None:
    for name in stream.__all__:
        assert getattr(stream, name) is not None
