"""Which pixels a region has, and where each of them lies along the region's own axes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processors.regions.field import Rays
from processors.regions.shapes import PIXELS, Ellipse, Line, Polygon, Rectangle, Ring, Shape

DEGREES_PER_BIN = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels of one region that are not masked for good, (n,) each.

    index: int32, flat. row, column: uint16. along_y, along_x: float32, what the centre of mass is of: pixel numbers
    (the centre of the first pixel is 0) of a rectangle, ellipse or polygon; else the places along the own axes. bin_y,
    bin_x: int32, of the profiles, which have bins_y and bins_x of them, step_y and step_x wide. masked: pixels of the
    region that are masked for good.
    """

    index: NDArray[np.int32]
    row: NDArray[np.uint16]
    column: NDArray[np.uint16]
    along_y: NDArray[np.float32]
    along_x: NDArray[np.float32]
    bin_y: NDArray[np.int32]
    bin_x: NDArray[np.int32]
    bins_y: int
    bins_x: int
    step_y: float
    step_x: float
    masked: int


@dataclass(frozen=True, slots=True)
class _Own:
    """The places of the pixels along the own axes, from 0 to their lengths."""

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    length_y: float
    length_x: float


def pixels_of(shape: Shape, mask: NDArray[np.bool_], rays: Rays) -> Pixels:
    """The pixels of a region in a frame whose bad pixels are `mask` (rows, columns), clipped at its edges.

    Raises ConfigError, through `rays`, where a ring needs a geometry that is not known.
    """
    top, bottom, left, right = _box(shape, mask.shape, rays)
    rows, columns = np.arange(top, bottom)[:, None], np.arange(left, right)[None, :]
    y, x = np.asarray(rows + 0.5, np.float64), np.asarray(columns + 0.5, np.float64)
    along: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    step_y = step_x = 1.0
    if isinstance(shape, Ring):
        inside, own, along, step_x = _ring(shape, y, x, (slice(top, bottom), slice(left, right)), rays)
        step_y = DEGREES_PER_BIN
    elif isinstance(shape, Line):
        length = float(np.hypot(shape.end[0] - shape.start[0], shape.end[1] - shape.start[1]))
        turn = np.arctan2(shape.end[1] - shape.start[1], shape.end[0] - shape.start[0])
        own_x, across = _turned(x - shape.start[0], y - shape.start[1], turn)
        inside = (own_x >= 0) & (own_x < length) & (across >= -shape.width / 2) & (across < shape.width / 2)
        own = _Own(across + shape.width / 2, own_x, shape.width, length)
        along = across, own_x
    elif isinstance(shape, Polygon):
        corners = np.array(shape.points)
        inside = _within(corners, y, x)
        low, high = corners.min(0), corners.max(0)
        own = _Own(y - low[1], x - low[0], high[1] - low[1], high[0] - low[0])
    else:
        inside, own = _turned_box(shape, y, x)
    bad = mask[top:bottom, left:right]
    taken = np.nonzero(inside & ~bad)
    row, column = taken[0] + top, taken[1] + left

    def of_them(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.broadcast_to(values, inside.shape)[taken])

    bins_y, bins_x = _bins(own.length_y, step_y), _bins(own.length_x, step_x)
    at_y, at_x = (row, column) if along is None else (of_them(along[0]), of_them(along[1]))
    return Pixels(
        index=(row * mask.shape[1] + column).astype(np.int32),
        row=row.astype(np.uint16),
        column=column.astype(np.uint16),
        along_y=at_y.astype(np.float32),
        along_x=at_x.astype(np.float32),
        bin_y=np.clip(of_them(own.y) / step_y, 0, bins_y - 1).astype(np.int32),
        bin_x=np.clip(of_them(own.x) / step_x, 0, bins_x - 1).astype(np.int32),
        bins_y=bins_y,
        bins_x=bins_x,
        step_y=step_y,
        step_x=step_x,
        masked=int((inside & bad).sum()),
    )


def nothing() -> Pixels:
    """Of a region that has none."""
    whole, short, real = np.zeros(0, np.int32), np.zeros(0, np.uint16), np.zeros(0, np.float32)
    return Pixels(whole, short, short, real, real, whole, whole, 1, 1, 1.0, 1.0, 0)


def _bins(length: float, step: float) -> int:
    return max(1, int(np.ceil(length / step - 1e-9)))


def _turned(x: NDArray[np.float64], y: NDArray[np.float64], turn: float) -> tuple[NDArray[np.float64], ...]:
    """Along the axes that are turned by `turn` (radians) from x towards y."""
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    return x * cos + y * sin, y * cos - x * sin


def _turned_box(
    shape: Rectangle | Ellipse, y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], _Own]:
    if isinstance(shape, Rectangle):
        width, height = shape.x[1] - shape.x[0], shape.y[1] - shape.y[0]
        if not shape.angle:  # no rounding at the edges
            inside = (x >= shape.x[0]) & (x < shape.x[1]) & (y >= shape.y[0]) & (y < shape.y[1])
            return inside, _Own(y - shape.y[0], x - shape.x[0], height, width)
        middle_x, middle_y = (shape.x[0] + shape.x[1]) / 2, (shape.y[0] + shape.y[1]) / 2
    else:
        (middle_x, middle_y), width, height = shape.center, 2 * shape.radii[0], 2 * shape.radii[1]
    u, v = _turned(x - middle_x, y - middle_y, np.radians(shape.angle))
    own = _Own(v + height / 2, u + width / 2, height, width)
    if isinstance(shape, Ellipse):
        return (u / shape.radii[0]) ** 2 + (v / shape.radii[1]) ** 2 <= 1, own
    inside = (own.x >= 0) & (own.x < width) & (own.y >= 0) & (own.y < height)
    return inside, own


def _ring(
    shape: Ring, y: NDArray[np.float64], x: NDArray[np.float64], where: tuple[slice, slice], rays: Rays
) -> tuple[NDArray[np.bool_], _Own, tuple[NDArray[np.float64], NDArray[np.float64]], float]:
    if shape.unit == PIXELS:
        center_x, center_y = shape.center or rays.center()
        radius, chi = np.hypot(x - center_x, y - center_y), np.degrees(np.arctan2(y - center_y, x - center_x))
        step = 1.0
    else:
        radius, chi = (each[where] for each in rays.of(shape.unit))
        step = 0.0
    low, high = shape.radius
    inside = (radius >= low) & (radius < high)
    first, span = -180.0, 360.0
    if shape.azimuth is not None:
        first, span = shape.azimuth[0], shape.azimuth[1] - shape.azimuth[0]
    turned = np.mod(chi - first, 360.0)
    inside &= turned < span
    if not step:
        step = max(_one_pixel(radius, inside, high - low), (high - low) / 10_000)
    own = _Own(turned, radius - low, span, high - low)
    return inside, own, (first + turned, radius), step


def _one_pixel(radius: NDArray[np.float64], inside: NDArray[np.bool_], otherwise: float) -> float:
    """By how much the radius changes from pixel to pixel, in the middle of what is inside."""
    rows, columns = np.nonzero(inside)
    if not len(rows) or min(radius.shape) < 2:
        return otherwise
    below, beside = np.minimum(rows + 1, radius.shape[0] - 1), np.minimum(columns + 1, radius.shape[1] - 1)
    down, across = radius[below, columns] - radius[below - 1, columns], radius[rows, beside] - radius[rows, beside - 1]
    return float(np.median(np.hypot(down, across)))


def _within(corners: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Inside an odd number of times; y (rows, 1), x (1, columns). Row by row: a lasso may have hundreds of corners."""
    inside = np.zeros((y.shape[0], x.shape[1]), bool)
    (x1, y1), (x2, y2) = corners.T, np.roll(corners, -1, axis=0).T
    for row, height in enumerate(y[:, 0]):
        crossed = (y1 > height) != (y2 > height)
        slope = (x2[crossed] - x1[crossed]) / (y2[crossed] - y1[crossed])
        places = np.sort(slope * (height - y1[crossed]) + x1[crossed])
        inside[row] = (len(places) - np.searchsorted(places, x[0], side="right")) % 2 == 1
    return inside


def _box(shape: Shape, frame: tuple[int, ...], rays: Rays) -> tuple[int, int, int, int]:
    """top, bottom, left, right of the pixels that may be in it, clipped to the frame; empty off the detector."""
    if isinstance(shape, Ring):
        if shape.unit != PIXELS:
            radius, _ = rays.of(shape.unit)
            inside = (radius >= shape.radius[0]) & (radius < shape.radius[1])
            ends = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
            if not len(ends[0]):
                return 0, 0, 0, 0
            (top, bottom), (left, right) = ((int(each[0]), int(each[-1]) + 1) for each in ends)
            return top, bottom, left, right
        center = np.array(shape.center or rays.center())
        corners = np.array([center - shape.radius[1], center + shape.radius[1]])
    elif isinstance(shape, Polygon):
        corners = np.array(shape.points)
    elif isinstance(shape, Line):
        corners = np.array([shape.start, shape.end])
        corners = np.concatenate([corners - shape.width, corners + shape.width])
    elif isinstance(shape, Rectangle) and not shape.angle:
        corners = np.array([shape.x, shape.y]).T
    else:
        if isinstance(shape, Rectangle):
            middle = np.array([sum(shape.x) / 2, sum(shape.y) / 2])
            reach = float(np.hypot(shape.x[1] - shape.x[0], shape.y[1] - shape.y[0])) / 2
        else:
            middle, reach = np.array(shape.center), max(shape.radii)
        corners = np.array([middle - reach, middle + reach])
    limits = np.array([frame[1], frame[0]])
    low = np.clip(np.floor(corners.min(0)), 0, limits).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, limits).astype(int)
    return int(low[1]), int(max(low[1], high[1])), int(low[0]), int(max(low[0], high[0]))
