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
def _spread(source: Array, begin: int, count: int, early: float, late: float, target: Array, into: int) -> None:
    """Add a line of voxels to a column: target[into + i] += early source[begin + i] + late source[begin + i - 1]."""
    one = np.uint64(1)
    target[into] += early * source[begin]
    for i in range(one, count):
        target[into + i] += early * source[begin + i] + late * source[begin + i - one]
    target[into + count] += late * source[begin + count - one]


@kernel(fastmath={"contract"})
def forward(volume: Array, weights: Array, lines: bool, found: Array) -> None:
    """Add to `found` float32 (omegas, channels, columns, bins) what projections see of `volume` (channels, u, v, a).

    weights: float64 (omegas, 2, 4), of (u, v, a, 1) for the bin and the column. lines: a step of `a` is one bin. Flat
    indices: a view for every line would be counted, with atomic operations.
    """
    channels, across, deep, count = volume.shape
    columns, bins = found.shape[2], found.shape[3]
    source, target = volume.ravel(), found.ravel()
    for u in range(across):
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
                    late, right = np.float32(t - first), np.float32(c - column)
                    early, left = np.float32(1) - late, np.float32(1) - right
                    for k in range(channels):
                        begin = np.uint64(((k * across + u) * deep + v) * count + low)
                        near = np.uint64(((omega * channels + k) * columns + column) * bins + first + low)
                        far = np.uint64(near + np.uint64(bins))
                        _spread(source, begin, np.uint64(high - low), early * left, late * left, target, near)
                        _spread(source, begin, np.uint64(high - low), early * right, late * right, target, far)
                    continue
                for a in range(count):
                    place, beside = t + ta * a, c + ca * a
                    first, column = int(np.floor(place)), int(np.floor(beside))
                    if column < 0 or column + 1 >= columns or first < 0 or first + 1 >= bins:
                        continue
                    late, right = np.float32(place - first), np.float32(beside - column)
                    early, left = np.float32(1) - late, np.float32(1) - right
                    for k in range(channels):
                        value = volume[k, u, v, a]
                        found[omega, k, column, first] += left * (early * value)
                        found[omega, k, column, first + 1] += left * (late * value)
                        found[omega, k, column + 1, first] += right * (early * value)
                        found[omega, k, column + 1, first + 1] += right * (late * value)


@kernel(fastmath={"contract"})
def _collect(projections: Array, weights: Array, lines: bool, u: int, slab: Array) -> None:
    """Add all projections to `slab` float32 (channels, v, a), the voxels of one u."""
    channels, deep, count = slab.shape
    columns, bins = projections.shape[2], projections.shape[3]
    source, target = projections.ravel(), slab.ravel()
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
                late, right = np.float32(t - first), np.float32(c - column)
                early, left = np.float32(1) - late, np.float32(1) - right
                for k in range(channels):
                    begin = np.uint64((k * deep + v) * count + low)
                    near = np.uint64(((omega * channels + k) * columns + column) * bins + first + low)
                    far, one = np.uint64(near + np.uint64(bins)), np.uint64(1)
                    for i in range(np.uint64(high - low)):
                        before = left * source[near + i] + right * source[far + i]
                        after = left * source[near + i + one] + right * source[far + i + one]
                        target[begin + i] += early * before + late * after
                continue
            for a in range(count):
                place, beside = t + ta * a, c + ca * a
                first, column = int(np.floor(place)), int(np.floor(beside))
                if column < 0 or column + 1 >= columns or first < 0 or first + 1 >= bins:
                    continue
                late, right = np.float32(place - first), np.float32(beside - column)
                early, left = np.float32(1) - late, np.float32(1) - right
                for k in range(channels):
                    before = left * projections[omega, k, column, first]
                    before += right * projections[omega, k, column + 1, first]
                    after = left * projections[omega, k, column, first + 1]
                    after += right * projections[omega, k, column + 1, first + 1]
                    slab[k, v, a] += early * before + late * after


@kernel
def backward(projections: Array, weights: Array, lines: bool, begin: int, end: int, volume: Array) -> None:
    """The transpose of `forward`: put into `volume` float32 (channels, u, v, a), from u = `begin` up to but not with
    `end`, all projections float32 (omegas, channels, columns, bins)."""
    slab = np.empty((volume.shape[0], *volume.shape[2:]), np.float32)
    for u in range(begin, end):
        slab[:] = 0
        _collect(projections, weights, lines, u, slab)
        volume[:, u] = slab


@kernel(fastmath={"contract"})
def improve(
    projections: Array, weights: Array, lines: bool, begin: int, end: int, share: Array, limits: Array, volume: Array
) -> None:
    """As `backward`, times `share` float32 (u, v, a), and added to the volume, whose first channel is kept from
    becoming negative, and the others within `limits` float32 (channels - 1,) times it."""
    slab = np.empty((volume.shape[0], *volume.shape[2:]), np.float32)
    for u in range(begin, end):
        slab[:] = 0
        _collect(projections, weights, lines, u, slab)
        for v in range(volume.shape[2]):
            for a in range(volume.shape[3]):
                density = max(volume[0, u, v, a] + share[u, v, a] * slab[0, v, a], np.float32(0))
                volume[0, u, v, a] = density
                for k in range(1, volume.shape[0]):
                    most = limits[k - 1] * density
                    value = volume[k, u, v, a] + share[u, v, a] * slab[k, v, a]
                    volume[k, u, v, a] = min(max(value, -most), most)


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
