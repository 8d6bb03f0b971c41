"""A product that belongs to the whole scan, in the file: arrays that are filled piece by piece, and what they cover.

`<product>/covered_frames` is uint8 (frames,): 1 = the share of that frame is in the product; 2 = it cannot be: a kill
took the pixels of a frame of which the file has other results. It is written after the pieces, so that a kill in
between leaves a frame out rather than claimed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sinks.file.columns import Rows
from sinks.file.storage import BITSHUFFLE, fill_of
from sinks.file.swmr import SwmrFile
from stream.errors import SinkFailed
from stream.events import Array, Update
from stream.ledger import Saved
from stream.products import Field, Product

COVERED, IN, LOST = "covered_frames", 1, 2
MOST_CHUNK_BYTES = 1 << 20


class ScanProduct:
    """The fields `per="scan"` of one product. Used by the thread of its sink; `saved` may be read by another."""

    def __init__(self, file: SwmrFile, product: Product, group: str, *, reopened: bool = False) -> None:
        self._fields = {field.name: field for field in scan_fields(product)}
        self._group = group
        if not reopened:
            for field in self._fields.values():
                _declare(file, field, f"{group}/{field.name}")
            file.rows(f"{group}/{COVERED}", (), "u1", fill=0, attributes={"product": product.name})
        self._datasets = {name: file.layout[f"{group}/{name}"] for name in self._fields}
        self._rows = Rows(file.layout[f"{group}/{COVERED}"])
        self._covered = np.array(self._rows.dataset[()], np.uint8)
        self._changed: tuple[int, int] | None = None

    def update(self, update: Update) -> None:
        """Write the pieces; what they cover is told by the next `flush`. Raises SinkFailed for a piece that does not
        fit what was declared."""
        if update.afresh:
            self._covered[:] = 0
            self._changed = (0, len(self._covered))
            self.flush()
        for name, piece in update.pieces.items():
            dataset = self._datasets[name]
            where = place_of(piece.start, piece.values, dataset, f"{self._group}/{name}")
            length = piece.start[0] + piece.values.shape[0] if piece.start else 0
            if piece.start and length > dataset.shape[0]:
                dataset.resize(length, axis=0)
            dataset[where] = piece.values
        for numbers, mark in ((update.covers, IN), (update.lost, LOST)):
            if len(numbers):
                self._mark(np.asarray(numbers, np.intp), mark)

    def flush(self) -> None:
        """First the pieces, then what they cover."""
        for dataset in self._datasets.values():
            dataset.id.flush()
        if self._changed is not None:
            first, last = self._changed
            if last > first:
                self._rows.put_block(first, self._covered[first:last])
            self._rows.flush()
            self._changed = None

    def finish(self, expected: int) -> None:
        """One row of what is covered for every frame number."""
        self._rows.extend(expected)
        self.flush()

    @property
    def saved(self) -> Saved:
        """What a killed process left, for the gatherer that goes on."""
        reads = {name: (lambda dataset=dataset: dataset[()]) for name, dataset in self._datasets.items()}
        return Saved(np.flatnonzero(self._covered == IN), reads)

    def _mark(self, numbers: Array, mark: int) -> None:
        first, last = int(numbers.min()), int(numbers.max()) + 1
        if last > len(self._covered):
            self._covered = np.concatenate([self._covered, np.zeros(max(last, 1024), np.uint8)])
        self._covered[numbers] = mark
        before = self._changed or (first, last)
        self._changed = (min(first, before[0]), max(last, before[1]))


def scan_fields(product: Product) -> tuple[Field, ...]:
    """The fields that belong to no single frame."""
    return tuple(field for field in product.fields if field.per == "scan")


def _declare(file: SwmrFile, field: Field, path: str) -> None:
    shape = tuple(size or 0 for size in field.shape)
    options: dict[str, Any] = {"fillvalue": fill_of(field.dtype)}
    if shape:
        chunk = field.chunk or _whole_rows(shape, field.dtype)
        options |= {"chunks": chunk, "maxshape": (None, *shape[1:])}
        options |= BITSHUFFLE if field.compressed else {}
    else:
        options |= {"data": fill_of(field.dtype)}
        del options["fillvalue"]
    dataset = file.layout.create_dataset(path, shape=shape, dtype=field.dtype, **options)
    words = {"units": field.unit, "long_name": field.long_name or field.name}
    words["interpretation"] = field.interpretation or {0: "scalar", 1: "spectrum"}.get(len(shape), "image")
    dataset.attrs["per"] = "scan"
    if field.partial:
        dataset.attrs["partial"] = True
    dataset.attrs.update({name: text for name, text in words.items() if text})


def _whole_rows(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """As many whole rows of the first dimension as make a megabyte, or a part of one that does."""
    inner = [max(1, size) for size in shape[1:]]
    size = dtype.itemsize * int(np.prod(inner, dtype=np.int64))
    for axis, length in enumerate(inner):
        if size <= MOST_CHUNK_BYTES:
            break
        parts = min(length, -(-size // MOST_CHUNK_BYTES))
        inner[axis] = -(-length // parts)
        size = dtype.itemsize * int(np.prod(inner, dtype=np.int64))
    return (max(1, min(shape[0] or 1024, MOST_CHUNK_BYTES // max(size, 1))), *inner)


def place_of(start: tuple[int, ...], values: Array, dataset: Any, name: str) -> tuple[slice, ...] | tuple[()]:
    """Where a piece goes. Raises SinkFailed where it does not fit what was declared."""
    fits = len(start) == values.ndim == dataset.ndim
    ends = [first + size for first, size in zip(start, values.shape, strict=False)]
    beyond = fits and any(end > size for end, size in zip(ends[1:], dataset.shape[1:], strict=True))
    if not fits or beyond or min(start, default=0) < 0:
        raise SinkFailed(
            f"a piece of {name} at {start} with the shape {values.shape} does not fit {dataset.shape}: "
            "the gatherer gave what it had not declared"
        )
    return tuple(slice(first, end) for first, end in zip(start, ends, strict=True))
