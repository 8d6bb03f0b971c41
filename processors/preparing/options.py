"""What the user may say about the preparation of images."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from processors.correction.bad_pixels import first_look
from processors.correction.options import Files, listed
from stream.preflight import Known, Problem
from stream.registry import READS, Options

Limits = tuple[int, int]


class Area(Options):
    """A rectangle of pixels, as NumPy counts: x: [150, 370] are the columns 150 to 369."""

    x: Limits = Field(description="First column and the one behind the last")
    y: Limits = Field(description="First row and the one behind the last")

    @field_validator("x", "y")
    @classmethod
    def _in_order(cls, limits: Limits) -> Limits:
        if not 0 <= limits[0] < limits[1]:
            raise ValueError("must be two numbers from 0 on, the smaller first")
        return limits

    @property
    def part(self) -> tuple[slice, slice]:
        """Of an image."""
        return slice(*self.y), slice(*self.x)


class Background(Area):
    """An empty area of the detector: what it has is everywhere."""

    how: Literal["subtract", "divide"] = Field(
        "subtract", description="Subtract the mean of its pixels, or divide by it (it is then a monitor)"
    )


class Config(Options):
    """Options of `prepare`. The order: crop, median, dark and flat, background, transpose."""

    type: Literal["prepare"] = "prepare"
    name: str = Field("prepared", min_length=1, description="Name of the channel, and of the result in the file")
    channel: str | None = Field(None, description="Prepare this channel (threshold); null: the first")
    crop: Area | None = Field(
        None, description="Keep this part of the image only; for processors behind this one the rest is masked"
    )
    median: Literal["none", "bad", "all"] = Field(
        "none",
        description="bad: masked and flagged pixels become the median of their good neighbours; all: every pixel that "
        "of 3 x 3, which smooths, and makes errors of counts wrong",
    )
    flat: Files = Field(
        None,
        description="File(s) with the pixel response, averaged and divided by their own mean over the cropped area",
        json_schema_extra=READS,
    )
    background: Background | None = Field(None, description="An empty area, in pixels of the whole image")
    transpose: bool = Field(False, description="Exchange rows and columns, in the results file")
    keep: bool = Field(True, description="Write the images into the results file; false: for later processors only")
    compat: Literal["sp2014"] | None = Field(
        None,
        description="sp2014: as the SPring-8 code does it, in float64: no mask, no dark, median of all, the flat, "
        "division by the background, zeros become 1 (for logarithms)",
    )

    @model_validator(mode="after")
    def _together(self) -> "Config":
        if self.background is not None and self.crop is not None:
            (top, bottom), (left, right) = self.crop.y, self.crop.x
            if not (top <= self.background.y[0] and self.background.y[1] <= bottom):
                raise ValueError("background is not within the rows of crop: choose another area")
            if not (left <= self.background.x[0] and self.background.x[1] <= right):
                raise ValueError("background is not within the columns of crop: choose another area")
        if self.compat and (self.median != "all" or self.flat is None or self.background is None):
            raise ValueError("compat: sp2014 needs median: all, flat and background: give all of them")
        if self.compat and self.background is not None and self.background.how != "divide":
            raise ValueError("compat: sp2014 divides by the background: set background.how: divide")
        return self

    def gives(self) -> Sequence[str]:
        """Name of the product, if there is one."""
        return (self.name,) if self.keep else ()

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into the flat fields."""
        yield from first_look({"flat": listed(self.flat)})
