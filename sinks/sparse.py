"""Sparse frames in pyFAI's layout, growing frame by frame: picked pixels, the background per radial bin, peaks.

`fabio.open`, `densify_Bragg` and silx read the file unchanged; while it grows, and after a kill, so does any HDF5
reader with swmr=True. The ledger, flushing and resuming are those of every file sink.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sinks.file.sink import FileOptions, FileSink
from sinks.sparse_frames.content import SparseContent, choose
from sinks.sparse_frames.merge import merge_late
from stream.context import ALONE, Context
from stream.errors import SinkFailed
from stream.events import FrameStatus, Item, ScanEnd, ScanStart
from stream.ledger import Stored
from stream.preflight import Known, Problem
from stream.products import Product
from stream.registry import BUILT_IN, Options
from stream.roles import Counters


class Config(FileOptions):
    """Options of `sparse`."""

    type: Literal["sparse"] = "sparse"
    product: str | None = Field(None, description="Name of the `sparsify` processor to keep; null: the only one")
    beamline: str = Field("beamline", description="Name of the instrument (NXinstrument group)")
    save_source: bool = Field(False, description="Link to the datasets of the source file (HDF5 sources)")
    frame_ptr_bits: Literal[32, 64] = Field(
        64, description="Width of frame_ptr; 32 as pyFAI writes it, which overflows at 4.29e9 picked pixels"
    )

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Sparse frames that no processor gives, a place where nothing may be written."""
        yield from super().preflight(known)
        given = known.product_names()
        if self.product is not None and given is not None and self.product not in given:
            have = ", ".join(sorted(given)) or "none"
            yield "product", f"no processor gives {self.product!r} (products: {have}): correct it or `processors`"
        elif known.products is not None:
            try:
                choose(known.products, self.product)
            except SinkFailed as error:
                yield "product", str(error)
        elif given is not None and not any(_makes_sparse(options) for options in known.config.processors):
            yield "", "no processor gives sparse frames: add {type: sparsify, poni: ...} to `processors`"


def _makes_sparse(options: Options) -> bool:
    """True for `sparsify`, and for whatever is not ours and may give the same."""
    kind = options.type  # type: ignore[attr-defined]
    return kind == "sparsify" or kind not in BUILT_IN["processors"]


def create(config: Config, context: Context = ALONE) -> "SparseSink":
    """The sink for a validated configuration."""
    return SparseSink(config, context)


class SparseSink:
    """A FileSink of sparse frames that, at the end, moves late frames into their places."""

    lane: Literal["block", "latest"] = "block"

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self._context = context
        self.file = FileSink(config, context, self._content)

    @property
    def path(self) -> Path | None:
        """The file of the current or latest scan."""
        return self.file.path

    @property
    def writing(self) -> bool:
        """True while a scan's file takes frames; a complete one is left alone."""
        return self.file.writing

    @property
    def counts(self) -> Mapping[FrameStatus, int]:
        """The reconciled ledger of the latest scan."""
        return self.file.counts

    def start(self, scan: ScanStart, products: Sequence[Product]) -> Stored:
        """Open the file or go on with it. A merge that a kill interrupted is done now. Raises SinkFailed."""
        stored = self.file.start(scan, products)
        if stored.complete and self.file.path is not None:
            merge_late(self.file.path)
        return stored

    def write(self, item: Item) -> None:
        """Take one frame. Raises SinkFailed."""
        self.file.write(item)

    def tick(self, counters: Counters) -> None:
        """Flush what is due. Raises SinkFailed."""
        self.file.tick(counters)

    def finish(self, end: ScanEnd) -> None:
        """Complete the file. With late frames in it, it is written anew beside and replaced: seconds per gigabyte."""
        writing = self.file.writing
        self.file.finish(end)
        if writing and self.file.path is not None:
            merge_late(self.file.path)

    def close(self) -> None:
        """Close whatever is open."""
        self.file.close()

    def _content(self, scan: ScanStart, products: Sequence[Product]) -> SparseContent:
        config = self.config
        content = SparseContent(
            scan,
            products,
            product=config.product,
            beamline=config.beamline,
            save_source=config.save_source,
            frame_ptr_bits=config.frame_ptr_bits,
            path_of=lambda: self.file.path,
        )
        content.configuration = self._context.document
        return content
