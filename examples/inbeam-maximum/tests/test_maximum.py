"""`pip install -e . pytest`, then `pytest`."""

import maximum
import numpy as np

from stream import ALONE
from stream.testing import GathererConformance, examples


class TestMaximum(GathererConformance):
    def make(self):
        return maximum.create(maximum.Config(), ALONE)

    def test_every_pixel_has_its_largest_count_but_dead_ones(self) -> None:
        found = self._gathered(range(4)).fields("maximum")["counts"]
        wanted = np.max([examples.image(index) for index in range(4)], axis=0).astype(float)
        np.fill_diagonal(wanted, np.nan)  # the header's mask
        np.testing.assert_array_equal(found, wanted)
