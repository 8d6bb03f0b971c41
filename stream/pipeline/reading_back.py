"""A frame that an earlier process has stored, for a gatherer that must see it again."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stream.events import Frame, ScanStart
from stream.ledger import Stored
from stream.pipeline.chain import Chain
from stream.pipeline.revisions import OptionSet
from stream.products import Product


class ReadingBack:
    """Called in a gatherer's lane with the numbers wanted: the frames from our own files, in rising order.

    Results that no file has are computed again from the archived bytes; a frame of which neither is there is left out.
    """

    def __init__(
        self,
        stored: Stored,
        scan: ScanStart,
        products: Sequence[Product],
        options: OptionSet,
        spare: Callable[[], Chain],
    ) -> None:
        self._stored, self._scan, self._options, self._spare = stored, scan, options, spare
        self._wanted = {product.name for product in products if any(field.per == "frame" for field in product.fields)}

    def __call__(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """The frames that can be had."""
        chain: Chain | None = None
        for number in numbers:
            frame = self._stored.frame(number)
            if frame is None:
                continue
            if not self._wanted <= frame.results.keys() and frame.payloads:
                if chain is None:
                    chain = self._spare()
                    chain.start(self._scan, self._options)
                frame = chain.process(frame)
            yield frame


class Lacking:
    """Frame numbers that are stored, but that some gatherer needs once more from the source."""

    def __init__(self) -> None:
        self._wanted: NDArray[np.bool_] = np.zeros(0, bool)

    def add(self, wanted: NDArray[np.bool_]) -> None:
        """bool (n,): these too."""
        both = np.zeros(max(len(wanted), len(self._wanted)), bool)
        both[: len(wanted)] |= wanted
        both[: len(self._wanted)] |= self._wanted
        self._wanted = both

    def take(self, index: int) -> bool:
        """True, once, for a number that is wanted."""
        wanted = index < len(self._wanted) and bool(self._wanted[index])
        if wanted:
            self._wanted[index] = False
        return wanted
