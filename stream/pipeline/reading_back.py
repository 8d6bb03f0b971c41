"""A frame that an earlier process has stored, for a gatherer that must see it again."""

from collections.abc import Callable, Iterator, Sequence

from stream.events import Frame, ScanStart
from stream.ledger import Stored
from stream.pipeline.chain import Chain
from stream.pipeline.revisions import Revisions
from stream.products import Product


class ReadingBack:
    """Called in a gatherer's lane with the numbers wanted: the frames from our own files, in rising order.

    Results that no file has are computed again from the archived bytes, with the options that the frame had; a frame of
    which neither is there is left out.
    """

    def __init__(
        self,
        stored: Stored,
        scan: ScanStart,
        products: Sequence[Product],
        revisions: Revisions,
        spare: Callable[[], Chain],
    ) -> None:
        self._stored, self._scan, self._revisions, self._spare = stored, scan, revisions, spare
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
                    chain.start(self._scan, self._revisions.at(0).options)
                    chain.use(self._revisions)
                frame = chain.process(frame)
            yield frame
