"""What grows in a sparse file. Flushed in this order: pixels, peaks, background and counts, frame_ptr; then the ledger.

A frame that never came has no pixels (frame_ptr stands still), NaN background and the largest `picked`; fabio makes
zeros of it (NaN for float frames), with the dummy where masked. A late frame's background is patched at once; its
pixels wait in the group `late`, safe on disk, until the end of the scan (see sparse_merge).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sinks.file.chunk_index import rows_present
from sinks.file.ledger_layout import GROUP, HAS_DATA, states_of
from sinks.file.swmr import SwmrFile
from sinks.sparse_frames import layout
from sinks.sparse_frames.growing import declare
from sinks.sparse_frames.merge import merge_late
from sinks.sparse_frames.origin import choose, source_datasets
from sinks.sparse_frames.peaks import PeakTable
from stream.events import Array, Frame, ScanEnd, ScanStart, Update
from stream.ledger import Saved
from stream.products import Product

MOST_MISSING_AT_THE_END = 10_000_000
"""frame_ptr needs a number for each: a detector that announced 10^9 frames and sent ten must not fill the disk."""


class SparseContent:
    """The Content of one scan's file."""

    settled = True

    def __init__(
        self,
        scan: ScanStart,
        products: Sequence[Product],
        *,
        product: str | None,
        beamline: str,
        save_source: bool,
        frame_ptr_bits: int,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        self._document = document
        """The document that the run was started with."""
        self._scan, self._product = scan, choose(products, product)
        self._beamline, self._save_source = beamline, save_source
        self._pointer = np.dtype(f"u{frame_ptr_bits // 8}")
        self._names = {field.name for field in self._product.fields}
        self._next = 0
        self._total = 0
        self._written = np.zeros(0, bool)
        self._tail = False
        """True until what a killed run wrote behind the ledger's last frame is cleared."""

    def identity(self) -> Any:
        """Another geometry or recipe makes another file."""
        told = None if self._product.sparse is None else [self._product.sparse.geometry, self._product.sparse.recipe]
        fields = [(field.name, field.shape, field.dtype.str) for field in self._product.fields]
        layout_of = [self._scan.shape, self._scan.dtype.str, fields, self._beamline, self._pointer.str]
        return ["sparse", layout_of, told, self._product.recipe]

    def settle(self, frame: Frame | None) -> None:
        """Nothing is unknown at the start."""

    def declare(self, file: SwmrFile) -> None:
        """Everything of the layout."""
        layout.declare_static(file.layout, self._scan, self._product, self._beamline, self._document)
        if self._save_source:
            layout.link_source(file.layout, self._scan.source, str(file.path), source_datasets(self._scan.source))
        declare(file, self._product, self._pointer)
        self._take(file, 0)

    def reopen(self, file: SwmrFile) -> None:
        """Take up the file behind its last frame that the ledger vouches for; what lies behind it comes again.

        Nothing is written yet: a kill before the file is SWMR again would leave it half-written.
        """
        group = file.layout[layout.FRAMES]
        pointer = group["frame_ptr"][:].astype(np.int64)
        held = np.flatnonzero(HAS_DATA[states_of(file.layout[f"{GROUP}/status"])])
        frames = min(int(held[-1]) + 1 if len(held) else 0, len(pointer) - 1)
        room = min(group["index"].shape[0], group["intensity"].shape[0])
        frames = min(frames, int(np.searchsorted(pointer[: frames + 1], room, side="right")) - 1)
        self._total = int(pointer[frames])
        self._tail = True
        self._take(file, frames)

    @property
    def length(self) -> int:
        """Frame numbers that have a row."""
        return max(self._average.length, self._picked.length, self._frame_ptr.length - 1)

    def present(self, indices: Array) -> Array:
        """A frame is there if its background is."""
        indices = np.asarray(indices)
        inside = indices < self._next
        found = np.zeros(len(indices), bool)
        found[inside] = self._written[indices[inside]]
        held: Array = found & rows_present(self._average.dataset, indices)
        return held

    def write(self, frame: Frame) -> str:
        """Append a frame, or patch a late one; a hole leaves its place empty."""
        found = frame.results.get(self._product.name)
        index = frame.index
        if not found or (index < self._next and self._written[index]):
            return ""
        self._clear_tail()
        pixels, counts = found["index"], found["intensity"]
        if index < self._next:
            self._late_index.append(pixels)
            self._late_intensity.append(counts)
            self._late_frame.put(self._late_frame_count, index)
            self._late_end.put(self._late_frame_count, self._late_index.length)
            self._late_frame_count += 1
        else:
            self._skip_to(index)
            self._index.append(pixels)
            self._intensity.append(counts)
            self._total += len(pixels)
            self._frame_ptr.put(index + 1, self._total)
            self._next = index + 1
        self._reserve(index + 1)
        self._written[index] = True
        self._average.put(index, found["background_avg"])
        self._deviation.put(index, found["background_std"])
        self._picked.put(index, found["picked"])
        self._hit.put(index, found["hit"])
        if self._peaks is not None:
            self._peaks.put(index, found)
        return ""

    def update(self, update: Update) -> None:
        """Products that belong to the scan are not kept here."""

    @property
    def saved(self) -> Mapping[str, Saved]:
        """None."""
        return {}

    def read(self, index: int) -> Mapping[str, Any] | None:
        """Sparse frames are not read back: their pixels are in the archive."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def flush(self) -> None:
        """Pixels first: whatever frame_ptr points at is there."""
        self._clear_tail()
        for flat in (self._index, self._intensity, self._late_index, self._late_intensity):
            flat.flush()
        self._late_end.flush()
        self._late_frame.flush()
        if self._peaks is not None:
            self._peaks.flush()
        for rows in (self._average, self._deviation, self._picked, self._hit):
            rows.extend(self._next)
            rows.flush()
        self._frame_ptr.flush()

    def finish(self, end: ScanEnd, expected: int) -> None:
        """Frames at the end that never came get their rows too; absurdly many of them are in the ledger alone."""
        reached = expected if expected <= self._next + MOST_MISSING_AT_THE_END else self._frame_ptr.length - 1
        if self._next < reached:
            self._skip_to(reached)
            self._next = reached
            self._reserve(reached)
        if self._peaks is not None:
            self._peaks.extend(expected)
        for rows in (self._average, self._deviation, self._picked, self._hit):
            rows.extend(expected)
        self.flush()
        self._end_time.set((end.ended or layout.now_text()).encode())

    def closed(self, path: Path) -> None:
        """Move late frames into their places: the file is written anew beside and replaced, seconds per gigabyte."""
        merge_late(path)

    def _take(self, file: SwmrFile, frames: int) -> None:
        """Hold every growing dataset, `frames` of them full."""
        root = layout.FRAMES
        self._average = file.reopened_rows(f"{root}/background_avg")
        self._deviation = file.reopened_rows(f"{root}/background_std")
        self._frame_ptr = file.reopened_rows(f"{root}/frame_ptr")
        self._index = file.reopened_flat(f"{root}/index", self._total)
        self._intensity = file.reopened_flat(f"{root}/intensity", self._total)
        self._late_frame = file.reopened_rows(f"{layout.LATE}/frame")
        self._late_end = file.reopened_rows(f"{layout.LATE}/end")
        self._late_frame_count = min(self._late_frame.length, self._late_end.length)
        held = int(self._late_end.dataset[self._late_frame_count - 1]) if self._late_frame_count else 0
        self._late_index = file.reopened_flat(f"{layout.LATE}/index", held)
        self._late_intensity = file.reopened_flat(f"{layout.LATE}/intensity", held)
        self._picked = file.reopened_rows(f"{layout.COUNTS}/picked")
        self._hit = file.reopened_rows(f"{layout.COUNTS}/hit")
        self._peaks = PeakTable(file.layout[layout.PEAKS]) if "peaks" in self._names else None
        self._end_time = file.reopened_cell(f"{layout.ENTRY}/end_time")
        self._next = frames
        self._written = self._picked.dataset[:frames] != np.iinfo(np.uint32).max

    def _clear_tail(self) -> None:
        """Behind the frames taken up, everything reads as if no frame had come; frame_ptr first, for the readers."""
        if not self._tail:
            return
        self._tail = False
        stale = np.flatnonzero(self._frame_ptr.dataset[self._next + 1 :] != self._total) + self._next + 1
        for index in stale.tolist():
            self._frame_ptr.put(index, self._total)
        self._frame_ptr.flush()
        for rows in (self._average, self._deviation, self._picked, self._hit):
            rows.clear(self._next)
        if self._peaks is not None:
            self._peaks.clear(self._next)

    def _skip_to(self, index: int) -> None:
        """Frames that have not come: no pixels."""
        if index > self._next:
            self._frame_ptr.put_block(self._next + 1, np.full(index - self._next, self._total, self._pointer))

    def _reserve(self, size: int) -> None:
        if size > len(self._written):
            grown = np.zeros(max(size, 2 * len(self._written)), bool)
            grown[: len(self._written)] = self._written
            self._written = grown
