"""Results of `sparsify` to feed the sparse sink with, and the sink: every value follows from the frame number."""

from typing import Any

import numpy as np
import sink_examples
from sink_examples import BINS, SHAPE

from sinks import sparse
from stream.events import FrameStatus
from stream.products import Field, Product, SparseFrames

PRODUCT = Product(
    "sparsify",
    (
        Field("background_avg", (BINS,), np.dtype("f4")),
        Field("background_std", (BINS,), np.dtype("f4")),
        Field("index", (None,), np.dtype("u4")),
        Field("intensity", (None,), np.dtype("u2")),
        Field("picked", (), np.dtype("u4")),
        Field("hit", (), np.dtype("u1")),
        Field("peaks", (), np.dtype("u4")),
        *(Field(f"peak_{name}", (None,), np.dtype("f4")) for name in ("pos0", "pos1", "intensity", "sigma")),
    ),
    signal="background_avg",
    constants={
        "radius": np.linspace(0, 1, BINS, dtype=np.float32),
        "mask": np.linspace(0, 1, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE),
    },
    sparse=SparseFrames({"dist": 0.1}, {"cutoff_pick": 3.0, "dummy": None}),
)


def pixels(index: int) -> np.ndarray:
    """Flat indices picked in a frame: another number in each, none in some."""
    return np.sort(np.random.default_rng(index).choice(SHAPE[0] * SHAPE[1], 37 * (index % 5), replace=False)).astype(
        "u4"
    )


def frame(index: int, status: FrameStatus = FrameStatus.RECEIVED, **changes: Any) -> Any:
    """A frame with the results of `sparsify`."""
    found, number = pixels(index), index % 4
    values = sink_examples.pattern(index)
    results = {
        "background_avg": values,
        "background_std": np.abs(values) + 1,
        "index": found,
        "intensity": (found % 1000 + index).astype("u2"),
        "picked": np.array(len(found), "u4"),
        "hit": np.array(index % 2, "u1"),
        "peaks": np.array(number, "u4"),
        **{f"peak_{name}": np.arange(number, dtype="f4") + 10 * index + 1 for name in ("pos0", "pos1", "intensity")},
        "peak_sigma": np.full(number, 2, "f4"),
    }
    return sink_examples.frame(index, status, results={"sparsify": results}, **changes)


def make(path: object, **options: Any) -> Any:
    """The sink."""
    return sparse.create(sparse.Config(path=str(path), **options))
