"""Integration on the CPU: chooses the kernel that fits, keeps its accumulators, compiles it before the first frame."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.integration.finish import finish
from processors.integration.pairs import BLOCK as PAIRS_BLOCK
from processors.integration.pairs import Pairs, add_pairs, collect, pairs_of
from processors.integration.plain import SHIFT
from processors.integration.plan import Pattern, Plan, packing, whole_limits
from processors.integration.recurrence import finish_recurrence, follow
from processors.integration.scatter import BLOCK, COLUMNS, COPIES, add, tally, totals_scatter, unpack
from processors.integration.shares import collect_shares, least_share, shares_of, tally_shares
from processors.integration.split import add_split, totals_split
from processors.integration.squares import collect_squares, squares_of, tally_squares
from processors.integration.undecoded import BlockSums, fits
from processors.shared.announce import announce
from stream.codec.payload import SHUFFLED
from stream.events import Array, Payload

FIRST_LEVEL_BYTES = 32 << 10
"""More copies of the accumulator than fit into the first-level cache cost more than they gain."""


def totals_of(plan: Plan) -> NDArray[np.float64]:
    """What all pixels of a bin add up to, (bins + 1, COLUMNS): see `totals_scatter`. The same for all workers."""
    totals = np.zeros((plan.n_bins + 1, COLUMNS))
    if plan.split:
        totals_split(plan.starts, plan.bins, plan.coefs, plan.weights, plan.dark, totals)
    else:
        totals_scatter(plan.bins, plan.weights, plan.dark, totals)
    totals[plan.n_bins] = 0
    return totals


class CpuEngine:
    """One per worker and scan. `packed`: the kernel for counts is in use, see `tally_arguments`."""

    def __init__(self, plan: Plan, dtype: np.dtype[Any], totals: NDArray[np.float64] | None = None) -> None:
        """totals: what `totals_of` makes of the plan, where it has been made already."""
        self.plan = plan
        self.dtype = dtype
        variant = (dtype.str, plan.split, plan.model, plan.bins.dtype.str)
        announce(f"the kernels for {dtype} pixels, on the CPU", *variant)
        self._totals = totals_of(plan) if totals is None else totals
        self._lost = np.zeros((plan.n_bins + 1, COLUMNS))
        self._sums = np.zeros((plan.n_bins + 1, 3))
        self._state = np.zeros((plan.n_bins + 1 if plan.model == 3 else 0, 5))
        entries = int(self._totals[:, 0].max(initial=0))
        self._pairs = pairs_of(plan, least_share(entries)) if plan.split and plan.model <= 1 else None
        self._parts = np.zeros((8, plan.n_bins + 1 if self._pairs is not None else 0))
        self._pair_scratch = (*np.zeros((2, PAIRS_BLOCK)),)
        self._low, self._span, self._shift = packing(plan, dtype, entries)
        self.packed = bool(self._shift)
        self._squared = squares_of(plan, dtype, entries, self._lost)
        limits = whole_limits(plan, dtype)
        self._shares = None
        if self._pairs is not None and limits is not None:
            self._shares = shares_of(plan, self._pairs, limits, entries, self._lost)
        copies = COPIES if plan.n_bins * 8 * COPIES <= FIRST_LEVEL_BYTES else 1
        self._packed_sums = np.zeros((copies if self.packed else 0, plan.n_bins + 1), np.uint64)
        self._scratch = np.zeros(BLOCK, np.uint64)
        whole = self.packed or self._squared is not None or self._shares is not None
        self._view = np.dtype(f"u{dtype.itemsize}") if whole else dtype
        self._blocks = self._for_blocks(copies, entries)
        self.begin()
        self.add(np.zeros(0, dtype), 0)
        self.result(1.0)

    @property
    def norm(self) -> NDArray[np.float64]:
        """Sum of c*norm of every bin over the pixels that are not masked for good, (bins,)."""
        return self._totals[:-1, 2]

    @property
    def count(self) -> NDArray[np.float64]:
        """Sum of c of every bin over the pixels that are not masked for good, (bins,)."""
        return self._totals[:-1, 1]

    def run(self, image: Array, factor: float) -> Pattern:
        """See `IntegrationEngine`."""
        self.begin()
        self.add(image.reshape(-1), 0)
        return self.result(factor)

    @property
    def by_blocks(self) -> bool:
        """True if frames can be integrated while they are decompressed, see `add_packed`."""
        return self._blocks is not None

    def takes(self, payload: Payload) -> bool:
        """True if `add_packed` can do this one, whose shape is the scan's: bitshuffled, of the engine's type."""
        return self.by_blocks and payload.dtype == self.dtype and payload.encoding in SHUFFLED

    def add_packed(self, payload: Payload) -> None:
        """Begin anew, and add all pixels of a payload: `result` then gives what it gives for the decoded ones, the very
        same numbers. Raises CorruptPayload, as `decode` would."""
        assert self._blocks is not None, "ask `takes` first"
        self.begin()
        self._blocks.add(payload)
        if self._pairs is not None:
            self._add_others(self._pairs, self._blocks.chosen, 0)

    def begin(self) -> None:
        """Forget the last frame."""
        self._lost[:] = 0
        self._parts[:] = 0
        if self._shares is not None:
            for each in (self._shares.sums, self._shares.excess, self._shares.large):
                each[:] = 0
        if self._blocks is not None:
            self._blocks.sums[:] = 0
        if self.plan.model == 3:
            self._state[:] = 0
        elif self.packed:
            self._packed_sums[:] = 0
        elif self._squared is not None:
            self._squared[0].sums[:] = 0
            self._squared[0].large[:] = 0
        else:
            self._sums[:] = 0

    def add(self, raw: Array, first: int) -> None:
        """Add the raw counts of pixels first ... first + len(raw) - 1, flat, of the engine's dtype, in any pieces."""
        plan = self.plan
        limits = (plan.low, plan.high, plan.dummy_low, plan.dummy_high)
        if self.packed:
            tally(raw.view(self._view), first, *self.tally_arguments())
        elif self._squared is not None:
            tally_squares(raw.view(self._view), first, *self._squared[0])
        elif plan.model == 3:
            follow(raw, first, plan.starts, plan.bins, plan.coefs, *limits, plan.weights, plan.dark, self._state)
        elif self._pairs is not None:
            self._add_pairs(self._pairs, raw, first, limits)
        elif plan.split:
            matrix = (plan.starts, plan.bins, plan.coefs)
            add_split(raw, first, *matrix, *limits, plan.model, plan.weights, plan.dark, self._sums, self._lost)
        else:
            add(raw, first, plan.bins, *limits, plan.model, plan.weights, plan.dark, self._sums, self._lost)

    def _add_pairs(self, pairs: Pairs, raw: Array, first: int, limits: tuple[float, float, float, float]) -> None:
        plan = self.plan
        if self._shares is not None:
            tally_shares(raw.view(self._view), first, *self._shares)
        else:
            kept, into = (plan.weights, plan.dark), (self._parts, self._lost)
            places = (pairs.bins, pairs.shares)
            add_pairs(raw, first, *places, *limits, plan.model == 1, *kept, *into, *self._pair_scratch)
        begin, end = np.searchsorted(pairs.others, (first, first + raw.size))
        if end > begin:
            chosen = raw.view(self._view)[pairs.others[begin:end] - first]
            self._add_others(pairs, chosen if self._shares is None else chosen.astype(np.uint32), begin)

    def _add_others(self, pairs: Pairs, chosen: Array, begin: int) -> None:
        plan = self.plan
        limits = (plan.low, plan.high, plan.dummy_low, plan.dummy_high)
        matrix, of_them = (pairs.starts, pairs.chosen, pairs.coefs), (pairs.weights, pairs.dark)
        add_split(chosen, begin, *matrix, *limits, plan.model, *of_them, self._sums, self._lost)

    def tally_arguments(self) -> tuple[Any, ...]:
        """What follows `raw, first` in a call of `kernels.scatter.tally`, if `packed`: for a caller compiled by numba.

        Between `begin` and `result` such a caller passes every pixel once, as unsigned views, in any pieces.
        """
        plan = self.plan
        numbers = (np.uint64(self._low), np.uint64(self._span), np.uint64(self._shift))
        return (plan.bins, *numbers, plan.weights, plan.dark, self._packed_sums, self._lost, self._scratch)

    def result(self, factor: float) -> Pattern:
        """Intensity and standard error of what has been added since `begin`."""
        plan = self.plan
        intensity = np.empty(plan.n_bins, np.float32)
        errors = np.empty(plan.n_bins if plan.model else 0, np.float32)
        if plan.model == 3:
            finish_recurrence(self._state, float(factor), plan.empty, intensity, errors)
        else:
            if self.packed:
                plain = self._packed_sums[:0] if self._blocks is None else self._blocks.sums
                shifts = np.uint64(self._shift), np.uint64(SHIFT)
                unpack(self._packed_sums, shifts[0], plain, shifts[1], self._totals, self._lost, self._sums[:-1])
            if self._squared is not None:
                collect_squares(*self._squared, self._sums)
            if self._pairs is not None:
                collect(self._parts, self._sums)
            if self._shares is not None:
                collect_shares(self._shares, self._sums)
            counted = (self._sums, self._totals, self._lost)
            kinds = (plan.model, plan.split, plan.dark_variance)
            finish(*counted, *kinds, float(factor), plan.empty, intensity, errors)
        return intensity, errors if plan.model else None

    def _for_blocks(self, copies: int, pixels: int) -> BlockSums | None:
        """pixels: of the largest bin."""
        plan, size, nothing = self.plan, self.dtype.itemsize, np.zeros((0, 1), np.uint64)
        if self._squared is not None or self._shares is not None:
            limits = whole_limits(plan, self.dtype)
            if limits is None or not fits(*limits, size, 1):
                return None
            if self._squared is not None:
                return BlockSums(plan.bins, plan.bins == plan.n_bins, size, nothing, squares=self._squared[0])
            assert self._pairs is not None
            outside, others = np.diff(plan.starts) == 0, self._pairs.others
            return BlockSums(self._pairs.bins, outside, size, nothing, shares=self._shares, others=others)
        if self.packed and fits(self._low, self._low + self._span, size, pixels):
            sums = np.zeros((copies, plan.n_bins + 1), np.uint64)
            return BlockSums(plan.bins, plan.bins == plan.n_bins, size, sums, counted=self.tally_arguments())
        return None
