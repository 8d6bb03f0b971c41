"""The brightest pixel of every frame."""

from typing import Literal

import numpy as np

from processors.correct import correction_for
from stream import Field, Options, Product


class Config(Options):
    type: Literal["brightest"] = "brightest"


class Brightest:
    def start(self, scan, work):
        self.correction = correction_for(work, scan)  # what `correct` knows of dead and saturated pixels
        return [Product("brightest", (Field("counts", (), np.dtype("f8")),), signal="counts")]

    def process(self, work):
        image = work.image()  # decoded once, shared with the other processors
        good = image[~self.correction.bad(image)]
        work.results["brightest"] = {"counts": np.float64(good.max())}

    def finish(self, end):
        pass


def create(config, context):
    return Brightest()
