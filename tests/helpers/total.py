"""A gatherer for the tests: the sum of all frames, and the mean of each by its number.

Integers, so that any order of frames gives the same bits. `gate` and `bad` make it slow, or fail on a frame.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field as Option

from stream import ALONE, CHANGES, Context, Field, Options, Piece, Product, ScanEnd, ScanStart, Update, Work

DISTRIBUTION = {
    "METADATA": "Metadata-Version: 2.1\nName: inbeam-total\nVersion: 1\n",
    "entry_points.txt": "[inbeam.processors]\ntotal = total\n",
}


def install(folder: Path) -> None:
    """Make this module known as a plug-in to whoever has `folder` (and tests/helpers) on the Python path."""
    info = folder / "inbeam_total-1.dist-info"
    info.mkdir(parents=True)
    for name, text in DISTRIBUTION.items():
        (info / name).write_text(text)


def environment(plugin: Path) -> dict[str, str]:
    """Of a process that finds this checkout, these helpers, and the plug-in installed in a folder."""
    helpers = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (helpers.parents[1], plugin, helpers)))}


class Config(Options):
    type: Literal["total"] = "total"
    name: str = "total"
    weight: int = Option(1, json_schema_extra=CHANGES)
    bad: int | None = None


class Total:
    """Holds the sum; the means go out with each frame, the sum ten times a second and at the end."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.gate: threading.Event | None = None
        self.masked = -1
        self.seen: list[tuple[int, bool]] = []

    def start(self, scan: ScanStart, work: Work) -> Sequence[Product]:
        from processors.correct import correction_for

        self.masked = int(correction_for(work, scan).mask.sum())
        self._scan, self._sum, self._new = scan.uid, np.zeros(scan.shape, np.int64), list[int]()
        fields = (
            Field("sum", scan.shape, np.dtype("i8"), "counts", per="scan"),
            Field("mean", (None,), np.dtype("f8"), "counts", per="scan"),
            Field("weight", (None,), np.dtype("i4"), per="scan"),
        )
        return (Product(self.config.name, fields, signal="sum"),)

    def take(self, work: Work) -> Iterable[Update]:
        frame = work.frame
        if self.gate is not None:
            assert self.gate.wait(30)
        self.seen.append((frame.index, bool(frame.payloads)))
        if not frame.payloads:
            return ()
        if frame.index == self.config.bad:
            raise ZeroDivisionError("beam lost")
        weight = work.options(self.config).weight
        image = work.image()
        self._sum += weight * image.astype(np.int64)
        self._new.append(frame.index)
        pieces: dict[str, Any] = {
            "mean": Piece((frame.index,), np.array([image.mean()])),
            "weight": Piece((frame.index,), np.array([weight], np.int32)),
        }
        return (Update(self._scan, self.config.name, pieces),)

    def tick(self) -> Iterable[Update]:
        if not self._new:
            return ()
        new, self._new = self._new, []
        return (Update(self._scan, self.config.name, {"sum": Piece((0, 0), self._sum.copy())}, covers=new),)

    def finish(self, end: ScanEnd) -> Iterable[Update]:
        return self.tick()


def create(config: Config, context: Context = ALONE) -> Total:
    return Total(config)
