"""The largest count that each pixel has had in the scan: where a Bragg peak has been."""

from typing import Literal

import numpy as np

from processors.correct import correction_for
from stream import Field, Options, Piece, Product, Update


class Config(Options):
    type: Literal["maximum"] = "maximum"


class Maximum:
    """One for the whole scan, in a thread of its own. What it gives does not depend on the order of the frames."""

    def start(self, scan, work):
        self.scan = scan.uid
        self.correction = correction_for(work, scan)  # what `correct` knows of dead and saturated pixels
        self.largest = np.full(scan.shape, np.nan)
        self.new = []
        return [Product("maximum", (Field("counts", scan.shape, np.dtype("f8"), per="scan"),), signal="counts")]

    def take(self, work):
        if work.frame.payloads:  # a hole has none
            image = work.image()
            np.fmax(self.largest, np.where(self.correction.bad(image), np.nan, image), out=self.largest)
            self.new.append(work.frame.index)
        return ()

    def tick(self):
        """About ten times a second: the projection so far, and which frames it has that the last one had not."""
        if not self.new:
            return ()
        covered, self.new = self.new, []
        return [Update(self.scan, "maximum", {"counts": Piece((0, 0), self.largest.copy())}, covers=covered)]

    def finish(self, end):
        return self.tick()

    def resume(self, saved):
        """After a kill the projection in the file is gone on with, and only the other frames are looked at again."""
        found = saved["maximum"]
        if len(found.covered):
            self.largest = found.fields["counts"]()
        return found.covered.tolist()


def create(config, context):
    return Maximum()
