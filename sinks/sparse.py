"""Sparse frames in pyFAI's layout, growing frame by frame: picked pixels, the background per radial bin, peaks.

`fabio.open`, `densify_Bragg` and silx read the file unchanged; while it grows, and after a kill, so does any HDF5
reader with swmr=True. The ledger, flushing and resuming are those of every file sink.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from sinks.file.sink import FileOptions, FileSink
from sinks.sparse_frames.content import SparseContent
from sinks.sparse_frames.origin import choose
from stream.context import ALONE, Context
from stream.errors import SinkFailed
from stream.preflight import Known, Problem
from stream.registry import BUILT_IN, Options


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


def create(config: Config, context: Context = ALONE) -> FileSink:
    """The sink for a validated configuration."""
    return FileSink(
        config,
        context,
        lambda scan, products: SparseContent(
            scan,
            products,
            product=config.product,
            beamline=config.beamline,
            save_source=config.save_source,
            frame_ptr_bits=config.frame_ptr_bits,
            document=context.document,
        ),
    )
