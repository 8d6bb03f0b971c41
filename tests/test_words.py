"""What the user is told, also by the files: the end of a scan, a failure, a file that was there already, times."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import h5py
import pytest
import yaml
from commands import FRAMES, configuration, recorded
from plug_ins import install

from stream.commands.main import main

SINK = """
from typing import Literal
from stream import Options, SinkFailed

class Config(Options):
    type: Literal["full"] = "full"
    required: bool = True

class Sink:
    lane = "block"
    def start(self, scan, products): return None
    def write(self, item): raise SinkFailed("the disk is full")
    def tick(self, counters): pass
    def finish(self, end): pass
    def close(self): pass

def create(config, context):
    return Sink()
"""


@pytest.fixture(autouse=True)
def all_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inbeam")


def process(config: Path, *files: Path) -> int:
    return main(["process", "--quiet", str(config), *map(str, files)])


def with_sinks(config: Path, *sinks: dict[str, object]) -> Path:
    document = yaml.safe_load(config.read_text())
    document["sinks"] += sinks
    config.write_text(yaml.safe_dump(document))
    return config


def test_the_end_of_every_scan_names_its_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = with_sinks(configuration(tmp_path), {"type": "hdf5", "path": str(tmp_path / "{scan}_results.h5")})
    files = [recorded(tmp_path, name) for name in ("a.h5", "b.h5")]
    assert process(config, *files) == 0
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("scan ")]
    assert told == [
        f"scan {name} complete: {FRAMES} received = {FRAMES} frames -> "
        f"{tmp_path / 'out' / name}.h5, {tmp_path / name}_results.h5"
        for name in "ab"
    ]


def test_a_file_that_was_there_already_is_said_to_be_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, source = configuration(tmp_path), recorded(tmp_path)
    assert process(config, source) == 0
    assert "left alone" not in caplog.text
    assert process(config, source) == 0
    assert f"-> {tmp_path / 'out' / 'scan.h5'} (already there, left alone)" in caplog.text


@pytest.mark.parametrize("required", [True, False], ids=["required", "optional"])
def test_a_scan_is_not_called_complete_where_a_sink_failed(
    required: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path / "plug_in", monkeypatch, "sinks", "full", SINK)
    config = with_sinks(configuration(tmp_path), {"type": "full", "required": required})
    assert process(config, recorded(tmp_path)) == 1
    (told,) = (record.getMessage() for record in caplog.records if record.getMessage().startswith("scan scan "))
    assert ", but not in sinks[1] full: " in told
    assert told.endswith(f"-> {tmp_path / 'out' / 'scan.h5'}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("began", "ended"),
    [
        ("2023-05-17T10:00:00.123456+02:00", "2023-05-17T10:05:00+02:00"),
        ("2023-05-17T10:00:00", "2023-05-17T10:05:00Z"),
        ("yesterday", ""),
        (None, None),
    ],
)
def test_processed_files_have_the_times_of_the_recording_not_of_the_processing(
    began: str | None, ended: str | None, tmp_path: Path
) -> None:
    source = recorded(tmp_path)
    with h5py.File(source, "r+") as file:
        for name, text in (("start_time", began), ("end_time", ended)):
            if text is not None:
                file[f"entry/{name}"] = text
    before = datetime.now(UTC)
    config = with_sinks(configuration(tmp_path), {"type": "hdf5", "path": str(tmp_path / "{scan}_results.h5")})
    assert process(config, source) == 0
    for path in (tmp_path / "out" / "scan.h5", tmp_path / "scan_results.h5"):
        with h5py.File(path) as file:
            told = file["entry/start_time"].asstr()[()], file["entry/end_time"][0].decode()
        for said, wanted in zip(told, (began, ended), strict=True):
            if wanted and wanted[0] == "2":
                assert said == wanted
            else:
                assert before <= datetime.fromisoformat(said) <= datetime.now(UTC)
