"""Kinds of regions as the user writes them.

Coordinates are (x, y) = (column, row) in pixels, counted from the outer corner of the first pixel, as a beam centre is:
pixel i reaches from i to i + 1, and x: [300, 500] is NumPy's [300:500]. A pixel is in a region if its centre is. Angles
are degrees from x towards y. The own axes of a region: x and y of a rectangle, ellipse (turned by `angle`) or polygon;
radius and azimuth of a ring; along and across a line.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Discriminator, Field, field_validator, model_validator

from processors.shared.geometry import UNITS
from stream.registry import Options

FARTHEST = 100_000.0
"""Pixels: what lies farther out is a mistake, and would make profiles without end."""
Place = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Pair: TypeAlias = tuple[float, float]
Point: TypeAlias = tuple[Place, Place]
PIXELS = "px"
MOST_POINTS = 500
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
EVERY = "all"


def _in_order(limits: Pair | None) -> Pair | None:
    if limits is not None and not (np.isfinite(limits).all() and limits[0] < limits[1]):
        raise ValueError("must be two numbers, the smaller first")
    return limits


class Common(Options):
    """What every kind of region has."""

    role: Literal["signal", "background"] = Field(
        "signal", description=f"background: one of those that `background: {EVERY}` of the others means"
    )
    background: str | tuple[str, ...] | None = Field(
        None, description=f"Names of the regions whose level is subtracted; {EVERY}: those with the role background"
    )
    fit: Literal["mean", "linear"] = Field(
        "mean",
        description="Level of the background: the mean of its pixels, or the plane a + b x + c y of least squares",
    )
    colour: str | None = Field(None, pattern=r"#[0-9a-fA-F]{6}", description="For displays, such as #ffcc00")

    @field_validator("background")
    @classmethod
    def _some(cls, names: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if names == ():
            raise ValueError("names no region: leave it out")
        return names


class Rectangle(Common):
    """Turned by `angle` about its middle."""

    kind: Literal["rectangle"]
    x: Point = Field(description="First column and the one behind the last")
    y: Point = Field(description="First row and the one behind the last")
    angle: float = Field(0.0, ge=-360, le=360, description="Degrees from x towards y")

    _order = field_validator("x", "y")(_in_order)


class Ellipse(Common):
    """Turned by `angle` about its centre."""

    kind: Literal["ellipse"]
    center: Point
    radii: Point = Field(description="Half axes along its own x and y, pixels")
    angle: float = Field(0.0, ge=-360, le=360, description="Degrees from x towards y")

    @field_validator("radii")
    @classmethod
    def _positive(cls, radii: Pair) -> Pair:
        if not min(radii) > 0:
            raise ValueError("must be two numbers above 0")
        return radii


class Polygon(Common):
    """Closed by itself; where it crosses itself, what is inside an odd number of times."""

    kind: Literal["polygon"]
    points: tuple[Point, ...] = Field(min_length=3, max_length=MOST_POINTS, description="Corners (x, y)")


class Ring(Common):
    """Between two radii around `center`, or, with a `unit` of pyFAI, around the beam; a sector with `azimuth`."""

    kind: Literal["ring", "sector"]
    center: Point | None = Field(None, description="(x, y), pixels, with unit px; null: the beam centre of the header")
    radius: Pair = Field(description="Inner and outer limit, in `unit`")
    azimuth: Pair | None = Field(
        None,
        description="Limits, degrees: with unit px from x towards y, else pyFAI's chi; null: all around",
    )
    unit: str = Field(PIXELS, description="px, or a radial unit of pyFAI: q_nm^-1, q_A^-1, 2th_deg, r_mm ...")

    _order = field_validator("radius", "azimuth")(_in_order)

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str) -> str:
        if unit != PIXELS and unit not in UNITS:
            raise ValueError(f"unknown unit {unit!r}; known: {PIXELS}, {', '.join(UNITS)}")
        return unit

    @model_validator(mode="after")
    def _fits(self) -> "Ring":
        if self.unit != PIXELS and self.center is not None:
            raise ValueError(f"center with unit {self.unit}: the geometry says where the beam is; leave it out")
        if self.unit == PIXELS and self.radius[1] > FARTHEST:
            raise ValueError(f"radius must be at most {FARTHEST:g} pixels")
        if self.kind == "sector" and self.azimuth is None:
            raise ValueError("a sector needs azimuth, two angles in degrees")
        if self.azimuth is not None and self.azimuth[1] - self.azimuth[0] > 360:
            raise ValueError("azimuth must be at most a circle wide, 360 degrees")
        return self


class Line(Common):
    """A line profile: pixels within width / 2 of the line between two points."""

    kind: Literal["line"]
    start: Point
    end: Point
    width: float = Field(1.0, gt=0, le=10_000, description="Pixels, across the line")

    @model_validator(mode="after")
    def _long(self) -> "Line":
        if np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]) < 1e-6:
            raise ValueError("start and end are the same point")
        return self


Shape: TypeAlias = Rectangle | Ellipse | Polygon | Ring | Line
Region = Annotated[Shape, Discriminator("kind")]


def checked_names(regions: Mapping[str, Shape | None]) -> None:
    """Raises ValueError for names that cannot be, and backgrounds that are not there."""
    for name, region in regions.items():
        if not NAME.fullmatch(name) or name == EVERY:
            text = f"use letters, digits and _, a letter first, 41 at most, and not {EVERY!r}"
            raise ValueError(f"the name {name!r}: {text}")
        if region is None or region.background is None:
            continue
        wanted = (region.background,) if isinstance(region.background, str) else region.background
        for each in wanted:
            if each != EVERY and regions.get(each) is None:
                raise ValueError(f"{name}: its background {each!r} is no region; correct it, or keep that region")
        if name in wanted:
            raise ValueError(f"{name} is its own background: name another region")
        if EVERY in wanted and not background_of(name, regions):
            raise ValueError(f"{name}: background {EVERY}, but no other region has the role background")


def background_of(name: str, regions: Mapping[str, Shape | None]) -> tuple[str, ...]:
    """Names of the regions that are the background of this one."""
    region = regions[name]
    if region is None or region.background is None:
        return ()
    wanted = (region.background,) if isinstance(region.background, str) else region.background
    found = [each for each in wanted if each != EVERY]
    if EVERY in wanted:
        found += [
            each
            for each, other in regions.items()
            if other is not None and other.role == "background" and each != name and each not in found
        ]
    return tuple(found)
