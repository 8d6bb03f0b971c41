"""How often the page may be renewed where the cores are wanted by others: it keeps to a small share of the machine.

The lowest priority alone does not see to that. The kernel gives a process of niceness 19 a seventieth of a core that it
shares with one other, but whatever is free for a moment besides, which on a few busy cores was up to a tenth of one.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

LONGEST_S = 5.0
"""Between two updates, whatever one of them took."""
TASKS = Path("/proc/self/task")

Usage: TypeAlias = tuple[float, float]


def usage() -> Usage:
    """(CPU seconds of this process, seconds that its threads waited for a core) so far; on Linux, else no waiting."""
    waited = 0
    try:
        for task in TASKS.iterdir():
            waited += int((task / "schedstat").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        pass  # a thread that has just ended, or no Linux
    return time.process_time(), waited / 1e9


class Pace:
    """Asked before each update is asked for."""

    def __init__(
        self,
        share: float,
        used: Callable[[], Usage] = usage,
        clock: Callable[[], float] = time.monotonic,
        cores: int = os.cpu_count() or 1,
    ) -> None:
        """share: of all cores, while they are busy."""
        self._used, self._clock = used, clock
        self._share = share * cores
        self._since, self._before = clock(), used()

    def pause(self) -> float:
        """Seconds until the next update may be asked for; 0: now. A machine is busy where we wait more than we run."""
        (ran, waited), (had_run, had_waited) = self._used(), self._before
        ran, waited = ran - had_run, waited - had_waited
        if waited <= ran:
            return 0.0
        return max(0.0, min(ran / self._share, LONGEST_S) - (self._clock() - self._since))

    def begin(self) -> None:
        """An update is asked for."""
        self._since, self._before = self._clock(), self._used()
