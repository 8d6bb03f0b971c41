# mypy: disable-error-code="untyped-decorator,misc"
"""Which counts of a pixel belong to the bulk, see `clip_bulk`: from ranges of x = (raw - dark) / norm of each bin."""

import numpy as np

from stream.codec.bits import lowest_bit
from stream.codec.compiler import kernel


@kernel
def ranges(bins, spans, dark, norm, lower, upper, anew, limits, first, last, zeros):  # type: ignore[no-untyped-def]
    """The counts `first` ... `last` (uint8 or uint16, pixels) of every pixel whose x lies in lower ... upper (float32,
    bins) of its bin, as float32 decides it, and that lie within the `limits`; first > last where there is none.

    Only for the bins that are `anew` (bool). zeros: uint64, a bit for each pixel whose range has no 0. spans: uint16
    (2, pixels / 64), the first and last bin among 64 pixels: where none of them is anew they are not looked at. dark,
    norm: float32 (pixels,), or empty.
    """
    w, d = np.float32(1.0), np.float32(0.0)
    low, high = limits
    before, chosen = np.zeros(anew.size + 1, np.int64), np.zeros(anew.size + 1, np.uint8)
    for b in range(anew.size):
        before[b + 1] = before[b] + anew[b]
        chosen[b] = anew[b]
    for chunk in range(zeros.size):
        if spans[0, chunk] > spans[1, chunk] or before[spans[1, chunk] + 1] == before[spans[0, chunk]]:
            continue
        start = np.uint64(64 * chunk)
        left = np.uint64(0)
        if start + np.uint64(64) <= np.uint64(bins.size):
            for j in range(np.uint64(64)):
                left |= np.uint64(chosen[bins[start + j]]) << j
        else:
            for j in range(np.uint64(bins.size) - start):
                left |= np.uint64(chosen[bins[start + j]]) << j
        bits = zeros[chunk] & ~left
        while left:
            bit = lowest_bit(left)
            left &= left - np.uint64(1)
            i = start + bit
            if norm.size:
                w = norm[i]
            if dark.size:
                d = dark[i]
            first[i], last[i] = _range(lower[bins[i]], upper[bins[i]], w, d, low, high)
            bits |= np.uint64(first[i] > 0) << bit
        zeros[chunk] = bits


@kernel
def _range(bottom, top, w, d, low, high):  # type: ignore[no-untyped-def]
    """That of one pixel, of weight w and dark d; (1, 0) if it is empty."""
    if not bottom <= top:
        return 1, 0
    end = np.float64(top) * np.float64(w) + np.float64(d)
    most = high if end >= high else (np.int64(np.floor(end)) if end >= low else low - 1)
    while most < high and (np.float32(most + 1) - d) / w <= top:
        most += 1
    while most >= low and (np.float32(most) - d) / w > top:
        most -= 1
    begin = np.float64(bottom) * np.float64(w) + np.float64(d)
    least = low if begin <= low else (np.int64(np.ceil(begin)) if begin <= high else high + 1)
    while least > low and (np.float32(least - 1) - d) / w >= bottom:
        least -= 1
    while least <= most and (np.float32(least) - d) / w < bottom:
        least += 1
    return (least, most) if least <= most else (1, 0)
