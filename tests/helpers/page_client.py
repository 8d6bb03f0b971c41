"""A page's sink in its lane, with a small scan, and a client that says what a browser says."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from driven import Driven
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sinks.page import Config, Page
from stream import Axis, Counters, Field, Frame, Product, ScanStart
from stream.context import ALONE, Context
from stream.events import Piece, Update
from stream.simulate import eiger
from stream.simulate.encode import scan_of

DETECTOR = eiger.small()
IMAGES = eiger.frames(DETECTOR, 2)
PACKED = eiger.pool(DETECTOR, 2)
AXIS = Axis("q", np.linspace(0.1, 5, 40), "1/nm")
PRODUCT = Product(
    "integrate",
    (Field("I", (40,), np.dtype("f4"), "counts"), Field("total", (), np.dtype("f8"), "counts")),
    signal="I",
    axes=(AXIS,),
)
MAP = Product("map", (Field("total", (3, 4), np.dtype("f8"), "counts", per="scan"),), "total")
PATIENCE_S = 30


def scan(name: str = "7") -> ScanStart:
    """Of 1000 frames of 256 x 256 pixels."""
    return scan_of(DETECTOR, expected=1000, name=name)


def frame(index: int) -> Frame:
    """With pixels, a pattern, a number and a reading."""
    results = {"integrate": {"I": np.full(40, index, np.float32), "total": np.float64(40 * index)}}
    return Frame("uid", index, PACKED[index % 2], time.time(), results=results, readings={"temperature": 300 + index})


def piece(row: int, column: int, value: float) -> Update:
    """One point of the map."""
    return Update("uid", "map", {"total": Piece((row, column), np.full((1, 1), value))})


@contextmanager
def page(context: Context = ALONE, begin: ScanStart | None = None, **options: object) -> Iterator[Driven]:
    """A page with an open scan at a free port."""
    made = Page(Config.model_validate({"endpoint": "127.0.0.1:0", "rate_hz": 50, "share": 1, **options}), context)
    sink = Driven(made)
    try:
        sink.start(begin or scan(), [PRODUCT, MAP])
        sink.tick(Counters(scan="7", expected=1000))
        yield sink
    finally:
        sink.close()


class Viewer:
    """Says hello and `shown`, and keeps what it is told."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.told: dict[str, Any] = {}
        """Kind -> the latest message; of images: source -> message with `values`."""
        self.images: dict[str, Any] = {}
        self.rows: list[Any] = []

    def say(self, message: Any) -> None:
        """Anything, as JSON."""
        self.connection.send(json.dumps(message))

    def hello(self, token: str = "", name: str = "") -> None:
        """Come in."""
        self.say({"kind": "hello", "token": token, "name": name})

    def watch(self, source: str = "image threshold_1", **view: Any) -> None:
        """Look at an image."""
        self.say({"kind": "watch", "views": {"detector": {"source": source, **view}}})

    def hear(self) -> dict[str, Any]:
        """The next message."""
        message = self.connection.recv(PATIENCE_S)
        if isinstance(message, str):
            found: dict[str, Any] = json.loads(message)
            self.told.update({found["kind"]: found} if found["kind"] != "turn" else {**found, "turn": found})
            return found
        length = int.from_bytes(message[:4], "little")
        found, body = json.loads(message[4 : 4 + length]), message[4 + length :]
        if found["kind"] == "image":
            found["values"] = np.frombuffer(body, "f4").reshape(found.get("shape", (0,)))
            self.images[found["source"]] = found
        elif found["kind"] == "rows":
            found["table"] = np.frombuffer(body, "f8").reshape(2 + len(found["names"]), found["count"])
            self.rows = [] if found["afresh"] else self.rows
            self.rows.append(found)
        elif found["kind"] == "curves":
            found["values"] = np.frombuffer(body, "f4")
        self.told[found["kind"]] = found
        return found

    def until(self, kind: str, wanted: Any = lambda message: True) -> dict[str, Any]:
        """Hear, and show every turn, until there is such a message."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = self.hear()
            if message["kind"] == "turn":
                with suppress(ConnectionClosed):  # told by the next `hear`
                    self.say({"kind": "shown"})
            if message["kind"] == kind and wanted(message):
                return message
        raise AssertionError(f"no such {kind}: {self.told.get(kind)}")

    def image(self, number: int, source: str = "image threshold_1") -> dict[str, Any]:
        """The image of a frame."""
        return self.until("image", lambda message: message["source"] == source and message["frame"] == number)


@contextmanager
def viewer(sink: Driven, **options: Any) -> Iterator[Viewer]:
    """A browser that has connected, and has said nothing yet."""
    address = sink.sink.address.replace("http", "ws") + "live"
    stack = ExitStack()
    connection = stack.enter_context(connect(address, max_size=None, proxy=None, **options))
    try:
        yield Viewer(connection)
    finally:
        with suppress(ConnectionClosed):  # the other end was quicker
            stack.close()
