"""What the share of every pixel in every bin depends on."""

from dataclasses import dataclass
from typing import Literal

from processors.shared.geometry import Geometry

Range = tuple[float, float]


@dataclass(frozen=True)
class Request:
    """What the matrix depends on, besides the mask. Ranges: radial in `unit`, azimuthal in degrees.

    sharp: pixels below the radial range stay out; without, as in pyFAI, they count into the first bin if they lie
    within a bin's width of it and are not fully split.
    """

    geometry: Geometry
    shape: tuple[int, int]
    unit: str
    npt: int
    npt_azimuthal: int | None = None
    radial_range: Range | None = None
    azimuth_range: Range | None = None
    splitting: Literal["no", "bbox", "full"] = "no"
    solid_angle: bool = True
    polarization: float | None = None
    sharp: bool = False
