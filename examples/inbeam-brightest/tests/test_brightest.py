"""`pip install -e . pytest`, then `pytest`."""

import brightest
import numpy as np

from stream import ALONE, Work
from stream.testing import ProcessorConformance, examples


class TestBrightest(ProcessorConformance):
    def make(self):
        return brightest.create(brightest.Config(), ALONE)

    def test_dead_pixels_do_not_count(self) -> None:
        processor, work = self.make(), Work()
        processor.start(self.scan("one"), work)
        pixels = examples.image(0)
        pixels[3, 3] = 40_000  # the header's mask has the diagonal
        pixels[3, 4] = 1234
        work.take(examples.frame(0, payloads={examples.CHANNEL: examples.payload(pixels)}))
        processor.process(work)
        assert work.results["brightest"]["counts"] == np.float64(1234)
