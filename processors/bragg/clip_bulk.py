# mypy: disable-error-code="untyped-decorator,misc"
"""Sigma clipping of corrected counts where nearly all pixels are never corrected.

What is kept by clipping is an interval of x = (raw - dark) / norm, and hardly a pixel lies near its ends. So a range of
x is chosen for each bin that lies well inside, from the frame before, and turned into a range of counts for each pixel:
the bulk, those within, need no more than to be added up, as whole numbers. The others are set apart, some in a hundred:
they are corrected, clipped one by one and looked at as candidates. At the end it is known whether the ranges did lie
inside; where not, the answer is not used. Decisions and sums are those of clip_values.

Sums over the bulk are those over all pixels of a bin, the same for every frame, less those of the pixels set apart.
"""

from math import isfinite

import numpy as np

from processors.bragg.clip_counts import AZIMUTHAL, HYBRID, chauvenet
from stream.codec.bits import bit_count, lowest_bit
from stream.codec.compiler import kernel

SHIFT = 31
"""Of the packed sums: a count, and above it one for every pixel that is not 0."""
EVERY = 65535
"""As `last`: whatever the count is."""
BLOCK = 512
COPIES = 4
SUMS = {"reassoc", "contract", "nsz"}
"""fastmath flags that let sums be vectorised; NaN and infinity keep their meaning."""
NUMBER, NORM, SQUARE, DARK = range(4)
"""Columns of the sums over all pixels of a bin: pixels, norm, norm^2, dark."""
CROSS, POWER = range(2)
"""Columns of the sums that only the scatter needs: signal * norm, signal^2."""


@kernel
def ranges(bins, dark, norm, lower, upper, anew, low, high, first, last):  # type: ignore[no-untyped-def]
    """The counts `first` ... `last` (uint16, pixels) of every pixel whose x lies in lower ... upper (float32, bins) of
    its bin, as float32 decides it, and that lie in low ... high < EVERY; first > last where there is none. Only for the
    bins that are `anew` (bool); any count will do for pixels without a bin. dark, norm: float32 (pixels,), or empty."""
    w, d = np.float32(1.0), np.float32(0.0)
    for i in range(bins.size):
        b = bins[i]
        if b == anew.size:
            first[i], last[i] = 0, EVERY
            continue
        if not anew[b]:
            continue
        if norm.size:
            w = norm[i]
        if dark.size:
            d = dark[i]
        first[i], last[i] = 1, 0
        bottom, top = lower[b], upper[b]
        if not bottom <= top:
            continue
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
        if least <= most:
            first[i], last[i] = least, most


@kernel
def add_bulk(raw, bins, first, last, sums, addends, flags, words, apart, counts, own):  # type: ignore[no-untyped-def]
    """Add the counts of the bulk to `sums` (COPIES, bins + 1) uint64; the places of the others that belong to a bin go
    to `apart` (int32), ascending, their counts to `counts` (uint32), their bins to `own` (uint16). Returns how many, or
    -1 where there is no room for more.

    raw: unsigned. addends: uint32 (BLOCK,); flags: uint8 (BLOCK,); words: the same as uint64 (BLOCK / 64, 8); scratch.
    """
    one, most_counts = np.uint32(1 << SHIFT), np.uint32(EVERY)
    sums[:] = 0
    sums0, sums1, sums2, sums3 = sums[0], sums[1], sums[2], sums[3]
    found = 0
    full = raw.size // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        pixels, into = raw[start : start + BLOCK], bins[start : start + BLOCK]
        least, most = first[start : start + BLOCK], last[start : start + BLOCK]
        for j in range(BLOCK):
            count = min(np.uint32(pixels[j]), most_counts)
            inside = (count >= np.uint32(least[j])) & (count <= np.uint32(most[j]))
            addends[j] = (count | (one if count else np.uint32(0))) if inside else np.uint32(0)
            flags[j] = np.uint8(not inside)
        for j in range(0, BLOCK, COPIES):
            sums0[into[j]] += addends[j]
            sums1[into[j + 1]] += addends[j + 1]
            sums2[into[j + 2]] += addends[j + 2]
            sums3[into[j + 3]] += addends[j + 3]
        if found + BLOCK + 64 > apart.size:
            return -1
        before = found
        for k in range(words.shape[0]):
            bits = np.uint64(0)
            for j in range(8):  # eight bytes that are 0 or 1 become eight bits
                bits |= ((words[k, j] * np.uint64(0x0102040810204080)) >> np.uint64(56)) << np.uint64(8 * j)
            behind = found + int(bit_count(bits))
            while bits:  # two at a time: places too many are overwritten
                apart[found] = start + 64 * k + np.int64(lowest_bit(bits))
                bits &= bits - np.uint64(1)
                apart[found + 1] = start + 64 * k + np.int64(lowest_bit(bits))
                bits &= bits - np.uint64(1)
                found += 2
            found = behind
        for each in range(before, found):
            j = apart[each] - start
            counts[each], own[each] = pixels[j], into[j]
    if found + BLOCK > apart.size:
        return -1
    for i in range(full, raw.size):
        count = min(np.uint32(raw[i]), most_counts)
        if np.uint32(first[i]) <= count <= np.uint32(last[i]):
            sums0[bins[i]] += count | (one if count else np.uint32(0))
        else:
            apart[found] = i
            counts[found], own[found] = raw[i], bins[i]
            found += 1
    return found


@kernel
def add_scatter(raw, bins, first, last, dark, norm, sums):  # type: ignore[no-untyped-def]
    """What the scatter about a mean needs of the bulk: `sums` (COPIES, bins + 1, 2) float64, see CROSS and POWER."""
    sums[:] = 0.0
    w, d = 1.0, 0.0
    for i in range(raw.size):
        count = np.uint32(raw[i])
        if np.uint32(first[i]) <= count <= np.uint32(last[i]):  # without a bin: to no avail
            if norm.size:
                w = np.float64(norm[i])
            if dark.size:
                d = np.float64(dark[i])
            signal = np.float64(count) - d
            sums[i % COPIES, bins[i], 0] += signal * w
            sums[i % COPIES, bins[i], 1] += signal * signal


@kernel
def correct_apart(image, apart, counts, own, number, most, limits, dark, norm, out, start, values):  # type: ignore[no-untyped-def]
    """Correct the pixels set apart: x, norm and variance of the raw counts (Poisson) into `values` float32 (3, ...), x
    NaN for bad ones. `out` (bins, 4): what they take away from the sums over all pixels; start (bins + 1,): in
    start[b + 1] how many of bin b are not bad. most: the largest count of the type of `image`."""
    low, high, dummy_low, dummy_high = limits
    out[:] = 0.0
    start[:] = 0
    w, d = np.float32(1.0), np.float32(0.0)
    for k in range(number):
        i = apart[k]
        b = np.int64(own[k])
        if norm.size:
            w = norm[i]
        if dark.size:
            d = dark[i]
        raw = np.float64(counts[k])
        if counts[k] > most:
            raw = np.float64(image[i])
        weight = np.float64(w)
        out[b, 0] += 1.0
        out[b, 1] += weight
        out[b, 2] += weight * weight
        out[b, 3] += np.float64(d)
        good = low <= raw <= high and not dummy_low <= raw <= dummy_high
        start[b + 1] += good
        values[0, k] = (np.float32(raw) - d) / w if good else np.float32(np.nan)
        values[1, k] = w
        values[2, k] = max(np.float32(raw), np.float32(1.0))


@kernel
def sort_apart(number, start, values, own, value, weight, spread):  # type: ignore[no-untyped-def]
    """Sort what `correct_apart` left by bin, without the bad ones: bin b owns start[b]:start[b + 1]."""
    for b in range(start.size - 1):
        start[b + 1] += start[b]
    for k in range(number):
        x, b = values[0, k], own[k]
        if x == x:
            place = start[b]
            value[place], weight[place], spread[place] = x, values[1, k], values[2, k]
            start[b] = place + 1
    for b in range(start.size - 1, 0, -1):
        start[b] = start[b - 1]
    start[0] = 0


@kernel(fastmath=SUMS)
def _keep(value, weight, spread, mean, reach, sums):  # type: ignore[no-untyped-def]
    """Discard what is further than `reach` from the mean: NaN takes its place in `value`. Sums of w x, w, w^2, the
    variances and the number of what is left, into `sums` (5,)."""
    total, norm, square, variance, number = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(value.size):
        x = value[k]
        kept = abs(x - mean) <= reach
        w = np.float64(weight[k]) if kept else 0.0
        value[k] = x if kept else np.float32(np.nan)
        total += w * np.float64(x if kept else np.float32(0.0))
        norm += w
        square += w * w
        variance += np.float64(spread[k]) if kept else 0.0
        number += 1.0 if kept else 0.0
    sums[0], sums[1], sums[2], sums[3], sums[4] = total, norm, square, variance, number


@kernel(fastmath=SUMS)
def _scatter(bulk, value, weight, mean):  # type: ignore[no-untyped-def]
    """Sum of w^2 (x - mean)^2, of the bulk and of what is left of those set apart."""
    total = 0.0
    for k in range(value.size):
        x = value[k]
        distance = np.float64(weight[k]) * (np.float64(x) - mean) if x == x else 0.0
        total += distance * distance
    return total + max(bulk[5] - 2.0 * mean * bulk[4] + mean * mean * bulk[2], 0.0)


@kernel
def _clip_bin(pixels, bulk, value, weight, spread, members, model, cutoff, cycles, empty, within, kept, sums):  # type: ignore[no-untyped-def]
    """As clip_values does it, with a bulk of `pixels`; returns (mean, deviation) in float32 and whether none of the
    bulk, x in within[0] ... within[1], would have been discarded. kept: float32 (2,), what was not, over all cycles.
    value: becomes NaN where it is discarded. sums: float64 (5,), scratch."""
    kept[0], kept[1] = -np.inf, np.inf
    if pixels + value.size == 0:
        return empty, empty, True
    inside = True
    remaining = max(3, members)
    scatter = model == AZIMUTHAL or (model == HYBRID and cycles > 0)
    mean, deviation, reach = np.float32(0.0), np.float32(0.0), np.float32(np.inf)
    size = value.size
    for cycle in range(cycles + 1):
        if cycle:
            if not (isfinite(mean) and isfinite(deviation)):
                break
            reach = deviation * chauvenet(cutoff, remaining)
            kept[0], kept[1] = max(kept[0], mean - reach), min(kept[1], mean + reach)
            if pixels and (abs(within[0] - mean) > reach or abs(within[1] - mean) > reach):
                inside = False
        _keep(value, weight, spread, mean, reach, sums)
        left = np.int64(sums[4])
        discarded, size = size - left, left
        if cycle:
            if discarded == 0 and model != HYBRID:
                break
            if pixels + size == 0:
                return empty, empty, inside
            remaining = max(3, remaining - discarded)
            if model == HYBRID and (discarded == 0 or cycle == cycles):
                scatter = False
        total, norm, square, variance = bulk[0] + sums[0], bulk[1] + sums[1], bulk[2] + sums[2], bulk[3] + sums[3]
        mean = np.float32(total) / np.float32(norm)
        if scatter:
            variance = _scatter(bulk, value, weight, total / norm)
        deviation = np.sqrt(np.float32(variance) / np.float32(square))
        if cycle and discarded == 0:
            break
    return mean, deviation, inside


@kernel
def clip(  # type: ignore[no-untyped-def]
    sums, scatter, totals, out, start, value, weight, spread, members, model, cutoff, cycles, empty, lower, upper, kept,
    mean, deviation, spoilt,
):  # fmt: skip
    """Clip every bin: writes float32 `mean` and `deviation` (bins,) and `kept` (bins, 2), see `_clip_bin`. `spoilt` is
    set where the bulk of a bin would have been clipped: there they are only near the truth.

    scatter: as `add_scatter` leaves it, or empty (poisson). totals: (bins, 4), over all pixels. lower, upper: as given
    to `ranges`. members: pixels per bin, dynamically masked ones included.
    """
    mask = (np.uint64(1) << np.uint64(SHIFT)) - np.uint64(1)
    bulk, within, kept_sums = np.zeros(6), np.zeros(2, np.float32), np.zeros(5)
    for b in range(members.size):
        packed = sums[0, b] + sums[1, b] + sums[2, b] + sums[3, b]
        pixels = totals[b, NUMBER] - out[b, NUMBER]
        counts = np.float64(packed & mask)
        bulk[0] = counts - (totals[b, DARK] - out[b, DARK])
        bulk[1] = totals[b, NORM] - out[b, NORM]
        bulk[2] = totals[b, SQUARE] - out[b, SQUARE]
        bulk[3] = counts + pixels - np.float64(packed >> np.uint64(SHIFT))
        if pixels == 0.0:
            bulk[:] = 0.0
        elif scatter.size:
            bulk[4] = scatter[0, b, 0] + scatter[1, b, 0] + scatter[2, b, 0] + scatter[3, b, 0]
            bulk[5] = scatter[0, b, 1] + scatter[1, b, 1] + scatter[2, b, 1] + scatter[3, b, 1]
        within[0], within[1] = lower[b], upper[b]
        own = slice(start[b], start[b + 1])
        mean[b], deviation[b], inside = _clip_bin(
            np.int64(pixels), bulk, value[own], weight[own], spread[own], members[b], model, cutoff, cycles, empty,
            within, kept[b], kept_sums,
        )  # fmt: skip
        spoilt[b] = not inside


@kernel
def candidates(apart, number, values, own, bound, found):  # type: ignore[no-untyped-def]
    """Those of the pixels set apart that are above their bin's bound go to `found`; returns their number."""
    many = 0
    for k in range(number):
        found[many] = apart[k]
        many += values[0, k] > bound[own[k]]
    return many
