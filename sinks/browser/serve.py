"""The process that serves the page: `python -m sinks.browser.serve LINK LISTENING SLOT`, three file descriptors.

It runs with the lowest priority: where inbeam needs the whole machine, the page gets slower, not the pipeline. It ends
when its end of the link is closed, that is with inbeam, however that ends.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sinks.browser.channel import LENGTH, LONGEST, Place, framed, take, unpack
from sinks.browser.gate import Gate, Limited
from sinks.browser.geometry import Where
from sinks.browser.guard import Door
from sinks.browser.messages import Hello, Plane, Probe, Set, View, read
from sinks.browser.picture import Source
from sinks.browser.state import State
from sinks.browser.viewer import Viewer
from sinks.live.preview import preview
from stream.codec.native import bslz4_compress
from stream.codec.payload import decode
from stream.events import Encoding, Payload

NICENESS = 19
LONGEST_MESSAGE = 65_536
HELLO_S, OPENING_S, FAREWELL_S = 5.0, 5.0, 0.5
WRONG_TOKEN_S = 0.5
SPARE_CONNECTIONS = 32
"""Beyond the viewers': for files, and for those that are just being opened."""


class Serving:
    """One link to inbeam, many viewers."""

    def __init__(self, link: socket.socket, slot: int, settings: Mapping[str, Any], prepared: threading.Event) -> None:
        self.state = State()
        self._link, self._slot, self._settings = link, slot, settings
        self._door = Door(settings["loopback"], settings["hosts"], settings["tokens"])
        self._gate = Gate(self._door, lambda: len(self._viewers) < settings["viewers"])
        self._viewers: set[Viewer] = set()
        self._painter, self._surveyor = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._prepared = prepared
        self._places = {"": Where("")}
        self._located: Future[None] | None = None
        self._asked: dict[int, tuple[Viewer, int]] = {}
        self._numbers = 0
        self._taken = 0
        self._waiting = False
        self._said_pixels = False

    async def run(self, listening: socket.socket) -> None:
        """Serve until inbeam ends."""
        Limited.most = self._settings["viewers"] + SPARE_CONNECTIONS
        quiet = logging.getLogger("inbeam.page")
        quiet.setLevel(logging.CRITICAL)
        async with serve(
            self._viewer,
            sock=listening,
            process_request=self._gate.request,
            create_connection=Limited,
            compression=None,
            max_size=LONGEST_MESSAGE,
            max_queue=8,
            open_timeout=OPENING_S,
            close_timeout=1,
            ping_interval=10,
            ping_timeout=20,
            server_header=None,
            logger=quiet,
        ) as server:
            self.wanted()
            await self._follow()
            await self._farewell(server)

    async def _follow(self) -> None:
        """What inbeam says, until it says bye or is gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                (length,) = LENGTH.unpack(await _exactly(self._link, LENGTH.size))
                message = unpack(await _exactly(self._link, length))
            except EOFError:
                return
            if "slot" in message:
                update, *payloads = await loop.run_in_executor(
                    None, partial(take, self._slot, Place(tuple(message["slot"])))
                )
                self._waiting = False
                self._taken += 1
                self._apply(unpack(update), payloads)
            elif "answer" in message:
                self._answered(message["answer"])
            elif "bye" in message:
                self.state.count(message["bye"])
                return

    def _apply(self, update: Mapping[str, Any], payloads: Sequence[bytes]) -> None:
        before = self.state.versions["scan"]
        self.state.apply(update, payloads)
        if self.state.versions["scan"] != before:
            poni = self.state.scan.get("poni", "")
            self._places = {poni: Where(poni)}
            self._located = None
        for viewer in self._viewers:
            viewer.publish()
        self.wanted()

    def wanted(self) -> None:
        """Tell inbeam that an update is welcome, if somebody is ready for it or nobody is there."""
        ready = not self._viewers or any(viewer.ready for viewer in self._viewers)
        pixels = bool(self._viewers)
        if not ready or (self._waiting and pixels <= self._said_pixels):
            return
        views = [view.source for viewer in self._viewers for view in viewer.watch.views.values()]
        channels = sorted({source.removeprefix("image ") for source in views if source.startswith("image ")})
        self._waiting, self._said_pixels = True, pixels
        self._tell({"ready": {"pixels": pixels, "channels": channels, "taken": self._taken}})

    def change(self, viewer: Viewer, asked: Set) -> None:
        """Pass it on; the answer comes back by its number."""
        self._numbers += 1
        self._asked[self._numbers] = (viewer, asked.id)
        request = {"id": self._numbers, "path": asked.path, "value": asked.value, "who": f"{viewer.name} (page)"}
        if "seen" in asked.model_fields_set:
            request["seen"] = asked.seen
        self._tell({"set": request})

    def _answered(self, answer: Mapping[str, Any]) -> None:
        viewer, number = self._asked.pop(int(answer["id"]), (None, 0))
        if viewer is not None:
            viewer.answer({**answer, "kind": "answer", "id": number})
        if answer.get("ok"):
            for other in self._viewers - {viewer}:
                other.answer({"kind": "notice", "text": answer["text"], "who": viewer.name if viewer else ""})

    async def draw(self, source: Source, view: View) -> bytes:
        """In the one painting thread; what several viewers look at is drawn once."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._painter, self._draw, source, view)

    def _draw(self, source: Source, view: View) -> bytes:
        self._prepared.wait()
        return source.answer(view, int(self._settings["image_size"]))

    async def look(self, viewer: Viewer, probe: Probe) -> Mapping[str, Any]:
        """Value of a pixel, and where it lies."""
        found: dict[str, Any] = {"kind": "probe", "source": probe.source, "row": probe.row, "column": probe.column}
        source = self.state.sources.get(probe.source)
        if source is None:
            return {**found, "value": None}
        loop = asyncio.get_running_loop()
        value, masked = await loop.run_in_executor(self._painter, source.value, probe.row, probe.column)
        if probe.source.startswith("image "):
            where = self._places[self.state.scan.get("poni", "")]
            if self._located is None:
                self._located = self._surveyor.submit(where.load)
            found |= where.at(probe.row, probe.column)
        return {**found, "value": value, "masked": masked, "frame": source.about["frame"]}

    async def plane(self, asked: Plane) -> Mapping[str, Any]:
        """Where the detector lies whose geometry a product is measured with; None if that is not known, or not flat."""
        scan = self.state.scan
        poni = next((each["poni"] for each in scan.get("products", ()) if each["name"] == asked.product), "")
        where = self._places.setdefault(poni, Where(poni))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._surveyor, where.load)
        plane = where.plane((scan["shape"][0], scan["shape"][1])) if poni else None
        return {"kind": "plane", "product": asked.product, "scan": scan.get("uid"), "plane": plane}

    def _tell(self, message: Mapping[str, Any]) -> None:
        """inbeam reads within 10 ms; if it does not, it is in its last moments."""
        try:
            self._link.setblocking(True)
            self._link.sendall(framed(message))
        except OSError:
            pass
        finally:
            self._link.setblocking(False)

    async def _viewer(self, connection: ServerConnection) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                hello = read(await connection.recv())
            if not isinstance(hello, Hello):
                raise ValueError("say hello first")
            role = self._door.role(hello.token)
            if role is None:
                await asyncio.sleep(WRONG_TOKEN_S)
                await connection.close(4401, "wrong token")
                return
            welcome = {"kind": "welcome", "role": role, "document": self._settings["document"]}
            viewer = Viewer(connection, role, hello, self)
            viewer.answer(welcome)
            self._viewers.add(viewer)
            self.wanted()
            try:
                await viewer.run()
            finally:
                self._viewers.discard(viewer)
                self.wanted()
        except* (ValueError, TimeoutError) as group:
            await connection.close(4400, str(group.exceptions[0])[:100])
        except* ConnectionClosed:
            pass

    async def _farewell(self, server: Server) -> None:
        server.close(close_connections=False)
        await asyncio.sleep(0)
        going = [viewer.leave() for viewer in self._viewers]
        await asyncio.wait_for(asyncio.gather(*going, return_exceptions=True), FAREWELL_S)


def _prepare(prepared: threading.Event) -> None:
    """Load the kernels, or compile them, which at the lowest priority would take minutes on a busy machine."""
    for kind in ("u1", "u2", "u4", "i2", "i4", "f4", "f8"):
        preview(np.zeros((1, 1), kind), 1, "mean")
    for kind in ("u1", "u2", "u4"):
        packed = bslz4_compress(np.zeros((1, 8), kind))
        decode(Payload(packed, Encoding.BSLZ4, (1, 8), np.dtype(kind)))
    prepared.set()


async def _exactly(link: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        try:
            more = await loop.sock_recv(link, count - len(data))
        except OSError:
            more = b""
        if not more:
            raise EOFError
        data += more
    return data


async def _main(link: socket.socket, listening: socket.socket, slot: int, prepared: threading.Event) -> None:
    (length,) = LENGTH.unpack(await _exactly(link, LENGTH.size))
    if length > LONGEST:
        raise ValueError("no settings")
    settings = unpack(await _exactly(link, length))["settings"]
    await Serving(link, slot, settings, prepared).run(listening)


def main(arguments: Sequence[str]) -> None:
    """Never returns: whatever a thread still does, the process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for inbeam, which then ends us
    prepared = threading.Event()
    threading.Thread(target=_prepare, args=(prepared,), daemon=True).start()
    os.nice(NICENESS)  # of this thread, and of those that it will start
    link, listening = (socket.socket(fileno=int(number)) for number in arguments[:2])
    link.setblocking(False)
    listening.setblocking(False)
    try:
        asyncio.run(_main(link, listening, int(arguments[2]), prepared))
    except EOFError:
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"inbeam: the process of the page failed: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
