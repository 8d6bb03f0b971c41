"""A processor for the tests of `map`: the pattern of a frame is the sums of the columns of a region of its pixels."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from processors import map as mapping
from stream import Axis, Field, Frame, Options, Product, ScanEnd, ScanStart, Work
from stream.testing import examples
from stream.testing.gathered import Gathered


class Config(Options):
    type: Literal["patterns"] = "patterns"
    name: str = "patterns"


class Patterns:
    def __init__(self, region: tuple[slice, slice] = (slice(None), slice(None)), *, errors: bool = False) -> None:
        self.region, self.errors = region, errors

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        columns = np.arange(scan.shape[1])[self.region[1]].astype(float)
        fields = [Field("I", columns.shape, np.dtype("f4"), "counts")]
        if self.errors:
            fields.append(Field("I_errors", columns.shape, np.dtype("f4"), "counts"))
        return (Product("patterns", tuple(fields), "I", (Axis("column", columns, "px", "column"),)),)

    def process(self, work: Work) -> None:
        pattern = work.image()[self.region].astype(np.float64).sum(axis=0).astype(np.float32)
        work.results["patterns"] = {"I": pattern, **({"I_errors": np.sqrt(pattern)} if self.errors else {})}

    def finish(self, end: ScanEnd) -> None:
        pass


def pattern(index: int) -> np.ndarray:
    """Of frame number `index` of the example scan."""
    found: np.ndarray = examples.image(index).astype(np.float64).sum(axis=0).astype(np.float32)
    return found


def gathered(frames: Sequence[Frame], *, expected: int | None = None, context: Any = None, **options: Any) -> Gathered:
    """The map of these frames, as they come, and what a file would hold of it."""
    config = mapping.Config(**options)
    gatherer = mapping.create(config) if context is None else mapping.create(config, context)
    found = Gathered(gatherer, [Patterns()], examples.scan(examples.UID, expected))
    for frame in frames:
        found.take(frame)
    found.finish(len(frames))
    return found
