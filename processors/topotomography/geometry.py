"""Where a voxel is seen on the detector while the sample turns about the diffraction vector.

All rotations are right-handed; a point x turned about an axis through a focus point p is R (x - p) + p. In units of the
sample, before magnification:

* `rotation_y` (what Recon3D came to be): x_d = diag(1, -1, -1) Rz(mu - theta) Rx(gamma) Ry(omega) x_s; beam along x.
  Of mu only its distance from the middle of its range is meant, so that mu = 0 here.
* `horizontal` (its white paper): x_d = diag(-1, 0, -1) Rz(theta) Rx(omega) Ry(lower) Rz(upper) x_s; beam along y.
* `vertical`: x_d = diag(-1, 0, -1) Rx(theta) Rz(omega) x_s; beam along y. Its tilts are not defined: they must be 0.

Rows of the image run along the first coordinate of the detector's plane (y of `rotation_y`, else x), columns along z.
Source: Recon3D's white paper (dfxm.pdf) and program, see docs/topotomo.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from stream.events import Array

Mode: TypeAlias = Literal["rotation_y", "horizontal", "vertical"]
AXES: dict[Mode, int] = {"rotation_y": 1, "horizontal": 0, "vertical": 2}
"""Which axis of the sample it turns about."""
PLANE: dict[Mode, tuple[int, int]] = {"rotation_y": (1, 2), "horizontal": (0, 2), "vertical": (0, 2)}
"""Coordinates of the detector that its rows and columns run along."""
HALF_TURN = 180.0
HOLE = 3
"""Steps from one projection to the next, at most."""
ORIGIN = (0.0, 0.0, 0.0)


def bragg_deg(wavelength_angstrom: float, spacing_angstrom: float) -> float:
    """theta = arcsin(lambda / 2d), degrees. Raises ValueError where no such reflection exists."""
    sine = wavelength_angstrom / (2 * spacing_angstrom)
    if not 0 < sine <= 1:
        raise ValueError(f"planes {spacing_angstrom:g} A apart do not reflect {wavelength_angstrom:g} A")
    return math.degrees(math.asin(sine))


def spacing_angstrom(cell: Sequence[float], hkl: Sequence[float]) -> float:
    """Distance of the planes hkl in a cell (a, b, c in angstrom, alpha, beta, gamma in degrees), of any symmetry.

    1/d^2 = h G* h, with the reciprocal metric G*. Raises ValueError for a cell without a volume, and for hkl = 0.
    """
    a, b, c = cell[:3]
    cosine = np.cos(np.radians(cell[3:6]))
    metric = np.array(
        [
            [a * a, a * b * cosine[2], a * c * cosine[1]],
            [a * b * cosine[2], b * b, b * c * cosine[0]],
            [a * c * cosine[1], b * c * cosine[0], c * c],
        ]
    )
    if min(a, b, c) <= 0 or not np.linalg.det(metric) > 0:
        raise ValueError(f"{list(cell)} is no unit cell")
    indices = np.asarray(hkl, np.float64)
    square = float(indices @ np.linalg.inv(metric) @ indices)
    if square <= 0:
        raise ValueError(f"{list(hkl)} are no indices of planes")
    return 1 / math.sqrt(square)


def covered_deg(omegas_deg: Array, step_deg: float) -> float:
    """What projections cover that stand for `step_deg` each. Up to two in a row that are missing are no hole."""
    if not len(omegas_deg):
        return 0.0
    gaps = np.diff(np.sort(omegas_deg))
    return float(np.minimum(gaps, HOLE * abs(step_deg)).sum() + abs(step_deg))


def is_seen(covered: float, step_deg: float, *, whole: bool) -> bool:
    """True if no cone of directions is left out. whole: every projection is there; else two may lack at the ends."""
    return covered >= HALF_TURN - 1e-3 - (0.0 if whole else (HOLE - 1) * abs(step_deg))


def turned(axis: int, angle_deg: float) -> Array:
    """float64 (3, 3): the right-handed rotation about axis 0, 1 or 2."""
    radian = math.radians(angle_deg)
    cosine, sine = math.cos(radian), math.sin(radian)
    found = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    found[first, first] = found[second, second] = cosine
    found[first, second], found[second, first] = -sine, sine
    return found


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the sample stands.

    scale_px_per_um: pixels per micrometre of sample, the magnification over the pixel's size. upper, lower: the tilts
    (degrees) that the projection is made with: those of the volume's own axes are 0. The points that the rotations
    leave where they are, about_upper, about_lower, about_theta, in micrometres of the sample. detector_tilt_deg: of the
    detector in the scattering plane; None: it stands perpendicular to the diffracted beam. sense: -1 where the motor
    counts the other way round. transposed: columns of the image, not rows, run along the plane's first coordinate.
    """

    mode: Mode
    theta_deg: float
    scale_px_per_um: float
    upper_deg: float = 0.0
    lower_deg: float = 0.0
    about_upper_um: tuple[float, float, float] = ORIGIN
    about_lower_um: tuple[float, float, float] = ORIGIN
    about_theta_um: tuple[float, float, float] = ORIGIN
    detector_tilt_deg: float | None = None
    sense: int = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        if self.mode == "vertical" and (self.upper_deg or self.lower_deg):
            raise ValueError("in the vertical geometry the axes of the tilts are not defined: they must be 0")
        if self.mode == "rotation_y" and self.detector_tilt_deg is not None:
            raise ValueError("a tilt of the detector belongs to the geometries horizontal and vertical")

    def projection(self, omega_deg: float) -> tuple[Array, Array]:
        """matrix (2, 3), offset (2,): rows and columns from where the origin is seen = matrix @ x_um + offset."""
        matrix, shift = np.eye(3), np.zeros(3)
        for rotation, point in self._rotations(omega_deg):
            around = np.asarray(point)
            matrix, shift = rotation @ matrix, rotation @ (shift - around) + around
        flip = -np.ones(3)
        if self.detector_tilt_deg is not None and self.mode != "rotation_y":
            coordinate = 0 if self.mode == "horizontal" else 2
            flip[coordinate] /= math.cos(math.radians(self.detector_tilt_deg - 2 * self.theta_deg))
        plane = list(PLANE[self.mode][::-1] if self.transposed else PLANE[self.mode])
        seen = self.scale_px_per_um * flip[plane]
        found: Array = seen[:, None] * matrix[plane]
        return found, seen * shift[plane]

    def projections(self, omegas_deg: Array) -> tuple[Array, Array]:
        """Of many angles: matrices (n, 2, 3), offsets (n, 2)."""
        found = [self.projection(float(angle)) for angle in omegas_deg]
        return np.array([each[0] for each in found]), np.array([each[1] for each in found])

    def _rotations(self, omega_deg: float) -> list[tuple[Array, tuple[float, float, float]]]:
        """In the order in which they are applied."""
        omega = self.sense * omega_deg
        up, low, theta = self.about_upper_um, self.about_lower_um, self.about_theta_um
        if self.mode == "rotation_y":
            return [
                (turned(1, omega), ORIGIN),
                (turned(0, self.lower_deg), low),
                (turned(2, self.upper_deg - self.theta_deg), theta),
            ]
        if self.mode == "horizontal":
            tilts = [(turned(2, self.upper_deg), up), (turned(1, self.lower_deg), low)]
            return [*tilts, (turned(0, omega), ORIGIN), (turned(2, self.theta_deg), theta)]
        return [(turned(2, omega), ORIGIN), (turned(0, self.theta_deg), theta)]


@dataclass(frozen=True, slots=True)
class Grid:
    """The voxels: their number along x, y, z, the middle of the volume, and its size, micrometres."""

    steps: tuple[int, int, int]
    middle_um: tuple[float, float, float]
    size_um: tuple[float, float, float]

    @property
    def pitch_um(self) -> Array:
        """float64 (3,): size of a voxel."""
        pitch: Array = np.asarray(self.size_um) / np.asarray(self.steps)
        return pitch

    def axis(self, number: int) -> Array:
        """float64 (steps,), micrometres: middles of the voxels along x, y or z."""
        steps = self.steps[number]
        found: Array = self.middle_um[number] + self.pitch_um[number] * (np.arange(steps) - (steps - 1) / 2)
        return found

    def seen(self, matrix: Array, offset: Array, centre: tuple[float, float]) -> tuple[Array, Array]:
        """Of a projection, in voxels: matrix (2, 3), offset (2,): pixel (row, column) = matrix @ (ix, iy, iz) + offset.

        centre: row and column where the origin of the sample is seen.
        """
        first = np.array([self.axis(number)[0] for number in range(3)])
        shift: Array = matrix @ first + offset + np.asarray(centre)
        return matrix * self.pitch_um, shift
