"""Completion in the shells themselves, and plug-ins in the schema that editors complete from."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from plug_ins import install, processor

from stream.commands.completion import SHELLS
from stream.commands.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
CHECK = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "-n"]}
BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
_shtab_inbeam
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(params=SHELLS)
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script of one shell."""
    assert main(["completion", request.param]) == 0
    path = tmp_path / request.param
    path.write_text(capsys.readouterr().out)
    return path


def test_every_command_and_option_is_in_the_script_and_the_shell_can_read_it(script: Path) -> None:
    text = script.read_text()
    for word in (*COMMANDS, "overwrite", "scans", "cutoff-clip"):
        assert word in text
    if shutil.which(script.name) is None:
        pytest.skip(f"no {script.name} here")
    subprocess.run([*CHECK[script.name], str(script)], check=True)


CASES = [
    (["pro"], {"process"}),
    (["export", "--format", "x"], {"xy", "xye"}),
    (["export", "--over"], {"--overwrite"}),
    (["completion", ""], {"bash", "zsh", "fish"}),
    (["validate", "configs/ca"], {"configs/cake.yaml"}),
    (["check", "LIC"], {"LICENSE"}),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes(
    words: list[str], expected: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    command = ["bash", "-c", BASH, "bash", str(tmp_path / "script"), "inbeam", *words]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert expected <= set(told.stdout.split())


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish_completes(
    words: list[str], expected: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "fish"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    code = f"source {tmp_path / 'script'}; complete -C 'inbeam {' '.join(words)}'"
    told = subprocess.run(["fish", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert expected <= {line.split("\t")[0] for line in told.stdout.splitlines()}


def test_the_schema_knows_the_plug_ins_that_are_installed_and_names_broken_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = processor("sound").replace('= "sound"', '= "sound"\n    gain: float = 2.5', 1)
    install(tmp_path / "sound", monkeypatch, "processors", "sound", sound)
    install(tmp_path / "broken", monkeypatch, "sinks", "broken", "import nothing_of_this_name")
    odd = processor("odd").replace('= "odd"', '= "odd"\n    run: object = print\n    call: type[int] = int', 1)
    install(tmp_path / "odd", monkeypatch, "processors", "odd", odd)
    assert main(["schema"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["$defs"]["processors.sound"]["properties"]["gain"]["default"] == 2.5
    assert {"$ref": "#/$defs/processors.sound"} in found["properties"]["processors"]["items"]["oneOf"]
    assert {"$ref": "#/$defs/processors.integrate"} in found["properties"]["processors"]["items"]["oneOf"]
    assert "sinks broken is left out" in told.err and "nothing_of_this_name" in told.err
    assert "broken" not in told.out
