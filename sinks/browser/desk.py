"""What the process of the page reads on its own while somebody looks: the ledger of a file, the table of jobs."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from sinks.browser import holes
from sinks.browser.past import prepare
from sinks.browser.state import State

LOOK_S = 1.0
HOLES_S, SETTLED_S = 2.0, 5.0
"""Between two looks at a ledger; it is looked at for so long after the counters changed, as a file is behind them."""
JOBS_S = 5.0
MOST_JOBS = 200
LONGEST_COMMAND = 500
LOST = ("missing", "duplicate", "late", "corrupt", "failed", "dropped")


class Desk:
    """Writes `holes` and `jobs` of the state."""

    def __init__(self, state: State, jobs: str | None, hurry: Executor) -> None:
        """jobs: the folder of jobs; None: there is no table. hurry: runs what is needed once."""
        self._state, self._folder, self._hurry = state, jobs, hurry
        self._reader = ThreadPoolExecutor(1)
        self._counted: Any = None
        self._until = self._holes_due = self._jobs_due = 0.0

    async def run(self, looked_at: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Until it is cancelled. looked_at: tells whether somebody is there. changed: called when something is new."""
        while True:
            await asyncio.sleep(LOOK_S)
            if looked_at() and any([await self._holes(), await self._jobs()]):
                changed()

    async def _holes(self) -> bool:
        state, now = self._state, time.monotonic()
        counts = {**state.counters, **(state.counters.get("counts") or {})}
        lost = [counts.get(name) or 0 for name in LOST]
        counted = (state.scan.get("number"), counts.get("status"), lost, list(state.files))
        if counted != self._counted:
            self._counted, self._until = counted, now + SETTLED_S
        if now > self._until or now < self._holes_due:
            return False
        self._holes_due = now + HOLES_S
        found, loop = None, asyncio.get_running_loop()
        if any(lost):
            await loop.run_in_executor(self._hurry, prepare)
        for each in state.files if any(lost) else ():
            read = partial(holes.read, Path(each["path"]), state.scan.get("identity", ""))
            found = await loop.run_in_executor(self._reader, read)
            if found is not None:
                break
        return state.set("holes", found)

    async def _jobs(self) -> bool:
        now = time.monotonic()
        if self._folder is None or now < self._jobs_due:
            return False
        self._jobs_due = now + JOBS_S
        found = await asyncio.get_running_loop().run_in_executor(self._reader, table, Path(self._folder))
        return self._state.set("jobs", found)


def table(folder: Path) -> Sequence[Sequence[str]]:
    """The rows of `inbeam jobs list`, the newest first, each with why it is so behind it."""
    from stream.jobs.folders import all_of
    from stream.jobs.table import row

    try:
        found = [(*row(number, job, status), status.why) for number, job, status in all_of(folder, MOST_JOBS)]
    except OSError as error:
        return [("?", "?", "", "", "unknown", "", "", f"{folder.name} cannot be read: {error.strerror}")]
    return [[cell[:LONGEST_COMMAND] for cell in cells] for cells in reversed(found)]
