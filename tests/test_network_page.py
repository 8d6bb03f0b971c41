"""docs/network.md, its commands, configuration and client taken literally."""

import logging
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zmq.auth
from driven import Driven
from following import blocks, follow, shell
from sink_examples import frame, scan

from sinks.monitor import Config, create
from stream.commands.demo import free_port
from stream.commands.main import main
from stream.wire.keys import load

PAGE = Path(__file__).parents[1] / "docs" / "network.md"
LIMIT_S = 60.0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.slow
def test_the_page_leads_to_a_client_that_gets_data_and_a_stranger_that_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = shell(tmp_path / "bin")
    for block in blocks(PAGE, ""):
        done = follow(block, tmp_path, environment)
        assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    assert [mode(path) for path in sorted(Path("keys").glob("*.key_secret"))] == [0o600, 0o600]
    assert mode(Path("keys")) == 0o700
    port = str(free_port())
    (options,) = yaml.safe_load(blocks(PAGE, "yaml")[0].replace("45454", port).replace("0.0.0.0", "127.0.0.1"))["sinks"]
    sink = Driven(create(Config(**options)))
    sink.start(scan(), [])
    sink.write(frame(1))
    stranger = zmq.Context()
    try:
        known: dict[str, Any] = {}
        limit = f"\nclient._socket.rcvtimeo = {int(1000 * LIMIT_S)}\ndata, metadata"
        exec(blocks(PAGE, "python")[0].replace("45454", port).replace("\ndata, metadata", limit), known)
        assert isinstance(known["data"]["inbeam/image"]["data"], np.ndarray)
        socket = stranger.socket(zmq.SUB)
        socket.subscribe(b"")
        socket.rcvtimeo, socket.linger = 300, 0
        socket.connect(f"tcp://127.0.0.1:{port}")
        with pytest.raises(zmq.Again):
            socket.recv_multipart()
        known["client"]._socket.close(0)
        known["context"].term()
    finally:
        stranger.destroy(0)
        sink.close()


def test_the_page_shows_an_address_that_is_refused_without_keys_nowhere() -> None:
    for block in blocks(PAGE, "yaml"):
        for options in yaml.safe_load(block)["sinks"]:
            assert "0.0.0.0" not in options["endpoint"] or options["curve_clients"]


def test_a_key_that_is_there_is_never_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "monitor", "--folder", str(tmp_path)]) == 0
    before = (tmp_path / "monitor.key_secret").read_bytes()
    assert main(["keys", "monitor", "--folder", str(tmp_path)]) == 1
    assert "exists and is left alone" in capsys.readouterr().err
    assert (tmp_path / "monitor.key_secret").read_bytes() == before
    (tmp_path / "link.key_secret").symlink_to(tmp_path / "target")
    assert main(["keys", "link", "--folder", str(tmp_path)]) == 1
    assert not (tmp_path / "target").exists()
    assert main(["keys", "../monitor"]) == 2


def test_both_halves_belong_together_as_zmq_reads_them(tmp_path: Path) -> None:
    assert main(["keys", "a", "--folder", str(tmp_path)]) == 0
    public, secret = zmq.auth.load_certificate(tmp_path / "a.key_secret")
    assert secret is not None and zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(tmp_path / "a.key") == (public, None)


def test_a_secret_key_that_others_may_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    main(["keys", "a", "--folder", str(tmp_path)])
    caplog.set_level(logging.WARNING)
    load(tmp_path / "a.key_secret")
    assert not caplog.records
    (tmp_path / "a.key_secret").chmod(0o644)
    load(tmp_path / "a.key_secret")
    assert f"chmod 600 {tmp_path / 'a.key_secret'}" in caplog.text
