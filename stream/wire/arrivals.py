"""Which images of one series have come, and what their times say of those that have not.

A detector that is told to stop (disarm, cancel, abort) sends the end message of a whole series, and no count: see
https://github.com/dectris/documentation, stream_v2; SIMPLON API 1.8, 5.4.3. Images that were never taken are told from
images that were lost by the detector's own clock: what was taken behind the last image took its frame time.
"""

import math

from stream.errors import BadMessage
from stream.wire.limits import NUMBER_AHEAD, NUMBER_MAX

IN_A_ROW = 3
SKIPPING_IN_A_ROW = 16
SLACK_S = 0.1
"""How much sooner than the images themselves an end message may have come through detector and network."""


class Arrivals:
    """The numbers of one series, from its start message on."""

    def __init__(self, began: float | None) -> None:
        """began: Unix time at which its start message came, s; None: it has been going on for a while."""
        self.count = 0
        """Different numbers."""
        self.highest = -1
        self.doubtful = False
        """The connection was lost meanwhile: nothing can be said of what has not come."""
        self.anywhere = False
        """The scan is gone on with, and no image of it has come since: it may have come any way meanwhile."""
        self.step = 1
        """Every how manieth image has come lately, again and again: 2 if every other one is missing."""
        self._last, self._stepped = -1, 0
        self._step = 1
        self._ahead: tuple[int, int] | None = None
        self._began = began
        self._seen = bytearray()
        self._latest = math.nan
        self._lag = math.inf
        """Shortest time from the start of an exposure to its arrival, plus what the two clocks are apart, s."""

    def add(self, index: int, received: float, time: float = math.nan) -> None:
        """Image `index` has come at the Unix time `received`; exposed from `time` on by the detector's clock; s."""
        self.anywhere = False
        step, self._last = index - self._last, index
        self._stepped = self._stepped + 1 if step == self._step else 0
        self._step = step
        if self._stepped == SKIPPING_IN_A_ROW:
            self.step = step
        if index >= len(self._seen):
            self._seen.extend(bytes(max(index + 1, 2 * len(self._seen), 1024) - len(self._seen)))
        if not self._seen[index]:
            self._seen[index] = 1
            self.count += 1
        self._lag = min(self._lag, received - time) if time == time else self._lag
        if index > self.highest:
            self.highest, self._latest = index, time

    def has(self, index: int) -> bool:
        """True if this number has come."""
        return index < len(self._seen) and bool(self._seen[index])

    def check(self, index: int, expected: int | None) -> None:
        """Raises BadMessage if the number is out of all proportion to those that have come, and to those announced.

        The third such number in a row means that many images were lost, rather than one forged.
        """
        bound = min(NUMBER_MAX, max(expected or 0, self.highest + 1) + NUMBER_AHEAD)
        if index < bound:
            self._ahead = None
        elif index >= NUMBER_MAX or not (self.anywhere or self._leapt(index)):
            raise BadMessage(f"an image number beyond {bound}, out of all proportion to this scan: left out")

    def _leapt(self, index: int) -> bool:
        near = self._ahead is not None and 0 < abs(index - self._ahead[0]) <= NUMBER_AHEAD
        count = self._ahead[1] + 1 if self._ahead is not None and near else 1
        self._ahead = (index, count)
        return count >= IN_A_ROW

    def whole(self, expected: int | None) -> bool:
        """True if all of that many have come."""
        return expected is not None and self.count >= expected

    def cut_short(self, expected: int | None, frame_time_s: float | None, ended: float) -> bool:
        """True if not all images behind the highest can have been taken when the end message came, at `ended`.

        They would have taken a frame time each. False where that is not known: they may have been taken, and be lost.
        """
        left = 0 if expected is None else expected - self.highest - 1
        if left <= 0 or self.doubtful or frame_time_s is None:
            return False
        if self.highest >= 0:
            since = ended - self._lag - self._latest
        elif self._began is not None:
            since = ended - self._began
        else:
            return False
        return left * frame_time_s > since + SLACK_S  # False if no image has told its time


def check_first(index: int, expected: int | None) -> None:
    """Raises BadMessage if that cannot be the number of the first image of a scan."""
    bound = NUMBER_MAX if expected is None else min(NUMBER_MAX, expected + NUMBER_AHEAD)
    if index >= bound:
        raise BadMessage(f"an image number beyond {bound}, out of all proportion to this scan: left out")
