"""Frames integrated block by block while they are decompressed: most pixels are never made.

Those blocks that allow it are added as they come out of the decompressor (see `plain`), any other is decoded and
tallied as `scatter` does it. The sums are whole numbers: they are the same, whatever a block is taken for.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.integration.plain import CHUNK, SHIFT, Scratch, tally_plain
from processors.integration.scatter import tally, tally_apart
from processors.integration.shares import Shares, choose, shares_apart, tally_shares
from processors.integration.squares import Squares, squares_apart, tally_squares
from processors.integration.weighted import weigh_plain
from stream.codec import blocks, payload
from stream.codec.blocks import next_block, untranspose_block
from stream.codec.compiler import kernel
from stream.errors import CorruptPayload
from stream.events import Array, Payload

LONGEST = 15
"""Blocks that are decoded without a look, where those before them were not plain."""

NOBODY = np.zeros(0, np.uint32)


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
        outside: NDArray[np.bool_],
        itemsize: int,
        plain: NDArray[np.uint64],
        *,
        counted: tuple[Any, ...] | None = None,
        squares: Squares | None = None,
        shares: Shares | None = None,
        others: NDArray[np.uint32] = NOBODY,
    ) -> None:
        """bins: as in `scatter`. outside: of each pixel, True if it belongs to no bin. One of: counted, what follows
        `raw, first` in a call of `tally`, with `plain`, the sums over plain blocks, (1 to `scatter.COPIES`, bins + 1),
        packed with SHIFT; squares; shares, with `others`, the pixels whose counts are put into `chosen`."""
        self.sums = plain
        self.chosen = np.zeros(others.size, np.uint32)
        nowhere = np.packbits(outside, bitorder="little")
        self._nowhere = np.zeros(-(-nowhere.size // 8), np.uint64)
        self._nowhere.view(np.uint8)[: nowhere.size] = nowhere
        self._bins, self._itemsize, self._counted, self._squares = bins, itemsize, counted, squares
        self._shares, self._others = shares, others
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
        weighed = shared = None
        if self._weighing is not None:
            weighed = (*places, *self._weighing, self._others, self._begins, self.chosen)
        if self._shares is not None:
            shared = (self._others, self.chosen, *self._shares)
        squared = None if self._squares is None else tuple(self._squares)
        into = (plain, self._counted, weighed, squared, shared)
        return int(tally_blocks(source, self._block_bytes, self._pixels, self._scratch, bins, len(places[1]), *into))

    def _resize(self, block_bytes: int) -> None:
        pixels, row = block_bytes // self._itemsize, block_bytes // self._itemsize // 64
        self._block_bytes = block_bytes
        whole = self._bins.size // pixels if pixels % CHUNK == 0 else 0
        shape = (whole, pixels // CHUNK, CHUNK)
        self._outside = self._nowhere[: whole * row].reshape(whole, row)
        self._into = self._bins[: whole * pixels].reshape(shape)
        self._four = self._into.view(np.uint64)
        self._begins = np.searchsorted(self._others, np.arange(whole + 1) * pixels)
        self._weighing: tuple[Any, ...] | None = None
        if (by := self._squares) is not None:
            factors = by.factors[: whole * pixels].reshape(shape)
            self._weighing = (factors, by.shift, np.uint64(2**64 - 1), self._addends, by.sums, by.sums[:0])
        elif (of := self._shares) is not None:
            factors = of.factors[: whole * pixels].reshape(shape)
            self._weighing = (factors, of.down, np.uint64(0), self._addends, of.sums, of.excess)
        self._pixels = np.zeros(pixels, f"u{self._itemsize}")
        self._scratch = Scratch.of(pixels, block_bytes)


@kernel
def tally_blocks(  # type: ignore[no-untyped-def]
    source, block_bytes, pixels, scratch, bins, fit, plain, counted, weighed, squares, shares
):
    """All blocks of a frame, as `decode_bslz4` goes through them: plain ones are added as they are, others decoded.

    Returns OK, TRUNCATED or BAD_BLOCK. pixels: scratch for one block, in its unsigned type. fit: how many blocks can be
    plain. Either plain and counted, or weighed and one of squares and shares (the others None): what follows in calls
    of `tally_plain` and `tally`, or `weigh_plain` and `tally_squares` or `tally_shares`. What is None is not compiled.
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
            if weighed is not None:
                at, number = weigh_plain(source, at, number, scratch, *weighed)
            if squares is not None:
                squares_apart(scratch.apart, scratch.how_many[0], *squares)
            if shares is not None:
                shares_apart(scratch.apart, scratch.how_many[0], *shares)
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
        if shares is not None:
            choose(pixels[:count], start, shares[0], shares[1])
            tally_shares(pixels[:count], start, *shares[2:])
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
        if shares is not None:
            choose(pixels[:leftover], whole, shares[0], shares[1])
            tally_shares(pixels[:leftover], whole, *shares[2:])
    return np.int64(blocks.OK)
