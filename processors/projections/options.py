"""What is done to projections, in this order: flat and dark, monitor, rotation, air, crop, cut-off, outliers, median,
phase, logarithm, scaling. For another order, several `projection` one behind the other."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from processors.correction.bad_pixels import first_look
from processors.correction.options import Files, listed
from processors.preparing.options import Area
from processors.shared.device import SPELLING, WORDS
from stream.preflight import Known, Problem
from stream.registry import READS, SAME_RESULT, Options


class Outliers(Options):
    """Single pixels that stand out: hits of gammas, dead pixels."""

    difference: float = Field(gt=0, description="From the median around it, in units of the image at that step")
    size: int = Field(3, ge=3, le=31, description="Of the square that the median is taken over, pixels")
    kind: Literal["bright", "dark", "both"] = Field("bright", description="Which way they stand out")


class CutOff(Options):
    """Pixels below low + part (high - low) become low."""

    part: float = Field(gt=0, lt=1, description="Of the way from low to high")
    low: float = Field(0.0, description="The least that there is")
    high: float = Field(1.0, description="The most that there is: the open beam")


class Phase(Options):
    """Paganin's phase retrieval; a transmission before and behind it."""

    pixel_m: float = Field(gt=0, description="Pixel size at the sample, m")
    distance_m: float = Field(gt=0, description="Of propagation: sample to detector, m")
    energy_kev: float = Field(gt=0, description="Of the beam, keV")
    delta_beta: float = Field(gt=0, description="delta over beta of the refractive index n = 1 - delta + i beta")


class Steps(Options):
    """All steps but the flat field, whose files come from elsewhere in a command."""

    rotate: Annotated[int, Field(ge=0, le=3)] = Field(0, description="Turn by so many times 90 degrees, clockwise")
    air: Area | None = Field(None, description="Part of the turned image that nothing ever covers: its mean becomes 1")
    crop: Area | None = Field(None, description="Keep this part of the turned image only")
    cut_off: CutOff | None = Field(None, description="Nothing darker than this")
    outliers: Outliers | None = Field(None, description="Single pixels that become the median around them")
    median: Annotated[int, Field(ge=2, le=31)] | None = Field(
        None, description="Every pixel becomes the median of so many by so many, edges mirrored"
    )
    phase: Phase | None = Field(None, description="Phase retrieval")
    logarithm: bool = Field(True, description="-ln of the transmission: line integrals; false: leave it as it is")
    scale_down: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Blocks of so many by so many become one")
    scale_by: Literal["mean", "sum"] = Field("mean", description="What of the pixels of a block")

    @model_validator(mode="after")
    def _inside(self) -> "Steps":
        if self.scale_by == "sum" and self.logarithm:
            raise ValueError("scale_by: sum would multiply line integrals: scale by the mean")
        return self


class Config(Steps):
    """Options of `projection`."""

    type: Literal["projection"] = "projection"
    name: str = Field("projection", min_length=1, description="Name of the result in the file")
    channel: str | None = Field(None, description="Take this channel (threshold); null: the first")
    flat: Files = Field(
        None,
        description="File(s) of the open beam; several files or frames are averaged",
        json_schema_extra=READS,
    )
    dark: Files = Field(
        None, description="File(s) without beam; several files or frames are averaged", json_schema_extra=READS
    )
    from_scan: bool = Field(
        False,
        description="Flats and darks are frames of the scan, as image_key or `turn` of the tomography behind says: its "
        "thread then does all steps, with the flats that have come before a projection",
    )
    monitor: str | None = Field(
        None, description="Reading of the beam, such as monitor, that transmissions are divided by; null: none"
    )
    monitor_of_flat: float | None = Field(
        None, gt=0, description="What it read while the files of the flat were taken; of flats in the scan it is known"
    )
    keep: bool = Field(False, description="Write the images into the results file")
    device: str = Field("auto", pattern=SPELLING, description=WORDS, json_schema_extra=SAME_RESULT)

    @model_validator(mode="after")
    def _together(self) -> "Config":
        if self.from_scan and (self.flat is not None or self.dark is not None):
            raise ValueError("from_scan with files of flat or dark: leave one of them out")
        if self.flat is None and self.dark is not None:
            raise ValueError("dark without flat: nothing is divided; give flat too, or subtract with `correct`")
        if self.keep and self.from_scan:
            raise ValueError("keep with from_scan: the workers cannot know a projection's flats; give files of them")
        if self.monitor is not None and self.flat is not None and self.monitor_of_flat is None:
            raise ValueError("monitor with files of flat: give monitor_of_flat too")
        if self.monitor is not None and self.flat is None and not self.from_scan:
            raise ValueError("monitor without flat: nothing says what the open beam is; give flat, or an air region")
        return self

    def gives(self) -> Sequence[str]:
        """One product."""
        return (self.name,)

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into the flats and darks, and for somebody behind who takes the images."""
        yield from first_look({"flat": listed(self.flat), "dark": listed(self.dark)})
        from_here = itertools.dropwhile(lambda each: each is not self, known.config.processors)
        if all(isinstance(each, Config) and not each.keep for each in from_here):
            yield "", "nobody behind it takes the images: add a `tomography`, or set keep: true to write them"
