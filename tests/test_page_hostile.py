"""Requests and messages at the page that no browser of ours would send: refused, and the page is there after each."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from driven import Driven
from page_client import frame, page, viewer
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sinks.browser import tokens
from sinks.browser.guard import Door
from sinks.page import Config, Page
from stream import SinkFailed


@pytest.fixture(scope="module")
def sink() -> Iterator[Driven]:
    with page() as made:
        yield made


def port_of(sink: Driven) -> int:
    return int(sink.sink.address.rstrip("/").rpartition(":")[2])


def raw(sink: Driven, data: bytes) -> bytes:
    """What is answered to these bytes, until the connection ends."""
    with socket.create_connection(("127.0.0.1", port_of(sink)), timeout=20) as connection:
        answer = b""
        with suppress(ConnectionError):
            connection.sendall(data)
            while more := connection.recv(65536):
                answer += more
        return answer


def get(sink: Driven, path: str, *headers: str, host: str = "") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port_of(sink)}'}", *headers]
    return raw(sink, ("\r\n".join(lines) + "\r\n\r\n").encode())


def alive(sink: Driven) -> None:
    """A viewer comes in and sees a frame."""
    number = alive.frames = getattr(alive, "frames", 0) + 1  # type: ignore[attr-defined]
    sink.write(frame(number))
    with viewer(sink) as browser:
        browser.hello()
        browser.watch()
        browser.until("image", lambda told: told["frame"] >= number)


PATHS = [
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc/passwd",
    "//etc/passwd",
    "/static/../serve.py",
    "/serve.py",
    "/uplot.LICENSE/..",
    "/%00",
    "/.git/config",
    "/main.js/",
    "/MAIN.JS",
    "file:///etc/passwd",
    "http://127.0.0.1/etc/passwd",
    "/" + "a" * 4000,
    "*",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_not_in_the_table_is_nothing(sink: Driven, path: str) -> None:
    assert get(sink, path).startswith(b"HTTP/1.1 404 ")


def test_every_answer_forbids_scripts_and_frames_of_others(sink: Driven) -> None:
    for path in ("/", "/main.js", "/nowhere"):
        head = get(sink, path).split(b"\r\n\r\n")[0].decode().lower()
        assert "content-security-policy: default-src 'none'; script-src 'self'" in head
        assert "frame-ancestors 'none'" in head and "unsafe-inline" not in head
        assert "x-content-type-options: nosniff" in head and "referrer-policy: no-referrer" in head


BYTES = [
    b"",
    b"\x00" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"GET",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 1\r\nSec-WebSocket-Key: x\r\n\r\n",
    os.urandom(100_000),
]


@pytest.mark.parametrize("data", BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_no_request_end_their_connection_and_nothing_else(sink: Driven, data: bytes) -> None:
    here = ("127.0.0.1", port_of(sink))
    with socket.create_connection(here, timeout=20) as connection, suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
        assert not answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200"))
    alive(sink)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.1.7",
        "[::1",
        "@",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_gets_nothing(sink: Driven, host: str) -> None:
    assert get(sink, "/", host=host).startswith(b"HTTP/1.1 421 ")


def test_pages_of_other_sites_cannot_look_or_change_anything(sink: Driven) -> None:
    here = f"127.0.0.1:{port_of(sink)}"
    for origin in ("http://evil.example", "null", f"http://{here}.evil.example", "http://127.0.0.1:1", "file://", "%"):
        with pytest.raises(InvalidStatus, match="403"), viewer(sink, origin=origin):
            pass
    with viewer(sink, origin=f"http://{here}") as browser:
        browser.hello()
        browser.until("welcome")


MESSAGES: list[str | bytes] = [
    "",
    "{",
    "null",
    "[]",
    "1e999",
    '{"kind": "nothing"}',
    '{"kind": "hello"}',
    '{"kind": "shown", "more": 1}',
    '{"kind": "watch", "views": {"a": {"source": 1}}}',
    '{"kind": "watch", "views": {"a": {"source": "image threshold_1", "size": 1000000000}}}',
    '{"kind": "watch", "views": {"a": {"source": "image threshold_1", "rows": [-5, 10]}}}',
    '{"kind": "watch", "views": {"a": {"source": "image threshold_1", "rows": [0, 1e18]}}}',
    '{"kind": "watch", "views": {"a": {"source": "x", "size": NaN}}}',
    json.dumps({"kind": "watch", "views": {str(number): {"source": "x"} for number in range(5)}}),
    '{"kind": "probe", "source": "image threshold_1", "row": -1, "column": 0}',
    '{"kind": "probe", "source": "image threshold_1", "row": 1.5, "column": 0}',
    '{"kind": "set", "id": 1}',
    '{"kind": "set", "id": "1", "path": "processors.roi.regions", "value": 1}',
    "[" * 60_000,
    '{"a":' * 10_000,
    "x" * 100_000,
    b"\x00" * 100,
    b'{"kind": "shown"}',
    "\ud83d\ude00" * 1000,
]


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
@pytest.mark.parametrize("greeted", [False, True])
def test_a_message_that_is_not_understood_ends_its_connection_and_nothing_else(
    sink: Driven, message: str | bytes, greeted: bool
) -> None:
    if isinstance(message, str):
        message = message.encode("utf-16", "surrogatepass").decode("utf-16")
    with viewer(sink) as browser:
        if greeted:
            browser.hello()
            browser.until("turn")
        browser.connection.send(message)
        if not greeted and message == '{"kind": "hello"}':
            browser.until("welcome")
            browser.connection.send(message)
        with pytest.raises(ConnectionClosed):
            browser.until("nothing")
    alive(sink)


HARMLESS = [
    {"kind": "watch", "views": {"a": {"source": "../../etc/passwd"}}},
    {"kind": "watch", "views": {"a": {"source": "image threshold_1", "rows": [200, 10], "columns": [300, 1000000]}}},
    {"kind": "probe", "source": "image threshold_1", "row": 1000000, "column": 1000000},
    {"kind": "probe", "source": "", "row": 0, "column": 0},
    {"kind": "set", "id": 1, "path": "run.control", "value": "tcp://0.0.0.0:1"},
    {"kind": "set", "id": 1, "path": "sinks.0.path", "value": "/etc/passwd"},
    {"kind": "set", "id": 1, "path": "__class__", "value": {"a": [1] * 1000}},
]


@pytest.mark.parametrize("message", HARMLESS, ids=range(len(HARMLESS)))
def test_a_wish_that_cannot_be_met_is_refused_or_cut_to_what_is_there(sink: Driven, message: dict[str, object]) -> None:
    alive(sink)
    with viewer(sink) as browser:
        browser.hello()
        browser.say(message)
        if message["kind"] == "set":
            assert not browser.until("answer")["ok"]
        elif message["kind"] == "probe":
            assert browser.until("probe")["value"] is None
        browser.watch()
        browser.until("image")
    alive(sink)


def test_a_flood_of_messages_slows_down_only_who_sends_it(sink: Driven) -> None:
    with viewer(sink) as flood:
        flood.hello()
        stop = threading.Event()

        def send() -> None:
            with suppress(ConnectionClosed):
                while not stop.is_set():
                    flood.say({"kind": "probe", "source": "image threshold_1", "row": 1, "column": 1})

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        try:
            for _ in range(3):
                alive(sink)
        finally:
            stop.set()
            flood.connection.socket.shutdown(socket.SHUT_RDWR)
            sender.join(20)


@pytest.mark.slow
def test_more_viewers_or_connections_than_allowed_are_sent_away() -> None:
    with page(viewers=2) as sink:
        with viewer(sink) as one, viewer(sink) as two:
            for each in (one, two):
                each.hello()
                each.until("welcome")
            with pytest.raises(InvalidStatus, match="503"), viewer(sink):
                pass
        idle = [socket.create_connection(("127.0.0.1", port_of(sink)), timeout=20) for _ in range(60)]
        ended = [connection for connection in idle if _is_ended(connection)]
        for connection in idle:
            connection.close()
        assert len(ended) >= 20
        alive(sink)


def _is_ended(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.slow
def test_who_says_nothing_is_sent_away() -> None:
    with page() as sink, viewer(sink) as silent, pytest.raises(ConnectionClosed):
        silent.hear()


@pytest.mark.slow
def test_with_tokens_viewers_look_operators_change_and_others_get_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "page.tokens"
    with page(endpoint="0.0.0.0:0", tokens=path) as sink:
        words = tokens.read(path)
        assert path.stat().st_mode & 0o777 == 0o600 and min(map(len, words.values())) >= 16
        sink.sink.address = f"http://127.0.0.1:{port_of(sink)}/"
        for role, word in words.items():
            with viewer(sink) as browser:
                browser.hello(token=word)
                assert browser.until("welcome")["role"] == role
                browser.say({"kind": "set", "id": 5, "path": "sinks.0.rate_hz", "value": 1})
                answer = browser.until("answer")
                assert answer["id"] == 5 and not answer["ok"]
                assert ("viewers may not" in answer["text"]) == (role == "viewer")
        for word in ("", "wrong", words["viewer"][:-1], words["operator"] + "x", "\0", "é" * 50):
            with viewer(sink) as browser:
                browser.hello(token=word)
                with pytest.raises(ConnectionClosed, match="wrong token"):
                    browser.hear()
    with page(tokens=path):  # the same words after a restart
        assert tokens.read(path) == words


def test_a_file_of_tokens_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.tokens"
    for mode, text, problem in (
        (0o644, "viewer " + "a" * 20 + "\noperator " + "b" * 20, "others may read it: chmod 600"),
        (0o600, "viewer abc\noperator def", "less than 16 characters"),
        (0o600, "viewer " + "a" * 20, "delete it to get a new one"),
        (0o600, "viewer " + "a" * 20 + "\noperator " + "a" * 20, "delete it to get a new one"),
    ):
        path.write_text(text)
        path.chmod(mode)
        config = Config(endpoint="127.0.0.1:0", tokens=path)
        with closing(Page(config)) as made, pytest.raises(SinkFailed, match=problem):
            made.tick(None)  # type: ignore[arg-type]
        assert [option for option, _ in config.preflight(None)] == ["tokens"]  # type: ignore[arg-type]


def test_beyond_this_machine_addresses_and_its_own_names_are_known_and_no_other() -> None:
    door = Door(loopback=False, hosts=("beamline.example.org",), tokens={})
    for host in ("10.1.2.3:8765", "[fd00::1]:8765", socket.gethostname(), "Beamline.Example.org:443", "localhost:99"):
        assert door.knows_host(host), host
    for host in (None, "", "evil.example", "beamline.example.org.evil.example", "10.1.2.3.evil.example", "a" * 300):
        assert not door.knows_host(host), host
