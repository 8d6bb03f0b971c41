"""How long to wait for more of a scan while another scan waits, from the times at which files or frames have come.

Two detectors may be written by turns, one frame of each at a time: a scan is not over because another has begun.
"""

PATIENCE = 8
"""Times the longest pause so far."""


class Rhythm:
    """The pauses between what comes. Times are of any clock that only goes forward, s.

    unknown_s: the patience where there has been no pause to learn from.
    """

    def __init__(self, now: float, unknown_s: float) -> None:
        self._unknown_s = unknown_s
        self._last = now
        self._longest: float | None = None

    def beat(self, now: float) -> None:
        """Something has come."""
        if now > self._last:
            self._longest = max(self._longest or 0.0, now - self._last)
            self._last = now

    def burst(self) -> None:
        """Several things have come at once: what comes so leaves no pauses."""
        self._longest = self._longest or 0.0

    def quiet_s(self, now: float) -> float:
        """Time since something has come."""
        return now - self._last

    def patience_s(self, least_s: float) -> float:
        """How long it must be quiet before nothing more is expected; at least `least_s`."""
        return self._unknown_s if self._longest is None else max(least_s, PATIENCE * self._longest)
