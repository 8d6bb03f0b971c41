"""One link to inbeam, many viewers: what the process of the page does. It ends with inbeam, however that ends."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from sinks.browser.channel import LENGTH, LONGEST, Place, framed, take, unpack
from sinks.browser.desk import Desk
from sinks.browser.gallery import Gallery
from sinks.browser.gate import Gate, Limited
from sinks.browser.guard import Door
from sinks.browser.messages import Hello, Set, read
from sinks.browser.pace import Pace
from sinks.browser.picture import IMAGE
from sinks.browser.state import State
from sinks.browser.viewer import Viewer

LONGEST_MESSAGE = 65_536
HELLO_S, OPENING_S, FAREWELL_S = 5.0, 5.0, 0.5
WRONG_TOKEN_S = 0.5
SPARE_CONNECTIONS = 32
"""Beyond the viewers': for files, and for those that are just being opened."""


class Serving:
    """One link to inbeam, many viewers."""

    def __init__(self, link: socket.socket, slot: int, settings: Mapping[str, Any], hurry: Executor) -> None:
        """hurry: runs what is needed once, at the priority of inbeam."""
        self.state = State()
        self.gallery = Gallery(self.state, int(settings["image_size"]), hurry)
        self.desk = Desk(self.state, settings["jobs"], hurry)
        self._link, self._slot, self._settings = link, slot, settings
        self._door = Door(settings["loopback"], settings["hosts"], settings["tokens"])
        self._gate = Gate(self._door, lambda: len(self._viewers) < settings["viewers"])
        self._viewers: set[Viewer] = set()
        self._asked: dict[int, tuple[Viewer, int]] = {}
        self._numbers = 0
        self._taken = 0
        self._waiting = False
        self._said_pixels = False
        self._pace = Pace(settings["share"])
        self._later: asyncio.TimerHandle | None = None

    async def run(self, listening: socket.socket) -> None:
        """Serve until inbeam ends, and end the process."""
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
            reading = asyncio.create_task(self.desk.run(lambda: bool(self._viewers), self._publish))
            await self._follow()
            reading.cancel()
            await self._farewell(server)
            os._exit(0)  # connections that hang are not waited for

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
            self.gallery.begin()
        self._publish()
        self.wanted()

    def _publish(self) -> None:
        for viewer in self._viewers:
            viewer.publish()

    def wanted(self) -> None:
        """Tell inbeam that an update is welcome, if somebody is ready for it or nobody is there."""
        ready = not self._viewers or any(viewer.ready for viewer in self._viewers)
        pixels = bool(self._viewers)
        if not ready or (self._waiting and pixels <= self._said_pixels):
            return
        if pause := self._pace.pause():
            if self._later is None:
                self._later = asyncio.get_running_loop().call_later(pause, self._wanted_now)
            return
        self._pace.begin()
        views = [view for viewer in self._viewers for view in viewer.watch.views.values() if view.past is None]
        channels = sorted({each.source.removeprefix(IMAGE) for each in views if each.source.startswith(IMAGE)})
        self._waiting, self._said_pixels = True, pixels
        self._tell({"ready": {"pixels": pixels, "channels": channels, "taken": self._taken}})

    def _wanted_now(self) -> None:
        self._later = None
        self.wanted()

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
            told = {key: answer.get(key) for key in ("text", "path", "frame")}
            for other in self._viewers - {viewer}:
                other.answer({"kind": "notice", "who": viewer.name if viewer else "", **told})
        if "value" in answer and self.state.learn(str(answer["path"]), answer["value"], int(answer["serial"])):
            for each in self._viewers:  # at once: the next update may be long in coming where the machine is busy
                each.publish()

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
        with suppress(TimeoutError):  # who does not take it in time has seen the last turn but one
            await asyncio.wait_for(asyncio.gather(*going, return_exceptions=True), FAREWELL_S)


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


async def _main(link: socket.socket, listening: socket.socket, slot: int, hurry: Executor) -> None:
    (length,) = LENGTH.unpack(await _exactly(link, LENGTH.size))
    if length > LONGEST:
        raise ValueError("no settings")
    settings = unpack(await _exactly(link, length))["settings"]
    await Serving(link, slot, settings, hurry).run(listening)


def run(link_number: int, listening_number: int, slot: int, hurry: Executor) -> None:
    """Serve until inbeam ends. Never returns: whatever a thread still does, the process ends."""
    link, listening = socket.socket(fileno=link_number), socket.socket(fileno=listening_number)
    link.setblocking(False)
    listening.setblocking(False)
    try:
        asyncio.run(_main(link, listening, slot, hurry))
    except EOFError:
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"inbeam: the process of the page failed: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
