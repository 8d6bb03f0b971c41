"""The exact azimuthal errors of counts that are not split, in whole numbers: of every bin the sums of the counts, of
their squares, and of counts times norms.

Norms are float32 numbers: as multiples of the last bit of the smallest one they are whole, and 32 bits hold them if the
largest is less than 256 times the smallest. The sums are exact then, whatever order they are made in. Counts above
LARGEST are added in float64, pixel after pixel.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.integration.plan import Plan, whole_limits
from stream.codec.compiler import kernel
from stream.codec.memory import add_2
from stream.events import Array

BLOCK = 256
LARGEST = 255
"""Of a byte: the largest count that is added in whole numbers."""
COPIES_BYTES = 64 << 10
"""More than one copy of the sums is made if all of them are not larger."""


class Squares(NamedTuple):
    """What follows `raw, first` in a call of `tally_squares`.

    bins, weights: as in `Plan`. low, span: as in `scatter.tally`. factors: uint32 (pixels,), norms as whole numbers.
    sums: uint64 (copies, bins + 1, 2): sum of n | n * n << shift, and of n * factor, of counts up to LARGEST. large:
    float64 (bins + 1, 3): sum of n, n * n and n * norm, of larger ones. lost: as in `scatter`.
    scratch: uint64 (2, BLOCK), of one thread.
    """

    bins: Array
    low: np.uint64
    span: np.uint64
    shift: np.uint64
    weights: NDArray[np.float32]
    factors: NDArray[np.uint32]
    sums: NDArray[np.uint64]
    large: NDArray[np.float64]
    lost: NDArray[np.float64]
    scratch: NDArray[np.uint64]


def squares_of(
    plan: Plan, dtype: np.dtype[Any], pixels: int, lost: NDArray[np.float64]
) -> tuple[Squares, float] | None:
    """For the counts of a plan, and what a factor of 1 stands for; None if they have no room. pixels: of the largest
    bin."""
    limits = whole_limits(plan, dtype)
    if limits is None or plan.split or plan.model != 2 or plan.dark.size:
        return None
    whole = whole_weights(plan.weights, plan.bins != plan.n_bins)
    shift = (LARGEST * max(pixels, 1)).bit_length()
    if whole is None or (LARGEST**2 * max(pixels, 1)).bit_length() + shift > 64:
        return None
    factors, unit = whole
    if LARGEST * max(pixels, 1) * int(factors.max(initial=0)) >= 1 << 64:
        return None
    copies = next(each for each in (4, 2, 1) if each == 1 or each * 16 * plan.n_bins <= COPIES_BYTES)
    low, high = limits
    numbers = np.uint64(low), np.uint64(high - low), np.uint64(shift)
    sums, large = np.zeros((copies, plan.n_bins + 1, 2), np.uint64), np.zeros((plan.n_bins + 1, 3))
    scratch = np.zeros((2, BLOCK), np.uint64)
    return Squares(plan.bins, *numbers, plan.weights, factors, sums, large, lost, scratch), unit


def whole_weights(weights: NDArray[np.float32], used: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], float] | None:
    """Positive weights as whole multiples of one power of 2, and that; unused ones become 0. None if there is none that
    leaves all of them exact and below 2**32."""
    chosen = weights[used]
    if not chosen.size:
        return np.zeros(weights.size, np.uint32), 1.0
    if not chosen.min() > 0:
        return None
    exponent = int(np.frexp(chosen.min())[1]) - 24
    if np.ldexp(np.float64(chosen.max()), -exponent) >= 1 << 32:
        return None
    factors = np.zeros(weights.size, np.uint32)
    factors[used] = np.ldexp(chosen.astype(np.float64), -exponent)
    return factors, float(np.ldexp(1.0, exponent))


@kernel
def tally_squares(  # type: ignore[no-untyped-def]
    raw, first, bins, low, span, shift, weights, factors, sums, large, lost, scratch
):
    """Add the counts of pixels first ... first + raw.size - 1, unsigned views as in `scatter.tally`."""
    n, copies, nowhere = raw.size, len(sums), lost.shape[0] - 1
    bins, factors = bins[first : first + n], factors[first : first + n]
    sums0, sums1 = np.uint64(sums[0].ctypes.data), np.uint64(sums[1 % copies].ctypes.data)
    packed, products = scratch[0], scratch[1]
    of, product_of = np.uint64(packed.ctypes.data), np.uint64(products.ctypes.data)
    zero, word, two = np.uint64(0), np.uint64(8), np.uint64(16)
    full = n // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        pixels, into, share = raw[start : start + BLOCK], bins[start : start + BLOCK], factors[start : start + BLOCK]
        odd = zero
        for j in range(BLOCK):
            count = np.uint64(pixels[j])
            other = ((count - low) > span) | (count > np.uint64(LARGEST))
            odd |= np.uint64(other & (into[j] != nowhere))
            small = zero if other else count
            packed[j] = small | small * small << shift
            products[j] = small * np.uint64(share[j])
        for j in range(0, BLOCK, 2):
            at = word * np.uint64(j)
            add_2(sums0 + two * np.uint64(into[j]), of + at, product_of + at)
            add_2(sums1 + two * np.uint64(into[j + 1]), of + at + word, product_of + at + word)
        if odd:
            for j in range(BLOCK):
                if into[j] != nowhere:
                    weight = np.float64(weights[first + start + j])
                    _add_odd(np.uint64(pixels[j]), into[j], low, span, weight, large, lost)
    for j in range(full, n):
        count, b = np.uint64(raw[j]), bins[j]
        if b != nowhere:
            _add(count, b, low, span, shift, np.uint64(factors[j]), sums)
            _add_odd(count, b, low, span, np.float64(weights[first + j]), large, lost)


@kernel(inline="always")
def _add(count, b, low, span, shift, factor, sums):  # type: ignore[no-untyped-def]
    """One pixel, if its count is valid and not above LARGEST."""
    if (count - low <= span) & (count <= np.uint64(LARGEST)):
        sums[0, b, 0] += count | count * count << shift
        sums[0, b, 1] += count * factor


@kernel(inline="always")
def _add_odd(count, b, low, span, weight, large, lost):  # type: ignore[no-untyped-def]
    """One pixel, if its count is not valid, or above LARGEST."""
    if (count - low) > span:
        lost[b, 0] += 1.0
        lost[b, 1] += 1.0
        lost[b, 2] += weight
        lost[b, 3] += weight * weight
        lost[b, 5] += 1.0
    elif count > np.uint64(LARGEST):
        value = np.float64(count)
        large[b, 0] += value
        large[b, 1] += value * value
        large[b, 2] += value * weight


@kernel
def squares_apart(  # type: ignore[no-untyped-def]
    apart, number, bins, low, span, shift, weights, factors, sums, large, lost, scratch
):
    """As `tally_squares`, for `number` single pixels: `apart` as in `scatter.tally_apart`."""
    for k in range(number):
        place, count = np.int64(apart[0, k]), apart[1, k]
        b = bins[place]
        _add(count, b, low, span, shift, np.uint64(factors[place]), sums)
        _add_odd(count, b, low, span, np.float64(weights[place]), large, lost)


def collect_squares(squares: Squares, unit: float, out: NDArray[np.float64]) -> None:
    """The three sums of every bin into `out` (bins + 1, 3) float64."""
    packed, products = squares.sums.sum(axis=0, dtype=np.uint64).T
    counts = packed & ((np.uint64(1) << squares.shift) - np.uint64(1))
    for column, whole in enumerate((counts, packed >> squares.shift)):
        out[:, column] = squares.large[:, column] + whole.astype(np.float64)
    out[:, 2] = squares.large[:, 2] + products.astype(np.float64) * unit
