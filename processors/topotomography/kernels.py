"""A volume onto projections and back, by the same weights: one is the exact transpose of the other.

A voxel (u, v, a) is seen at bin t = weights . (u, v, a, 1) and column c likewise, and shared by the two bins and two
columns around it, linearly. `a` runs along the axis that the sample turns about. Where a step of `a` is exactly one bin
in every projection, all voxels of such a line share their weights, and a line is added at once.
"""

import numpy as np

from stream.codec.compiler import kernel
from stream.events import Array


@kernel(fastmath={"contract"})
def _span(first: int, count: int, bins: int) -> tuple[int, int]:
    """The a, from the first up to but not with the second, for which 0 <= first + a and first + a + 1 < bins."""
    return max(0, -first), min(count, bins - 1 - first)


@kernel(fastmath={"contract"})
def _spread(line: Array, low: int, high: int, first: int, part: float, g: float, one: Array, two: Array) -> None:
    """Add a line of voxels to two columns."""
    early, late = np.float32(1 - part), np.float32(part)
    left, right = np.float32(1 - g), np.float32(g)
    source = line[low:high]
    near, far = one[first + low : first + high], two[first + low : first + high]
    for i in range(source.size):
        near[i] += left * (early * source[i])
        far[i] += right * (early * source[i])
    near, far = one[first + low + 1 : first + high + 1], two[first + low + 1 : first + high + 1]
    for i in range(source.size):
        near[i] += left * (late * source[i])
        far[i] += right * (late * source[i])


@kernel(fastmath={"contract"})
def _collect(line: Array, low: int, high: int, first: int, part: float, g: float, one: Array, two: Array) -> None:
    """Add two columns to a line of voxels."""
    early, late = np.float32(1 - part), np.float32(part)
    left, right = np.float32(1 - g), np.float32(g)
    target = line[low:high]
    near, far = one[first + low : first + high], two[first + low : first + high]
    next_near, next_far = one[first + low + 1 : first + high + 1], two[first + low + 1 : first + high + 1]
    for i in range(target.size):
        before = left * near[i] + right * far[i]
        after = left * next_near[i] + right * next_far[i]
        target[i] += early * before + late * after


@kernel(fastmath={"contract"})
def forward(volume: Array, weights: Array, lines: bool, found: Array) -> None:
    """Add to `found` float32 (channels, columns, bins) what one projection sees of `volume` (channels, u, v, a).

    weights: float64 (2, 4), of (u, v, a, 1) for the bin and the column. lines: a step of `a` is one bin.
    """
    channels, across, deep, count = volume.shape
    columns, bins = found.shape[1], found.shape[2]
    tu, tv, ta, t0 = weights[0]
    cu, cv, ca, c0 = weights[1]
    for u in range(across):
        for v in range(deep):
            t, c = tu * u + tv * v + t0, cu * u + cv * v + c0
            if lines:
                column, first = int(np.floor(c)), int(np.floor(t))
                low, high = _span(first, count, bins)
                if column < 0 or column + 1 >= columns or low >= high:
                    continue
                for k in range(channels):
                    one, two = found[k, column], found[k, column + 1]
                    _spread(volume[k, u, v], low, high, first, t - first, c - column, one, two)
                continue
            for a in range(count):
                place, beside = t + ta * a, c + ca * a
                first, column = int(np.floor(place)), int(np.floor(beside))
                if column < 0 or column + 1 >= columns or first < 0 or first + 1 >= bins:
                    continue
                f, g = np.float32(place - first), np.float32(beside - column)
                rest_f, rest_g = np.float32(1) - f, np.float32(1) - g
                for k in range(channels):
                    value = volume[k, u, v, a]
                    found[k, column, first] += rest_g * (rest_f * value)
                    found[k, column, first + 1] += rest_g * (f * value)
                    found[k, column + 1, first] += g * (rest_f * value)
                    found[k, column + 1, first + 1] += g * (f * value)


@kernel(fastmath={"contract"})
def backward(projections: Array, weights: Array, lines: bool, begin: int, end: int, volume: Array) -> None:
    """Add to `volume` float32 (channels, u, v, a), from u = `begin` up to but not with `end`, all projections float32
    (omegas, channels, columns, bins). weights: float64 (omegas, 2, 4), as of `forward`."""
    channels, deep, count = volume.shape[0], volume.shape[2], volume.shape[3]
    columns, bins = projections.shape[2], projections.shape[3]
    for u in range(begin, end):
        for omega in range(len(weights)):
            tu, tv, ta, t0 = weights[omega, 0]
            cu, cv, ca, c0 = weights[omega, 1]
            for v in range(deep):
                t, c = tu * u + tv * v + t0, cu * u + cv * v + c0
                if lines:
                    column, first = int(np.floor(c)), int(np.floor(t))
                    low, high = _span(first, count, bins)
                    if column < 0 or column + 1 >= columns or low >= high:
                        continue
                    for k in range(channels):
                        one, two = projections[omega, k, column], projections[omega, k, column + 1]
                        _collect(volume[k, u, v], low, high, first, t - first, c - column, one, two)
                    continue
                for a in range(count):
                    place, beside = t + ta * a, c + ca * a
                    first, column = int(np.floor(place)), int(np.floor(beside))
                    if column < 0 or column + 1 >= columns or first < 0 or first + 1 >= bins:
                        continue
                    f, g = np.float32(place - first), np.float32(beside - column)
                    rest_f, rest_g = np.float32(1) - f, np.float32(1) - g
                    for k in range(channels):
                        seen = projections[omega, k]
                        before = rest_g * seen[column, first] + g * seen[column + 1, first]
                        after = rest_g * seen[column, first + 1] + g * seen[column + 1, first + 1]
                        volume[k, u, v, a] += rest_f * before + f * after


@kernel
def nearest(
    images: Array, lit: Array, matrices: Array, offsets: Array, clamped: bool, begin: int, end: int, sums: Array,
    seen: Array, bright: Array,
) -> None:  # fmt: skip
    """What the pixel nearest to each voxel has, over all projections, for x from `begin` up to but not with `end`.

    images: float32 (omegas, channels, rows, columns). lit: uint8 (omegas, rows, columns), 0 dark, 1 with signal, 2 not
    to be believed. matrices, offsets: `Grid.seen`. clamped: a voxel beside the frame takes the pixel at its edge, as in
    Recon3D, else none. sums: float64 (channels, x, y, z); seen, bright: int32 (x, y, z): projections whose pixel can be
    believed, and of these those with signal.
    """
    rows, columns = lit.shape[1], lit.shape[2]
    for x in range(begin, end):
        for omega in range(len(matrices)):
            m, shift = matrices[omega], offsets[omega]
            for y in range(seen.shape[1]):
                for z in range(seen.shape[2]):
                    row = int(np.rint(m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + shift[0]))
                    column = int(np.rint(m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + shift[1]))
                    if clamped:
                        row, column = min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
                    elif row < 0 or column < 0 or row >= rows or column >= columns:
                        continue
                    what = lit[omega, row, column]
                    if what > 1:
                        continue
                    seen[x, y, z] += 1
                    bright[x, y, z] += what
                    for k in range(images.shape[1]):
                        sums[k, x, y, z] += images[omega, k, row, column]
