# mypy: disable-error-code="untyped-decorator,misc"
"""Which pixels of a frame of bytes are above their bin's bound: eight are compared at once, as one word.

For a word the lowest bound of its bins counts, and one in a hundred passes it; only there a pixel is looked at.
"""

import numpy as np

from processors.bragg.polar import Polar
from processors.bragg.selection import Seen
from stream.codec.bits import lowest_bit
from stream.codec.compiler import kernel
from stream.codec.low_bytes import MARK
from stream.events import Array

WIDEST = 16
"""Words over more bins than this take the lowest bound of all bins."""
CERTAIN = 127
"""A byte above it passes whatever the bound is: then its pixel is looked at."""


class Screen:
    """What does not change from frame to frame."""

    def __init__(self, polar: Polar) -> None:
        bins = polar.bins
        padded = np.full(-(-polar.bin_of.size // 64) * 64, bins, np.uint16)  # as many words as `LowBytes` has
        padded[: polar.bin_of.size] = polar.bin_of
        each = padded.reshape(-1, 8)
        first = each.min(axis=1)
        last = np.where(each < bins, each, 0).max(axis=1)
        span = np.where(first < bins, last.astype(np.int32) - first, 0)
        self._window = min(int(np.percentile(span, 99)), WIDEST) + 1
        first[span >= self._window] = bins + 1
        self._bins, self._bin_of, self._first = bins, polar.bin_of, first
        self._hits = np.empty(first.size + 1, np.int32)

    def candidates(self, words: Array, seen: Seen, bound: Array, found: Array) -> int:
        """As `picking.candidates`, of the pixels with a bin. words: the bytes of `seen.image`, uint64 (pixels / 8,)."""
        bins = self._bins
        threshold = np.full(bins + 1, MARK + 1, np.int16)
        threshold[:bins] = np.clip(np.floor(bound[:bins]) + 1, 0, MARK)
        least = np.full(bins + 2, CERTAIN, np.int16)
        least[:bins] = threshold[:bins]
        for step in range(1, self._window):
            np.minimum(least[: bins - step], threshold[step:bins], out=least[: bins - step])
        least[bins + 1] = threshold[:bins].min()
        addend = (128 - np.minimum(least, CERTAIN)).astype(np.uint64) * np.uint64(0x0101010101010101)
        return int(screen(words, self._first, addend, seen, self._bin_of, threshold, bound, self._hits, found))


@kernel
def screen(words, first, addend, seen, bin_of, threshold, bound, hits, found):  # type: ignore[no-untyped-def]
    """addend: uint64, by `first` of a word: what carries a byte at its bound to 128. hits: int32, scratch."""
    top, below = np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F)
    image, places, counts = seen
    many = 0
    for c in range(words.size):
        hits[many] = c
        many += ((((words[c] & below) + addend[first[c]]) | words[c]) & top) != 0
    number = 0
    for k in range(many):
        place = np.uint64(hits[k])
        left = (((words[place] & below) + addend[first[place]]) | words[place]) & top
        while left:
            found[number] = np.uint64(8) * place + (lowest_bit(left) >> np.uint64(3))
            left &= left - np.uint64(1)
            number += 1
    while number and found[number - 1] >= image.size:
        number -= 1
    above = 0
    for k in range(number):  # apart from the loop above: pixels that are not in the cache are waited for together
        i = np.uint32(found[k])
        found[above] = i
        above += image[i] >= threshold[bin_of[i]]
    listed = wrong = 0
    for k in range(above if places.size else 0):
        i = found[k]
        found[k - wrong] = i
        if image[i] == MARK:
            while places[listed] < i:
                listed += 1
            wrong += not np.float32(counts[listed]) > bound[bin_of[i]]
    return above - wrong
