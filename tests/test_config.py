"""The configuration: every error at once, with its YAML path."""

import json
import re
from pathlib import Path

import pytest
import yaml

from stream import ConfigError
from stream.commands.main import main
from stream.commands.schema import schema
from stream.config import load, validate
from stream.pipeline.journal import Journal

LIVE = {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"}
CONFIGS = Path(__file__).parents[1] / "configs"


def problems(document: object, tmp_path: Path, *overrides: str) -> dict[str, str]:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return dict(caught.value.problems)


def test_every_error_is_told_at_once_with_its_path(tmp_path: Path) -> None:
    found = problems(
        {
            "stream": {"type": "stream2", "endpoint": 5},
            "processors": [{"type": "integrte"}, {"type": "integrate", "npt": -3, "nonsense": 1}, "correct"],
            "sinks": [],
            "run": {"workers": "many", "scans": 0},
            "sink": [],
        },
        tmp_path,
    )
    assert "unknown section" in found["sink"]
    assert "stream.endpoint" in found
    assert "did you mean 'integrate'?" in found["processors[0].type"]
    assert "processors[1].npt" in found
    assert "known:" in found["processors[1].nonsense"]
    assert "needs a mapping with a type" in found["processors[2]"]
    assert "empty" in found["sinks"]
    assert "run.scans" in found


@pytest.mark.parametrize(
    "section, key, value, words",
    [
        ("run", "scans", "many", 'must be a whole number, not "many"'),
        ("run", "scans", 1.5, "must be a whole number, not 1.5"),
        ("run", "inbox_mb", 0, "must be more than 0, not 0"),
        ("run", "workers", -1, "must be more than 0 or 'auto', not -1"),
        ("run", "again", "perhaps", 'must be true or false, not "perhaps"'),
        ("run", "when_full", "wait", "must be 'block' or 'drop_oldest', not \"wait\""),
        ("run", "scan", 1, "unknown option; known: .*; did you mean 'scans'\\?"),
        ("stream", "files", "a.h5", 'must be a list, such as \\[a, b\\], not "a.h5"'),
        ("stream", "files", ["a.h5", 5], "files\\[1\\]: must be text, not 5"),
        ("stream", "monitor", [1], "must be text or a number, not \\[1\\]"),
        ("stream", "files", None, "must be a list"),
        ("processors[0]", "radial_range", [1], "radial_range\\[1\\]: is missing: give it"),
        ("processors[1]", "dark", ["a.edf", 5], "dark\\[1\\]: must be text, not 5"),
        ("processors[2]", "regions", {"a": {"kind": "ring", "radius": [1, 2], "npt": 1}}, "known: .*radius"),
        (
            "processors[2]",
            "regions",
            {"a": {"kind": "circle"}},
            "regions.a: 'kind' must be one of .*'ring'.*not 'circle'",
        ),
        ("processors[2]", "regions", {"a": {"x": [1, 2]}}, "regions.a: has no 'kind': give it"),
        ("sinks[0]", "path", ..., "is missing: give it"),
    ],
)
def test_a_wrong_option_is_told_once_in_plain_words_with_what_is_there(
    section: str, key: str, value: object, words: str
) -> None:
    document = {
        "stream": {"type": "files", "files": ["a.h5"]},
        "processors": [{"type": "integrate"}, {"type": "correct"}, {"type": "roi", "regions": {}}],
        "sinks": [{"type": "hdf5", "path": "a.h5"}],
        "run": {},
    }
    name, _, number = section.rstrip("]").partition("[")
    place = document[name][int(number)] if number else document[name]  # type: ignore[index, call-overload]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    with pytest.raises(ConfigError) as caught:
        validate(document)
    assert re.fullmatch(f"{re.escape(section)}\\.({key}: )?.*{words}.*", str(caught.value)), str(caught.value)


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml is not there \(looked from .*\): correct the path"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="is a folder: give a YAML file"):
        load(tmp_path)
    (tmp_path / "tab.yaml").write_text("stream:\n\ttype: files\n")
    with pytest.raises(ConfigError, match=r"tab\.yaml is not valid YAML: line 2, column 1: .* indent with spaces"):
        load(tmp_path / "tab.yaml")
    (tmp_path / "bad.yaml").write_text("stream: {type: files\n  a: b}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml is not valid YAML: line 2, column 4: .*begins in line 1"):
        load(tmp_path / "bad.yaml")
    assert main(["validate", str(tmp_path / "bad.yaml")]) == 2


def test_set_reaches_into_lists_and_reads_yaml_values(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"stream": LIVE, "sinks": [{"type": "archive", "path": "a.h5"}]}))
    config = load(path, ["sinks.0.path=b.h5", "run.scans=3", "run.when_full=drop_oldest"])
    assert str(config.sinks[0].path) == "b.h5"  # type: ignore[attr-defined]
    assert config.run.scans == 3
    for override, words in {
        "sinks.7.path=b.h5": "sinks is a list without an entry '7': use sinks.0 to sinks.0",
        "sinks.first.path=b.h5": "sinks is a list without an entry 'first'",
        "stream.type.x=1": 'there is nothing below stream.type, it is "stream2"',
        "stream.type=[": "line 1, column 2",
    }.items():
        with pytest.raises(ConfigError, match=f"--set cannot set this: {re.escape(words)}"):
            load(path, [override])
    with pytest.raises(ConfigError, match="--set takes"):
        load(path, ["run"])


def test_two_processors_of_one_name_are_refused(tmp_path: Path) -> None:
    integrate = {"type": "integrate", "npt": 100}
    found = problems({"stream": LIVE, "processors": [integrate, integrate], "sinks": [{"type": "monitor"}]}, tmp_path)
    assert "taken by an earlier processor" in found["processors[1].name"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_ready_configuration_is_valid_and_known_to_the_schema(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    validate(document)
    types = {section: schema()["$defs"] for section in ("stream", "processors", "sinks")}
    for section in ("processors", "sinks"):
        for item in document.get(section) or []:
            known = types[section][f"{section}.{item['type']}"]["properties"]
            assert set(item) <= set(known)
    assert "yaml-language-server: $schema=" in path.read_text(), "editors need the schema line"


def test_the_committed_schema_is_the_current_one() -> None:
    committed = json.loads((CONFIGS / "inbeam.schema.json").read_text())
    assert committed == schema(), "run: inbeam schema > configs/inbeam.schema.json"


def test_files_that_are_not_there_are_told_at_once_before_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "pipeline.yaml"
    processors = [
        {"type": "correct", "mask": ["no_mask.edf"], "dark": "dark.h5::/entry/data"},
        {"type": "integrate", "poni": str(tmp_path / "no.poni")},
    ]
    sinks = [{"type": "archive", "path": str(tmp_path / "out/{scan}.h5")}]
    config.write_text(yaml.safe_dump({"stream": LIVE, "processors": processors, "sinks": sinks}))
    for command in ("validate", "run"):
        assert main([command, str(config)]) == 2
        said = capsys.readouterr().err
        assert "processors[0].mask: no_mask.edf is not there" in said
        assert "processors[0].dark: dark.h5 is not there" in said
        assert "processors[1].poni: " in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [0, -3, "many"])
def test_a_run_without_workers_is_refused(workers: object) -> None:
    document = {
        "stream": {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"},
        "sinks": [{"type": "archive", "path": "a.h5"}],
        "run": {"workers": workers},
    }
    with pytest.raises(ConfigError, match=r"run\.workers"):
        validate(document)


def test_no_scans_at_all_cannot_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"stream": LIVE, "sinks": [{"type": "archive", "path": str(tmp_path / "a.h5")}]}))
    monkeypatch.setattr("stream.commands.run.execute", lambda *given, **options: 0)
    assert main(["run", str(path), "--scans", "0"]) == 2
    assert main(["run", str(path), "--scans", "1"]) == 0


def test_a_tilde_is_the_home_of_the_user_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "recorded.cbors").touch()
    config = validate(
        {
            "stream": {"type": "capture", "file": "~/recorded.cbors"},
            "processors": [
                {"type": "correct", "mask": "~/mask.h5::/mask", "dark": ["~/1.edf", "/data/~/2.edf"]},
                {"type": "integrate", "poni": "~/a.poni"},
            ],
            "sinks": [{"type": "archive", "path": "~/out/{scan}.h5"}],
            "run": {"journal": "~/journal"},
        }
    )
    correct, integrate = (options.model_dump(mode="json") for options in config.processors)
    assert config.stream.model_dump(mode="json")["file"] == str(tmp_path / "recorded.cbors")
    assert correct["mask"] in (str(tmp_path / "mask.h5::/mask"), [str(tmp_path / "mask.h5::/mask")])
    assert correct["dark"] == [str(tmp_path / "1.edf"), "/data/~/2.edf"]
    assert integrate["poni"] == str(tmp_path / "a.poni")
    assert Journal.of(config).path.parent == tmp_path / "journal"
    document = {**config.document, "run": {}}
    assert Journal.of(validate(document)).path.parent == tmp_path / "out"
