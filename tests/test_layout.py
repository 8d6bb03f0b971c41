"""The folder of the tests is in order: helpers take nobody's name, and no test module is used by another."""

import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
HELPERS = sorted(path.stem for path in (TESTS / "helpers").glob("*.py"))


def test_no_helper_has_the_name_of_an_installed_package() -> None:
    """They come first on the path: whoever imports that package would get ours."""
    elsewhere = [path for path in sys.path if path and not Path(path).resolve().is_relative_to(TESTS)]
    found = {name: PathFinder.find_spec(name, elsewhere) for name in HELPERS}
    assert {name: spec.origin for name, spec in found.items() if spec is not None} == {}
    assert not set(HELPERS) & sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.name)
def test_no_module_imports_a_test_module(path: Path) -> None:
    assert not re.findall(r"^\s*(?:from|import) (?:tests\.)?test_\w+", path.read_text(encoding="utf-8"), re.MULTILINE)
