"""How long to wait for the next frame of a scan while another scan waits, from the times at which frames have come."""

PATIENCE = 8
"""Times the longest pause so far."""
UNKNOWN_S = 20.0
"""Where there has been no pause to learn from: two detectors may be written by turns, one frame of each at a time."""


class Rhythm:
    """The pauses between what comes. Times are of any clock that only goes forward, s."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._longest: float | None = None

    def beat(self, now: float) -> None:
        """Something has come."""
        if now > self._last:
            self._longest = max(self._longest or 0.0, now - self._last)
            self._last = now

    def quiet_s(self, now: float) -> float:
        """Time since something has come."""
        return now - self._last

    def patience_s(self, least_s: float) -> float:
        """How long it must be quiet before nothing more is expected; at least `least_s`."""
        return UNKNOWN_S if self._longest is None else max(least_s, PATIENCE * self._longest)
