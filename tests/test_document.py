"""What a configuration file or a plug-in may throw at us, and the words that it gets instead of a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import configuration, recorded
from plug_ins import install, processor

from stream.commands.main import main
from stream.document import parse

ROOT = Path(__file__).parents[1]


def validate(path: Path, text: str) -> int:
    path.write_text(text, encoding="utf-8")
    return main(["validate", str(path)])


def test_a_key_that_is_there_twice_is_told_with_both_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "stream:\n  type: simplon\n  endpoint: tcp://a:1\n  endpoint: tcp://b:1\nsinks: []\nsinks:\n  - type: monitor\n"
    )
    assert validate(tmp_path / "twice.yaml", text) == 2
    told = capsys.readouterr().err
    assert "line 4: 'endpoint' is in line 3 already" in told
    assert "line 6: 'sinks' is in line 5 already" in told
    assert main(["process", str(tmp_path / "twice.yaml"), "scan.h5"]) == 2
    assert "line 4: 'endpoint' is in line 3 already" in capsys.readouterr().err


def test_keys_that_only_look_alike_and_merged_ones_are_not_twice() -> None:
    assert parse("base: &base {a: 1, b: 2}\nx:\n  <<: *base\n  b: 3\n'1': text\n1: number\n") == {
        "base": {"a": 1, "b": 2},
        "x": {"a": 1, "b": 3},
        "1": "text",
        1: "number",
    }


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[" * 5000, "a:\n" + "".join(f"{' ' * n}-\n" for n in range(1, 3000)), "{a: " * 3000])
def test_yaml_that_is_nested_without_end_is_an_error_in_words(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(tmp_path / "deep.yaml", text) == 2
    assert "deep.yaml is not valid YAML: nested deeper" in capsys.readouterr().err
    assert main(["validate", str(configuration(tmp_path)), "--set", f"run.scans={text}"]) == 2
    assert "nested deeper" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["\x00", "a: !!python/object/apply:os.system ['true']", "{[a]: b", "a: *nobody", "\xff"]
)
def test_what_is_no_yaml_is_an_error_in_words(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.yaml").write_bytes(text.encode("latin-1"))
    assert main(["validate", str(tmp_path / "odd.yaml")]) == 2
    assert "odd.yaml is not valid YAML" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("def", "SyntaxError"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_named_with_its_package(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "plug_in", monkeypatch, "processors", "broken", source)
    assert main(["validate", str(configuration(tmp_path, "broken"))]) == 2
    told = capsys.readouterr().err
    assert "processors[0].type: the plug-in broken (broken of broken-package 1.0) cannot be imported" in told
    assert words in told


@pytest.mark.parametrize("source", ["", "class Config: pass", "from stream import Options as Config"])
def test_a_module_that_is_no_plug_in_says_what_it_lacks(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "plug_in", monkeypatch, "processors", "plain", source)
    assert main(["validate", str(configuration(tmp_path, "plain"))]) == 2
    assert "plain is no plug-in: it needs a class Config(Options) and a function create" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "process"])
def test_a_plug_in_that_cannot_be_made_is_a_configuration_error(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = processor("shy").replace("return Processor()", "raise KeyError('gain')")
    install(tmp_path / "plug_in", monkeypatch, "processors", "shy", source)
    files = [str(recorded(tmp_path))] if command == "process" else []
    assert main([command, str(configuration(tmp_path, "shy")), *files]) == 2
    assert "shy cannot be made: KeyError: 'gain'" in capsys.readouterr().err


AT_IMPORT = """
import os, signal, sys
from stream.commands.main import main

seen = 0

def interrupt(event, arguments):
    global seen
    if event == "import":
        seen += 1
        if seen == {number}:
            os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 10, 60, 200, 500, 1000])
def test_ctrl_c_in_the_first_second_leaves_no_traceback(number: int, tmp_path: Path) -> None:
    """In the middle of an import of this number; a start has more than a thousand."""
    config, source = configuration(tmp_path, "correct", "integrate"), recorded(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", AT_IMPORT.format(number=number), "process", "--quiet", str(config), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr
    assert ended.returncode in (1, 130)
