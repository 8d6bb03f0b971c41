"""The layout of what grows in a sparse file, in the places where pyFAI's readers look."""

import numpy as np

from sinks.file.swmr import SwmrFile
from sinks.sparse_frames import layout
from sinks.sparse_frames.peaks import PeakTable
from stream.products import Product


def declare(file: SwmrFile, product: Product, pointer_type: np.dtype[np.unsignedinteger]) -> None:
    """Every dataset, without any frame; frame_ptr has its first zero."""
    frames, counts = layout.FRAMES, layout.COUNTS
    bins = next(field.shape for field in product.fields if field.name == "background_avg")
    fixed = tuple(int(size or 0) for size in bins)
    spectrum = {"interpretation": "spectrum"}
    file.rows(
        f"{frames}/background_avg",
        fixed,
        "f4",
        attributes={**spectrum, "signal": 1, "long_name": "Average value of background"},
    )
    file.rows(
        f"{frames}/background_std",
        fixed,
        "f4",
        attributes={**spectrum, "long_name": "Standard deviation of background"},
    )
    file.layout[f"{frames}/errors"] = file.layout[f"{frames}/background_std"]
    pointer = file.rows(f"{frames}/frame_ptr", (), pointer_type, fill=0)
    pointer.put(0, 0)
    pointer.flush()
    dtype = layout.intensity_dtype(product)
    for group in (frames, layout.LATE):
        file.flat(f"{group}/index", "u4")
        file.flat(f"{group}/intensity", dtype)
    file.rows(f"{layout.LATE}/frame", (), "u8")
    file.rows(f"{layout.LATE}/end", (), "u8")
    file.layout.require_group(counts).attrs.update({"NX_class": "NXdata", "signal": "picked"})
    file.rows(f"{counts}/picked", (), "u4", attributes={"long_name": "Picked pixels"})
    file.rows(f"{counts}/hit", (), "u1", fill=0, attributes={"long_name": "1: the frame is a hit"})
    if "peaks" in {field.name for field in product.fields}:
        PeakTable.declare(file, layout.PEAKS)
    file.cell(f"{layout.ENTRY}/end_time", b"", f"S{layout.TEXT_BYTES}")
