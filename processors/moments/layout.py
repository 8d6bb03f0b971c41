"""The three products of a mosaicity scan: the images in full precision, and the pictures to be seen while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from processors.moments.positions import Motor, Positions
from stream.products import Axis, Field, Product

F8, F4 = np.dtype("f8"), np.dtype("f4")
MOST_CHUNK_BYTES = 1 << 20
RESERVED = {"sum", "maximum", "bad_frames", "frame_index", "frames", "covered_frames", "y", "x", "rgb", "intensity"}
RESERVED |= {"orientation", "colour_middle", "colour_radius"}
KINDS = ("com", "width", "skew", "kurtosis", "peak", "positions")


@dataclass(frozen=True, slots=True)
class Layout:
    """Shapes and names of one scan. rows, columns: of the region, corner: its first row and column in the frame."""

    name: str
    positions: Positions
    shape: tuple[int, int]
    corner: tuple[int, int]

    @property
    def motors(self) -> tuple[str, ...]:
        """Names of the motors in the file."""
        return tuple(motor.direction.name for motor in self.positions.motors)

    @property
    def lead(self) -> tuple[int, ...]:
        """The dimension of omega, if there is one."""
        return () if self.positions.omega is None else (self.positions.omegas,)

    @property
    def products(self) -> tuple[str, str, str]:
        """Names of the products."""
        return self.name, f"{self.name}_images", f"{self.name}_orientation"

    def images(self, parameters: Mapping[str, Any]) -> Product:
        """Sum, moments and peaks of every pixel, and which frame was where."""
        motors = dict(zip(self.motors, self.positions.motors, strict=True))
        fields = [self._image("sum", "counts", "sum of the signals of all frames")]
        for name, motor in motors.items():
            unit = motor.direction.unit
            fields += [
                self._image(f"com_{name}", unit, f"centre of mass, {motor.reading}"),
                self._image(f"width_{name}", unit, f"width (FWHM = 2.35482 sigma), {motor.reading}"),
                self._image(f"skew_{name}", "", f"skew, {motor.reading}"),
                self._image(f"kurtosis_{name}", "", f"kurtosis above that of a Gaussian, {motor.reading}"),
                self._image(f"peak_{name}", unit, f"position of the largest signal, {motor.reading}"),
            ]
        for name, (one, other) in self.pairs().items():
            units = one.direction.unit, other.direction.unit
            unit = f"{units[0]}^2" if units[0] and units[0] == units[1] else " ".join(filter(None, units))
            fields.append(self._image(name, unit, f"covariance, {one.reading} and {other.reading}"))
        cells, prefix = self.positions.shape, self.lead
        fields += [
            self._image("maximum", "counts", "largest signal"),
            self._image("bad_frames", "", "frames in which the pixel is bad", np.dtype("i4")),
            Field("frame_index", prefix + cells, np.dtype("i8"), "", "frame at each position, -1: none", "scan"),
            Field("frames", prefix, np.dtype("i4"), "", "frames in the sums", "scan"),
        ]
        steps = {
            f"positions_{name}": motor.direction.positions(motor.points).astype(np.float64)
            for name, motor in motors.items()
        }
        return Product(self.name, tuple(fields), "sum", self._axes(), steps, parameters)

    def pictures(self) -> Product:
        """Intensity and widths, half as large."""
        motors = dict(zip(self.motors, self.positions.motors, strict=True))
        fields = [self._image("intensity", "counts", "sum of the signals", F4)]
        for name, motor in motors.items():
            fields.append(self._image(f"width_{name}", motor.direction.unit, f"width (FWHM), {motor.reading}", F4))
        return Product(self.products[1], tuple(fields), "intensity", self._axes())

    def colours(self) -> Product:
        """Orientation as colour, in a group of its own, so that viewers show it; and what the colours mean."""
        count = (len(self.motors),)
        fields = (
            self._image("orientation", "", "orientation as colour (HSV)", np.dtype("u1"), "rgb-image", (3,)),
            Field("colour_middle", self.lead + count, F8, "", "position of white (one motor: of green)", "scan"),
            Field("colour_radius", self.lead + count, F8, "", "distance from there to full colour", "scan"),
        )
        axes = (*self._axes(), Axis("rgb", np.arange(3.0), "", "red, green, blue"))
        return Product(self.products[2], fields, "orientation", axes)

    def pairs(self) -> Mapping[str, tuple[Motor, Motor]]:
        """Names of the covariances, in the order of the sums."""
        motors = list(zip(self.motors, self.positions.motors, strict=True))
        return {
            f"cov_{one}_{other}": (first, second)
            for a, (one, first) in enumerate(motors)
            for other, second in motors[a:]
        }

    def _axes(self) -> tuple[Axis, ...]:
        (rows, columns), (row, column) = self.shape, self.corner
        found = [
            Axis("y", row + np.arange(rows, dtype=np.float64), "px", "row"),
            Axis("x", column + np.arange(columns, dtype=np.float64), "px", "column"),
        ]
        omega = self.positions.omega
        if omega is not None:
            name = omega.direction.name
            taken = RESERVED | {f"{kind}_{motor}" for kind in KINDS for motor in self.motors} | set(self.pairs())
            unit = omega.direction.unit
            values = omega.direction.positions(omega.points)
            found.insert(0, Axis(f"{name}_axis" if name in taken else name, values, unit, omega.reading))
        return tuple(found)

    def _image(
        self,
        name: str,
        unit: str,
        text: str,
        dtype: "np.dtype[Any]" = F8,
        interpretation: str = "image",
        tail: tuple[int, ...] = (),
    ) -> Field:
        rows, columns = self.shape
        line = dtype.itemsize * columns * (tail[0] if tail else 1)
        chunk = (1,) * len(self.lead) + (max(1, min(rows, MOST_CHUNK_BYTES // line)), columns, *tail)
        shape = self.lead + self.shape + tail
        return Field(name, shape, dtype, unit, text, "scan", chunk, interpretation)
