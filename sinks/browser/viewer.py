"""One browser: what it was told, what it is due, and what it says.

A turn is everything that is new for it; the next one is made when the browser says `shown`, out of what is newest then.
Awaiting `send` alone would not do: the kernel's buffers took 29 stale images for a reader that had stopped reading.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from sinks.browser.gallery import Gallery
from sinks.browser.messages import Hello, Plane, Probe, Set, Shown, Watch, read
from sinks.browser.picture import Source
from sinks.browser.state import State, plain

MESSAGES_PER_S = 60.0
BURST = 120.0
MOST_ANSWERS = 64


class Hub(Protocol):
    """What a viewer may ask of the server."""

    state: State
    gallery: Gallery

    def wanted(self) -> None:
        """A viewer is ready for what is newer."""
        ...

    def change(self, viewer: "Viewer", asked: Set) -> None:
        """Pass the wish for a change on to the run."""
        ...


class Viewer:
    """`run` ends with the connection."""

    def __init__(self, connection: ServerConnection, role: str, hello: Hello, hub: Hub) -> None:
        self.role, self.name = role, hello.name or "somebody"
        self.ready = False
        """It has shown its last turn."""
        self.watch: Watch = Watch(kind="watch", views={})
        self._connection, self._hub = connection, hub
        self._told: dict[str, int] = {}
        self._drawn: dict[str, tuple[Source, Any]] = {}
        self._answers: deque[str] = deque(maxlen=MOST_ANSWERS)
        self._due = True
        self._again = False
        self._wake = asyncio.Event()
        self._wake.set()
        self._allowance, self._counted = BURST, time.monotonic()

    def publish(self) -> None:
        """Something is new: it gets it now if it is ready, else as soon as it is."""
        self._again = not self.ready
        if self.ready:
            self.ready, self._due = False, True
            self._wake.set()

    def answer(self, message: Mapping[str, Any]) -> None:
        """Send this at once; the oldest is left out if the viewer takes none of them."""
        self._answers.append(json.dumps(plain(message)))
        self._wake.set()

    async def leave(self) -> None:
        """Let it have the last state, and close."""
        parts = await self._turn()
        for part in parts:
            await self._connection.send(part)
        await self._connection.close(1001, "inbeam has ended")

    async def run(self) -> None:
        """Until the connection ends. Raises ValueError for a message that cannot be understood."""
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write())
            async for said in self._connection:
                await self._heed(said, group)
            writer.cancel()

    async def _heed(self, said: str | bytes, group: asyncio.TaskGroup) -> None:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + MESSAGES_PER_S * (now - self._counted)) - 1.0
        self._counted = now
        if self._allowance < 0:
            await asyncio.sleep(1.0 / MESSAGES_PER_S)
        message = read(said)
        if isinstance(message, Shown):
            self.ready = True
            if self._again:
                self.publish()
            self._hub.wanted()
        elif isinstance(message, Watch):
            self.watch = message
            self.publish()
            self._hub.wanted()
        elif isinstance(message, Probe):
            self.answer(await self._hub.gallery.look(message))
        elif isinstance(message, Plane):
            group.create_task(self._survey(message))  # the first one takes seconds: pyFAI is imported
        elif isinstance(message, Set):
            if self.role == "operator":
                self._hub.change(self, message)
            else:
                self.answer({"kind": "answer", "id": message.id, "ok": False, "text": "viewers may not change options"})
        else:
            raise ValueError("a second hello")

    async def _survey(self, asked: Plane) -> None:
        self.answer(await self._hub.gallery.plane(asked))

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._answers:
                    await self._connection.send(self._answers.popleft())
                if self._due:
                    self._due = False
                    for part in await self._turn():
                        await self._connection.send(part)
        except ConnectionClosed:
            return

    async def _turn(self) -> list[str | bytes]:
        """Everything that is new, out of one moment's state."""
        state, told = self._hub.state, self._told
        versions = dict(state.versions)
        if told.get("scan") != versions["scan"]:
            self._drawn = {}
            told["rows"] = 0
        new = {name for name, version in versions.items() if told.get(name) != version}
        parts: list[str | bytes] = []
        if "scan" in new:
            parts.append(state.scan_message())
        names = ("counters", "options", "changes", "log", "files", "holes", "jobs")
        if "rows" in new and (rows := state.rows_since(told.get("rows", 0))) is not None:
            parts.append(rows)
        if "frame" in new:
            parts.append(state.curves_message())
        last = state.turn_message([name for name in names if name in new and versions[name]])  # before time goes on
        for panel, view in list(self.watch.views.items()):
            source = await self._hub.gallery.source(view.source, view.past)
            if source is not None and self._drawn.get(panel) != (source, view):
                self._drawn[panel] = (source, view)
                parts.append(await self._hub.gallery.draw(source, view))
        told.update(versions)
        return [*parts, last]
