"""A small image of a large frame: blocks of pixels pooled into one, flagged pixels left out."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array, ScanStart
from stream.products import Product

MEAN, MAXIMUM = 0, 1


def _pool(image: Any, bad: Any, step: int, flagged: Any, signed: bool, mode: int, out: Any) -> None:
    """Row by row into a line as wide as the image, which the compiler turns into vector code, then along the line."""
    rows, columns = image.shape
    masked = bad.size > 0
    line = np.empty(columns, np.float64)
    counts = np.empty(columns, np.int32)
    empty = 0.0 if mode == MEAN else -np.inf
    for r in range(out.shape[0]):
        line[:] = empty
        counts[:] = 0
        for i in range(r * step, min(rows, (r + 1) * step)):
            if masked:
                for j in range(columns):
                    value = image[i, j]
                    good = (not bad[i, j]) & (value != flagged) & (value == value) & ((not signed) | (value >= 0))
                    number = float(value) if good else empty
                    line[j] = line[j] + number if mode == MEAN else max(line[j], number)
                    counts[j] += good
            else:
                for j in range(columns):
                    value = image[i, j]
                    good = (value != flagged) & (value == value) & ((not signed) | (value >= 0))
                    number = float(value) if good else empty
                    line[j] = line[j] + number if mode == MEAN else max(line[j], number)
                    counts[j] += good
        for c in range(out.shape[1]):
            total, count = empty, 0
            for j in range(c * step, min(columns, (c + 1) * step)):
                total = total + line[j] if mode == MEAN else max(total, line[j])
                count += counts[j]
            if count == 0:
                out[r, c] = np.nan
            else:
                out[r, c] = total / count if mode == MEAN else total


_compiled = kernel(_pool)


def preview(image: Array, size: int, kind: Literal["mean", "max"], bad: Array | None = None) -> tuple[Array, int]:
    """`image` (rows, columns) with blocks of n x n pixels pooled, so that no side is longer than `size`; and n.

    float32; NaN where a block has nothing but flagged pixels: the largest value of an unsigned type, negative values of
    a signed one, NaN, and those that are `bad`, bool (rows, columns). One pass, 3 ms for 4 million pixels, no GIL.
    """
    rows, columns = image.shape
    step = max(1, -(-max(rows, columns) // size))
    out = np.empty((-(-rows // step), -(-columns // step)), np.float32)
    integer = image.dtype.kind in "iu"
    flagged = image.dtype.type(np.iinfo(image.dtype).max if integer else np.inf)
    masked = np.zeros((0, 0), bool) if bad is None else bad
    _compiled(image, masked, step, flagged, image.dtype.kind == "i", MEAN if kind == "mean" else MAXIMUM, out)
    return out, step


def bad_pixels(scan: ScanStart, products: Sequence[Product], channel: str) -> Array | None:
    """bool (rows, columns): the mask that the frames are processed with, else the header's; None: there is none."""
    masks = [product.bad_pixels[channel] for product in products if channel in product.bad_pixels]
    if not masks and channel in scan.detector.pixel_mask:
        masks = [scan.detector.pixel_mask[channel] != 0]
    masks = [mask for mask in masks if mask.shape == scan.shape]
    return np.logical_or.reduce(masks) if masks else None
