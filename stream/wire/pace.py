"""When to look for the next message: at once where they come one by one, after a nap where they come thick and fast.

To be woken for each of 3000 small images a second costs more than to take them in. Those of a large detector come at
longer intervals than `GATHER_S`, and are taken as they come.
"""

GATHER_S = 0.002
"""How long messages gather in ZMQ's queue, which holds many more."""


class Pace:
    """Told of every message, and of every time that none was there. Times in seconds of any clock."""

    def __init__(self) -> None:
        self.gathering = False
        """Do not wait for the next message: take it if it is there."""
        self._taken = 0
        self._before = -GATHER_S

    def came(self, now: float) -> None:
        """A message was taken."""
        self._taken += 1
        if not self.gathering and now - self._before < GATHER_S / 2:
            self.gathering, self._taken = True, 2
        self._before = now

    def nap(self) -> float:
        """How long to sleep, as no message is there, s. 0: not at all, wait for the next one."""
        self.gathering, self._taken = self._taken > 1, 0
        return GATHER_S if self.gathering else 0.0
