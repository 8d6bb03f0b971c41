"""What the README promises is true: its YAML is valid, its processor works, its links lead somewhere."""

import re
from pathlib import Path

import yaml

from stream.config import validate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_yaml_is_valid() -> None:
    config = validate(yaml.safe_load(block("yaml")))
    assert len(config.sinks) == 3


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
