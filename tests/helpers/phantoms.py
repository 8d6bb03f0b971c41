"""A slice of ellipses whose line integrals are known exactly."""

import numpy as np

ELLIPSES = ((0.75, 0.55, 0.0, 0.0, 0.3, 1.0), (0.2, 0.12, 0.3, -0.15, -0.6, 0.8), (0.12, 0.2, -0.35, 0.2, 0.2, -0.5))
"""Half axes a and b, middle x and y (of half the width), turned by radian, value."""


def phantom(size: int) -> np.ndarray:
    """float64 (size, size): the value at the middle of each pixel."""
    x, y = _places(size)
    found = np.zeros((size, size))
    for a, b, middle_x, middle_y, turned, value in ELLIPSES:
        found[_radius(x, y, size, a, b, middle_x, middle_y, turned) <= 1] += value
    return found


def well_inside(size: int, margin: float = 4.0) -> list[tuple[np.ndarray, float]]:
    """(bool (size, size), value there) of each part of the phantom, away from edges by so many pixels."""
    x, y = _places(size)
    half = size / 2
    whole, near = [], []
    for a, b, *rest, _ in ELLIPSES:
        whole.append(_radius(x, y, size, a - margin / half, b - margin / half, *rest) <= 1)
        near.append(_radius(x, y, size, a + margin / half, b + margin / half, *rest) <= 1)
    outer = ELLIPSES[0][-1]
    return [
        (whole[0] & ~near[1] & ~near[2], outer),
        (whole[1], outer + ELLIPSES[1][-1]),
        (whole[2], outer + ELLIPSES[2][-1]),
    ]


def sinogram(size: int, angles_deg: np.ndarray, centre: float | None = None, columns: int | None = None) -> np.ndarray:
    """float64 (angles, columns): the mean over each column, by eight lines. One column is one pixel wide."""
    wide = size if columns is None else columns
    axis = (wide - 1) / 2 if centre is None else centre
    place = (np.arange(8 * wide) + 0.5) / 8 - 0.5 - axis
    found = np.zeros((len(angles_deg), 8 * wide))
    half = size / 2
    for a, b, middle_x, middle_y, turned, value in ELLIPSES:
        radian = np.deg2rad(angles_deg)
        reach = (a * half) ** 2 * np.cos(radian - turned) ** 2 + (b * half) ** 2 * np.sin(radian - turned) ** 2
        off = place - half * (middle_x * np.cos(radian) + middle_y * np.sin(radian))[:, None]
        inside = np.maximum(reach[:, None] - off**2, 0)
        found += value * 2 * a * b * half**2 * np.sqrt(inside) / reach[:, None]
    return found.reshape(len(angles_deg), wide, 8).mean(axis=2)


def _places(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return x, y


def _radius(
    x: np.ndarray, y: np.ndarray, size: int, a: float, b: float, middle_x: float, middle_y: float, turned: float
) -> np.ndarray:
    half = size / 2
    x, y = x - middle_x * half, y - middle_y * half
    along, across = x * np.cos(turned) + y * np.sin(turned), -x * np.sin(turned) + y * np.cos(turned)
    return np.hypot(along / (a * half), across / (b * half))
