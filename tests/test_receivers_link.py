"""What a receiver of another machine is told by the roster: no number is ever two processes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from stream.commands.dask_receivers import DaskChild
from stream.receivers.link import Link
from stream.receivers.roster import Roster


@pytest.fixture
def roster() -> Iterator[tuple[Roster, tuple[bytes, bytes]]]:
    keys = zmq.curve_keypair()
    made = Roster("tcp://127.0.0.1:0", keys)
    yield made, keys
    made.close()


def ordered(link: Mapping[str, str], until: ExitStack) -> dict[str, Any] | None:
    """What a process is told that comes with this link."""
    made = Link(**link)
    until.callback(made.close)
    return made.hello()


def test_only_the_first_process_that_comes_with_a_token_is_told_what_to_do(
    roster: tuple[Roster, tuple[bytes, bytes]],
) -> None:
    made, keys = roster
    made.expect("token", {"document": {"number": 0}}, lambda told: None)
    link = {"endpoint": made.endpoint, "key": keys[0].decode(), "token": "token"}
    with ExitStack() as until:
        first = ordered(link, until)
        assert first is not None and first["document"] == {"number": 0}
        assert ordered(link, until) is None
        assert ordered({**link, "token": "another"}, until) is None


def test_who_comes_late_with_the_token_of_an_earlier_start_is_sent_away(
    roster: tuple[Roster, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    made, keys = roster
    links: list[Mapping[str, str]] = []

    def submit(_hold: object, link: Mapping[str, str], _folder: str, **_more: object) -> object:
        links.append(link)
        return SimpleNamespace(status="error")  # its worker was lost, once the process had been started

    crew: Any = SimpleNamespace(roster=made, keys=keys, marker=tmp_path, client=SimpleNamespace(submit=submit))
    child = DaskChild(crew, 3, {"number": 3}, Queue(), "tcp://worker:1")
    child.start()
    assert child.ended
    child.start()
    with ExitStack() as until:
        assert ordered(links[0], until) is None
        told = ordered(links[1], until)
    assert told is not None and told["document"] == {"number": 3}
