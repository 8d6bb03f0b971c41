"""How far a region reaches, so that who draws it beyond the detector is told what is left of it."""

import numpy as np

from processors.regions.field import Rays
from processors.regions.shapes import PIXELS, Ellipse, Line, Polygon, Rectangle, Ring, Shape

ROUNDING = 1e-6


def beyond(shape: Shape, frame: tuple[int, ...], rays: Rays) -> str:
    """In words, where it lies beyond a frame of (rows, columns); "" where it does not.

    Rings in units of pyFAI have no extent but what is on the detector.
    """
    if isinstance(shape, Ring) and shape.unit != PIXELS:
        return ""
    low, high = _extent(shape, rays)
    words = []
    for name, first, last, size in zip("xy", low, high, (frame[1], frame[0]), strict=True):
        if first < -ROUNDING or last > size + ROUNDING:
            words.append(f"{name} {first:.6g} to {last:.6g} of 0 to {size}")
    return ", ".join(words)


def _extent(shape: Shape, rays: Rays) -> tuple[list[float], list[float]]:
    """The smallest and the largest (x, y) of its outline."""
    if isinstance(shape, Ring):
        corners = _arcs(shape, shape.center or rays.center())
    elif isinstance(shape, Polygon):
        corners = np.array(shape.points)
    elif isinstance(shape, Line):
        start, end = np.array(shape.start), np.array(shape.end)
        across = (end - start)[::-1] * (-1, 1) / np.hypot(*(end - start)) * shape.width / 2
        corners = np.array([start - across, start + across, end - across, end + across])
    else:
        cos, sin = np.cos(np.radians(shape.angle)), np.sin(np.radians(shape.angle))
        if isinstance(shape, Ellipse):
            a, b = shape.radii
            reach = np.array([np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)])
            middle = np.array(shape.center)
        else:
            assert isinstance(shape, Rectangle)
            width, height = (np.diff(each)[0] / 2 for each in (shape.x, shape.y))
            reach = np.array([width * abs(cos) + height * abs(sin), width * abs(sin) + height * abs(cos)])
            middle = np.array([sum(shape.x) / 2, sum(shape.y) / 2])
        corners = np.array([middle - reach, middle + reach])
    return corners.min(0).tolist(), corners.max(0).tolist()


def _arcs(shape: Ring, center: tuple[float, float]) -> np.ndarray:
    """Ends of both arcs of a ring, and where they are farthest along x and y."""
    first, last = shape.azimuth or (-180.0, 180.0)
    turns = np.arange(np.ceil(first / 90), np.floor(last / 90) + 1) * 90
    angles = np.radians(np.concatenate([[first, last], turns]))
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([np.array(center) + max(radius, 0.0) * ways for radius in shape.radius])
