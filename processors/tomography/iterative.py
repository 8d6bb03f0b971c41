"""Iterative reconstruction of one slice: SIRT and CGLS, with a projector and its exact transpose.

A pixel gives each of the two columns beside its line its share, by linear interpolation: the transpose of
`backprojection.add`. SIRT: P. Gilbert, J. Theor. Biol. 36 (1972) 105, in the form of A. van der Sluis, H. A. van der
Vorst, Linear Algebra Appl. 130 (1990) 257: x += C A^T R (b - A x) with the inverse sums of rows and columns. CGLS:
M. R. Hestenes, E. Stiefel, J. Res. Natl. Bur. Stand. 49 (1952) 409. Both begin with 0.
"""

import numpy as np

from processors.tomography import backprojection
from stream.codec.compiler import kernel
from stream.events import Array


class System:
    """A: from a picture of `size` x `size` pixels to a sinogram (angles, columns), centre: column of the axis."""

    def __init__(self, angles_deg: Array, columns: int, centre: float, size: int) -> None:
        self._angles = np.asarray(angles_deg, np.float64)
        self._columns, self._centre, self.size = columns, centre, size

    def forward(self, picture: Array) -> Array:
        """A x, float64 (angles, columns)."""
        found = np.zeros((len(self._angles), self._columns + 1))
        radian = np.deg2rad(self._angles)
        _project(np.asarray(picture, np.float64), found, np.cos(radian), np.sin(radian), self._centre)
        return found[:, : self._columns]

    def transposed(self, sinogram: Array) -> Array:
        """A^T y, float64 (size, size)."""
        found = np.zeros((self.size, self.size))
        backprojection.add(found, backprojection.padded(sinogram), self._angles, self._centre)
        return found


def sirt(
    sinogram: Array,
    angles_deg: Array,
    *,
    centre: float | None = None,
    size: int | None = None,
    iterations: int = 100,
    positive: bool = False,
) -> Array:
    """sinogram (angles, columns), finite -> float64 (size, size); the values are those of `backprojection.fbp`.

    positive: what is negative becomes 0 in every round.
    """
    system, picture = _begun(sinogram, angles_deg, centre, size)
    rows = _inverse(system.forward(np.ones_like(picture)))
    columns = _inverse(system.transposed(np.ones(sinogram.shape)))
    for _ in range(iterations):
        picture += columns * system.transposed(rows * (sinogram - system.forward(picture)))
        if positive:
            np.maximum(picture, 0, out=picture)
    return picture


def cgls(
    sinogram: Array, angles_deg: Array, *, centre: float | None = None, size: int | None = None, iterations: int = 20
) -> Array:
    """As `sirt`, by conjugate gradients of the least squares: some ten rounds; many more take up the noise."""
    system, picture = _begun(sinogram, angles_deg, centre, size)
    rest = np.array(sinogram, np.float64)
    gradient = system.transposed(rest)
    direction, norm = gradient.copy(), float((gradient**2).sum())
    for _ in range(iterations):
        if norm == 0:
            break
        seen = system.forward(direction)
        step = norm / float((seen**2).sum())
        picture += step * direction
        rest -= step * seen
        gradient = system.transposed(rest)
        before, norm = norm, float((gradient**2).sum())
        direction = gradient + norm / before * direction
    return picture


def _begun(sinogram: Array, angles_deg: Array, centre: float | None, size: int | None) -> tuple[System, Array]:
    columns = sinogram.shape[1]
    axis, wide = (columns - 1) / 2 if centre is None else centre, columns if size is None else size
    return System(angles_deg, columns, axis, wide), np.zeros((wide, wide))


def _inverse(sums: Array) -> Array:
    """0 where nothing meets."""
    found: Array = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 1e-9)
    return found


@kernel(fastmath={"contract"})
def _project(picture, found, cosine, sine, centre):  # type: ignore[no-untyped-def]
    width, last = picture.shape[1], found.shape[1] - 2
    half_x, half_y = (width - 1) / 2.0, (picture.shape[0] - 1) / 2.0
    for number in range(len(cosine)):
        projection, step = found[number], cosine[number]
        for row in range(picture.shape[0]):
            start = centre + (row - half_y) * sine[number] - half_x * step
            line = picture[row]
            for column in range(width):
                place = start + column * step
                if 0.0 <= place <= last:
                    before = int(place)
                    part = place - before
                    projection[before] += line[column] * (1.0 - part)
                    projection[before + 1] += line[column] * part
