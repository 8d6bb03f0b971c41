"""Pictures for the viewers: drawn by one thread, each part once for all who look at it; those of the past are read."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sinks.browser.geometry import Where
from sinks.browser.messages import Past, Plane, Probe, View
from sinks.browser.past import NotThere, archived, prepare
from sinks.browser.picture import IMAGE, Kind, Source, unavailable
from sinks.browser.state import State

T = TypeVar("T")
MOST_PAST = 4
"""Archived frames that are kept decoded: viewers who look at the same one share it."""
AGAIN_S = 1.0
"""What was not there is looked for again."""
READING_S = 5.0


class Gallery:
    """All that viewers look at. Its methods are called by the event loop."""

    def __init__(self, state: State, largest: int, hurry: Executor) -> None:
        """largest: longest side of an image, pixels. hurry: runs what is needed once, at the priority of inbeam."""
        self._state, self._largest, self._hurry = state, largest, hurry
        self._painter, self._surveyor, self._reader = (ThreadPoolExecutor(1) for _ in range(3))
        self._ready = set[Kind]()
        self._past: OrderedDict[tuple[str, int, int], tuple[float, Source]] = OrderedDict()
        self.begin()

    def begin(self) -> None:
        """The scan is another one."""
        poni = self._state.scan.get("poni", "")
        self._places = {poni: Where(poni)}
        self._located: Future[None] | None = None
        self._past.clear()

    async def source(self, name: str, past: Past | None) -> Source | None:
        """The newest image of a name, or that of an archived frame; None: there is none."""
        if past is None or not name.startswith(IMAGE):
            return self._state.sources.get(name)
        key = name, past.scan, past.frame
        made, found = self._past.get(key, (0.0, None))
        if found is None or (found.passing and time.monotonic() - made > AGAIN_S):
            found = await self._read(name, past)
            self._past[key] = time.monotonic(), found
            while len(self._past) > MOST_PAST:
                self._past.popitem(last=False)
        self._past.move_to_end(key)
        return found

    async def _read(self, name: str, past: Past) -> Source:
        scan, files = self._state.scan, self._state.files
        about = {"source": name, "frame": past.frame, "scan": past.scan, "past": True}
        path = next((each["path"] for each in files if each["type"] == "archive"), None)
        channel = name.removeprefix(IMAGE)
        rows, columns = scan.get("shape", (1, 1))
        nothing = partial(unavailable, about, (rows, columns))
        if past.scan != scan.get("number"):
            return nothing("another scan is shown now" if scan else "no scan is shown yet", passing=not scan)
        if path is None:
            return nothing("this run has no sink `archive`: it keeps no frames to go back to", passing=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._hurry, prepare)
        read = partial(archived, Path(path), scan["identity"], tuple(scan["channels"]), channel, past.frame)
        try:
            found = await asyncio.wait_for(loop.run_in_executor(self._reader, read), READING_S)
        except NotThere as problem:
            return nothing(str(problem), passing=not problem.final)
        except TimeoutError:
            return nothing(f"the archive could not be read within {READING_S:g} s", passing=True)
        about |= {"received": found.received, "status": found.status}
        limit = scan.get("detector", {}).get("saturation_value")
        return Source(found.payload, self._state.mask(channel, found.payload.shape), about, limit)

    async def draw(self, source: Source, view: View) -> bytes:
        """The message of a view."""
        return await self._painted(source, source.answer, view, self._largest)

    async def look(self, probe: Probe) -> Mapping[str, Any]:
        """Value of a pixel, and where it lies."""
        found: dict[str, Any] = {"kind": "probe", "source": probe.source, "row": probe.row, "column": probe.column}
        source = await self.source(probe.source, probe.past)
        if source is None:
            return {**found, "value": None}
        value, masked = await self._painted(source, source.value, probe.row, probe.column)
        if probe.source.startswith(IMAGE):
            where = self._places[self._state.scan.get("poni", "")]
            if self._located is None:
                self._located = self._surveyor.submit(where.load)
            found |= where.at(probe.row, probe.column)
        return {**found, "value": value, "masked": masked, "frame": source.about["frame"]}

    async def plane(self, asked: Plane) -> Mapping[str, Any]:
        """Where the detector lies whose geometry a product is measured with; None if that is not known, or not flat."""
        scan = self._state.scan
        poni = next((each["poni"] for each in scan.get("products", ()) if each["name"] == asked.product), "")
        where = self._places.setdefault(poni, Where(poni))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._surveyor, where.load)
        plane = where.plane((scan["shape"][0], scan["shape"][1])) if poni else None
        return {"kind": "plane", "product": asked.product, "scan": scan.get("uid"), "plane": plane}

    async def _painted(self, source: Source, deed: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._painter, partial(self._once, source, deed, *arguments))

    def _once(self, source: Source, deed: Callable[..., T], *arguments: Any) -> T:
        """The first image of a kind loads the kernels for it."""
        if source.kind in self._ready:
            return deed(*arguments)
        found = self._hurry.submit(deed, *arguments).result()
        self._ready.add(source.kind)
        return found
