"""Back-projection: every pixel gets the filtered projections at the lines that go through it, between two columns by
linear interpolation. What lies beside a projection is nothing.

Projections are added one by one, so that a slice may grow with a scan; all at once is the same sum, a row of the
picture at a time, which stays in the processor's cache. `Many` slices share the way through their projections: 16 bins
side by side take 6 times as long as one.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from processors.shared.announce import announce
from processors.tomography import filters
from processors.tomography.angles import weights_of
from processors.tomography.filters import Window
from stream.codec.compiler import kernel
from stream.events import Array


def fbp(
    sinogram: Array,
    angles_deg: Array,
    *,
    centre: float | None = None,
    weights: Array | None = None,
    window: Window = "ramp",
    size: int | None = None,
    threads: int = 1,
) -> Array:
    """sinogram (angles, columns[, slices]) -> float64 (size, size[, slices]): filtered back-projection.

    The value of a pixel is per column: the values of the pixels along a line add up to that of the projection.
    centre: column of the axis, by default the middle. weights: of the angles, radian, by default `angles.weights_of`.
    size: of the picture, by default the columns.
    """
    columns = sinogram.shape[1]
    axis = (columns - 1) / 2 if centre is None else centre
    share = weights_of(angles_deg) if weights is None else weights
    used = np.flatnonzero(share)
    ready = padded(filters.filtered(sinogram[used], filters.response(columns, window)))
    ready *= np.asarray(share, np.float64)[used].reshape(-1, 1, *(1 for _ in sinogram.shape[2:]))
    wide = columns if size is None else size
    picture = np.zeros((wide, wide, *sinogram.shape[2:]))
    add(picture, ready, np.asarray(angles_deg, np.float64)[used], axis, threads=threads)
    return picture


def add(picture: Array, ready: Array, angles_deg: Array, centre: float, *, threads: int = 1) -> None:
    """Add projections to a picture, float64 (size, size[, slices]), in place.

    ready: float64 (angles, columns + 1[, slices]), filtered, weighted, and `padded`.
    """
    radian = np.deg2rad(angles_deg)
    cosine, sine = np.cos(radian), np.sin(radian)
    assert picture.flags.c_contiguous and ready.flags.c_contiguous
    work = _add_one if picture.ndim == 2 else _add_many
    rows = np.linspace(0, len(picture), max(1, threads) + 1).astype(int)
    if threads <= 1:
        work(picture, ready, cosine, sine, centre, 0, len(picture))
        return
    with ThreadPoolExecutor(threads) as pool:
        parts = [
            pool.submit(work, picture, ready, cosine, sine, centre, int(first), int(last))
            for first, last in pairwise(rows)
        ]
        for part in parts:
            part.result()


def compile_kernels() -> None:
    """Before the frames come; some seconds the first time on a machine."""
    announce("the kernels for slices", folder=Path(__file__).parent)
    for shape in ((1, 2), (1, 2, 1)):
        add(np.zeros((1, 1, *shape[2:])), np.zeros(shape), np.zeros(1), 0.0)


def padded(projections: Array) -> Array:
    """With one column of nothing behind the last one, which spares the kernels a question at every pixel."""
    count, columns, *slices = projections.shape
    found = np.zeros((count, columns + 1, *slices))
    found[:, :columns] = projections
    return found


def seen(size: int, columns: int, centre: float, *, half_turn_only: bool = True) -> Array:
    """bool (size, size): the pixels that every projection sees. half_turn_only: False for scans over 360 degrees whose
    opposite projections complete each other: a pixel then has to be seen from one side only."""
    left, right = centre, columns - 1 - centre
    radius = min(left, right) if half_turn_only else max(left, right)
    place = np.arange(size) - (size - 1) / 2
    found: Array = place[:, None] ** 2 + place[None, :] ** 2 <= (radius + 0.5) ** 2
    return found


@kernel(fastmath={"contract"})
def _span(start: float, step: float, width: int, last: float) -> tuple[int, int]:
    """The pixels j, from the first up to but not with the second, for which 0 <= start + j step <= last."""
    if step == 0.0:
        return (0, width) if 0.0 <= start <= last else (0, 0)
    one, two = -start / step, (last - start) / step
    low, high = min(one, two), max(one, two)
    if high < 0.0 or low > width - 1:
        return (0, 0)
    # at 90 degrees they are beyond what an integer holds
    first, end = int(np.ceil(max(low, 0.0))), int(np.floor(min(high, width - 1.0))) + 1
    while first < end and not 0.0 <= start + first * step <= last:
        first += 1
    while end > first and not 0.0 <= start + (end - 1) * step <= last:
        end -= 1
    return (first, end)


@kernel(fastmath={"contract"})
def _add_one(picture, ready, cosine, sine, centre, top, bottom):  # type: ignore[no-untyped-def]
    width, last = picture.shape[1], float(ready.shape[1] - 2)
    half_x, half_y = (width - 1) / 2.0, (picture.shape[0] - 1) / 2.0
    for row in range(top, bottom):
        line = picture[row]
        for number in range(len(cosine)):
            step = cosine[number]
            start = centre + (row - half_y) * sine[number] - half_x * step
            first, end = _span(start, step, width, last)
            projection = ready[number]
            for column in range(first, end):
                place = start + column * step
                before = np.uint32(place)
                part = place - before
                line[column] += projection[before] * (1.0 - part) + projection[before + np.uint32(1)] * part


@kernel(fastmath={"contract"})
def _add_many(picture, ready, cosine, sine, centre, top, bottom):  # type: ignore[no-untyped-def]
    """By flat indices: a view for every pixel would be counted, with an atomic operation each."""
    width, last, slices = picture.shape[1], float(ready.shape[1] - 2), np.uint32(picture.shape[2])
    half_x, half_y = (width - 1) / 2.0, (picture.shape[0] - 1) / 2.0
    for row in range(top, bottom):
        line = picture[row].ravel()
        for number in range(len(cosine)):
            step = cosine[number]
            start = centre + (row - half_y) * sine[number] - half_x * step
            first, end = _span(start, step, width, last)
            projection = ready[number].ravel()
            for column in range(first, end):
                place = start + column * step
                before = int(place)
                part = place - before
                rest = 1.0 - part
                into, left = np.uint32(column * slices), np.uint32(before * slices)
                right = np.uint32(left + slices)
                for each in range(slices):
                    line[into + each] += projection[left + each] * rest + projection[right + each] * part
