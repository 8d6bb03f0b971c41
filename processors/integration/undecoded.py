"""Frames integrated block by block while they are decompressed: most pixels are never made.

Those blocks that allow it are added as they come out of the decompressor (see `plain`), any other is decoded and
tallied as `scatter` does it. The sums are whole numbers: they are the same, whatever a block is taken for.
"""

from typing import Any

import numpy as np

from processors.integration.plain import CHUNK, SHIFT, Scratch, tally_plain
from processors.integration.scatter import tally, tally_apart
from processors.integration.squares import Squares, squares_apart, tally_squares
from processors.integration.weighted import weigh_plain
from stream.codec import blocks, payload
from stream.codec.blocks import next_block, untranspose_block
from stream.codec.compiler import kernel
from stream.errors import CorruptPayload
from stream.events import Array, Payload

LONGEST = 15
"""Blocks that are decoded without a look, where those before them were not plain."""


def fits(low: int, high: int, itemsize: int, pixels: int) -> bool:
    """True if every count that a plain block may have is valid, and the largest bin has room for its sum.

    low, high: the smallest and largest valid count. pixels: of the largest bin.
    """
    return low == 0 and high >= (254 if itemsize == 1 else 255) and pixels * 255 < 1 << SHIFT


class BlockSums:
    """Scratch and sums of one worker and scan, for frames of one shape and type."""

    def __init__(
        self,
        bins: Array,
        n_bins: int,
        itemsize: int,
        copies: int,
        counted: tuple[Any, ...] | None,
        squares: Squares | None,
    ) -> None:
        """bins: as in `scatter`. copies: how often the accumulators are there (1 to `scatter.COPIES`). For the pixels
        of blocks that are not plain one of: counted, what follows `raw, first` in a call of `tally`; squares."""
        self.sums = np.zeros((copies, n_bins + 1), np.uint64)
        """Sums over plain blocks, packed as `tally` packs them, with SHIFT; of `squares` its own are used."""
        nowhere = np.packbits(bins == n_bins, bitorder="little")
        self._nowhere = np.zeros(-(-nowhere.size // 8), np.uint64)
        self._nowhere.view(np.uint8)[: nowhere.size] = nowhere
        self._bins, self._itemsize, self._counted, self._squares = bins, itemsize, counted, squares
        self._addends = np.zeros((2, CHUNK), np.uint64)
        self._resize(payload.default_block_bytes(itemsize))
        nothing = np.zeros(0, np.uint8)
        nothing.flags.writeable = False  # as all payloads: else it would be compiled twice
        self._add(nothing, bins[:0])

    def add(self, frame: Payload) -> None:
        """Add all pixels of a bitshuffled frame. Raises CorruptPayload, as `decode` would."""
        source, block_bytes = payload.shuffled_blocks(frame)
        if block_bytes != self._block_bytes:
            self._resize(block_bytes)
        code = self._add(source, self._bins)
        if code != blocks.OK:
            raise CorruptPayload(payload.complain(frame, code))

    def _add(self, source: Array, bins: Array) -> int:
        places = (self._outside, self._into, self._four)
        if not bins.size:
            places = (self._outside[:0], self._into[:0], self._four)
        plain = (*places, self.sums)
        weighed = None
        if self._squares is not None:
            weighed = (*places, self._factors, self._squares.shift, self._addends, self._squares.sums)
        into = (plain, self._counted, weighed, None if self._squares is None else tuple(self._squares))
        return int(tally_blocks(source, self._block_bytes, self._pixels, self._scratch, bins, len(places[1]), *into))

    def _resize(self, block_bytes: int) -> None:
        pixels, row = block_bytes // self._itemsize, block_bytes // self._itemsize // 64
        self._block_bytes = block_bytes
        whole = self._bins.size // pixels if pixels % CHUNK == 0 else 0
        shape = (whole, pixels // CHUNK, CHUNK)
        self._outside = self._nowhere[: whole * row].reshape(whole, row)
        self._into = self._bins[: whole * pixels].reshape(shape)
        self._four = self._into.view(np.uint64)
        if self._squares is not None:
            self._factors = self._squares.factors[: whole * pixels].reshape(shape)
        self._pixels = np.zeros(pixels, f"u{self._itemsize}")
        self._scratch = Scratch.of(pixels, block_bytes)


@kernel
def tally_blocks(  # type: ignore[no-untyped-def]
    source, block_bytes, pixels, scratch, bins, fit, plain, counted, weighed, squares
):
    """All blocks of a frame, as `decode_bslz4` goes through them: plain ones are added as they are, others decoded.

    Returns OK, TRUNCATED or BAD_BLOCK. pixels: scratch for one block, in its unsigned type. fit: how many blocks can be
    plain. Either plain and counted, or weighed and squares (the others None): what follows in calls of `tally_plain`
    and `tally`, or of `weigh_plain` and `tally_squares`. What is None is not compiled.
    """
    width = pixels.itemsize
    block = block_bytes // width
    whole = bins.size - bins.size % 8
    at, start = np.int64(0), np.int64(0)
    scratch.how_many[0] = 0
    untried = patience = 0
    while start < whole:
        number = start // block
        count = min(block, whole - start)
        if number < fit and untried == 0:
            if counted is not None:
                at, number = tally_plain(source, at, number, scratch, *plain)
                tally_apart(scratch.apart, scratch.how_many[0], *counted[:-1])
            if squares is not None:
                at, number = weigh_plain(source, at, number, scratch, *weighed)
                squares_apart(scratch.apart, scratch.how_many[0], *squares)
            scratch.how_many[0] = 0
            # where one block is not plain, the next ones will hardly be
            patience = min(2 * patience + 1, LONGEST) if start == number * block else 0
            untried = patience
            start = number * block
            if at >= 0 and number == fit:
                continue
        else:
            untried = max(untried - 1, 0)
            at = next_block(source, at, count * width, scratch.shuffled.ctypes.data)
        if at < 0:
            return -at
        untranspose_block(scratch.shuffled, scratch.plane, pixels[:count])
        if counted is not None:
            tally(pixels[:count], start, *counted)
        if squares is not None:
            tally_squares(pixels[:count], start, *squares)
        start += count
    leftover = bins.size - whole
    if source.size - at != leftover * width:
        return np.int64(blocks.TRUNCATED)
    if leftover:
        tail = pixels.view(np.uint8)
        for j in range(source.size - at):
            tail[j] = source[at + j]
        if counted is not None:
            tally(pixels[:leftover], whole, *counted)
        if squares is not None:
            tally_squares(pixels[:leftover], whole, *squares)
    return np.int64(blocks.OK)
