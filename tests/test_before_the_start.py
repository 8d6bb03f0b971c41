"""What `validate`, `run` and `process` know of addresses and folders before the first frame."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.commands.main import main


def configuration(folder: Path, **changes: object) -> str:
    document = {
        "stream": {"type": "stream2", "endpoint": "tcp://127.0.0.1:31001"},
        "sinks": [{"type": "archive", "path": str(folder / "out" / "{scan}.h5")}],
        **changes,
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.fixture
def port() -> Iterator[int]:
    """One that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_validate_says_whether_the_detector_can_be_reached(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        silent = other.getsockname()[1]
    for number, words in ((port, "connected\n"), (silent, "not connected: nobody listens there now\n")):
        stream = {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{number}"}
        assert main(["validate", configuration(tmp_path, stream=stream)]) == 0
        assert f"tcp://127.0.0.1:{number}: {words}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_detector_whose_name_nobody_knows_is_told(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = {"type": "stream2", "endpoint": "tcp://no-such-machine.invalid:31001"}
    assert main([command, configuration(tmp_path, stream=stream)]) == 2
    assert "stream.endpoint: no machine is known by the name no-such-machine.invalid" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "run"])
def test_every_port_that_another_program_has_is_told_at_once(
    command: str, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"tcp://127.0.0.1:{port}"
    stream = {"type": "stream2", "endpoint": address, "bind": True}
    assert (
        main([command, configuration(tmp_path, stream=stream, sinks=[{"type": "monitor", "endpoint": address}])]) == 2
    )
    told = capsys.readouterr().err
    for place in ("stream.endpoint", "sinks[0].endpoint"):
        assert f"{place}: cannot listen at {address}: Address already in use; stop what has this port" in told


@pytest.mark.parametrize("place", ["stream.endpoint", "sinks[0].endpoint", "run.control"])
def test_an_address_of_another_machine_is_told_as_such(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "tcp://192.0.2.7:45454"
    changes: dict[str, Any] = {
        "stream.endpoint": {"stream": {"type": "stream2", "endpoint": address, "bind": True}},
        "sinks[0].endpoint": {"sinks": [{"type": "monitor", "endpoint": address}]},
        "run.control": {"run": {"control": address}},
    }[place]
    assert main(["validate", configuration(tmp_path, **changes)]) == 2
    told = capsys.readouterr().err
    assert f"{place}: cannot listen at {address}: Cannot assign requested address; give an address that this" in told


def test_a_control_address_that_another_program_has_is_told(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"tcp://127.0.0.1:{port}"
    assert main(["validate", configuration(tmp_path, run={"control": address})]) == 2
    assert f"run.control: cannot listen at {address}: Address already in use" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("a file")
    assert main(["validate", configuration(tmp_path)]) == 2
    assert f"sinks[0].path: {tmp_path / 'out'} is not a folder: choose another" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_folder_to_follow_that_is_not_there_is_told(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = {"type": "watch", "folder": str(tmp_path / "incoming")}
    assert main([command, configuration(tmp_path, stream=stream)]) == 2
    assert f"stream.folder: {tmp_path / 'incoming'} is not a folder: create it" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["{folder}", "{folder}/new/", "{folder}/{{scan}}/"])
def test_a_folder_instead_of_a_file_name_is_told(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files would be called like the folder, or lie beside it."""
    path = path.format(folder=tmp_path)
    assert main(["validate", configuration(tmp_path, sinks=[{"type": "archive", "path": path}])]) == 2
    told = capsys.readouterr().err
    assert f"sinks[0].path: {path} is a folder: write a file name, such as {path.rstrip('/')}/{{scan}}.h5" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_in_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    assert main(["validate", configuration(tmp_path)]) == 2
    assert f"sinks[0].path: nothing may be written in {tmp_path / 'out'}" in capsys.readouterr().err
