"""What the user may say about a mosaicity, strain or rocking scan."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from processors.shared.grid import DirectionOptions
from stream.registry import READS, SAME_RESULT, Options

MOST_MOTORS = 4


class GammaOptions(Options):
    """A tilt that is made of two, because the goniometer stands below the rotation: readings and their zero.

    gamma = (phi - phi0) cos(omega) + (chi - chi0) cos(chi0) sin(omega), in degrees.
    """

    phi: str = Field(description="Name of the reading of the lower tilt")
    chi: str = Field(description="Name of the reading of the tilt that stands upright on it")
    omega: str = Field(description="Name of the reading of the rotation")
    phi0: float = Field(0.0, description="phi where gamma is 0, degrees")
    chi0: float = Field(0.0, description="chi where gamma is 0, degrees")


class MotorOptions(DirectionOptions):
    """One motor of the scan: its positions, as for a direction of a map."""

    gamma: GammaOptions | None = Field(None, description="Compute the position from three readings; motor: its name")


class RoiOptions(Options):
    """The part of the frames that is taken: the others cost neither time nor room in the file."""

    center: tuple[int, int] = Field(description="x and y of its middle, pixels")
    size: tuple[int, int] = Field(description="Width and height, pixels; even: the middle belongs to the upper half")

    @field_validator("size")
    @classmethod
    def _some(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 1:
            raise ValueError("must be 1 or more")
        return size


class Config(Options):
    """Options of `mosaicity`."""

    type: Literal["mosaicity"] = "mosaicity"
    name: str = Field("mosaicity", description="Name of the result in the file; its pictures are NAME_images")
    channel: str | None = Field(None, description="Threshold channel; null: the first")
    motors: tuple[MotorOptions, ...] = Field(
        (),
        max_length=MOST_MOTORS,
        description="The motors that are scanned, the slowest first: {motor, first, step, points} of each; empty: as "
        "the source says",
    )
    omega: DirectionOptions | None = Field(
        None, description="The rotation between scans of the motors: images for each position; null: there is none"
    )
    place_by: Literal["readings", "number"] = Field(
        "readings",
        description="readings: of the motors, each frame within 0.4 step of its position; number: of the frame, as if "
        "the motors went through their positions, the last one fastest, omega slowest",
    )
    offset: int = Field(0, ge=0, description="Frames before the scan begins, where they are placed by number")
    positions: Literal["readings", "steps"] = Field(
        "readings", description="What the moments are about: recorded positions, or the nominal ones of the steps"
    )
    background: float = Field(0.0, allow_inf_nan=False, description="Counts to subtract from every pixel")
    background_files: tuple[str, ...] = Field(
        (), description="Frames without diffraction, whose mean is subtracted", json_schema_extra=READS
    )
    background_lowest: int = Field(
        0, ge=0, le=100, description="Subtract the mean of this many of the weakest frames of each omega; 0: do not"
    )
    threshold: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Signals below this, after the background, count as 0 (0: as negative ones); null: all count",
    )
    min_sum: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Pixels whose signals sum up to no more than this have no moments"
    )
    bad_frames: int = Field(
        0, ge=0, description="Pixels that are bad (saturated, flagged) in more frames than this are NaN"
    )
    roi: RoiOptions | None = Field(None, description="Part of the frames; null: all")
    keep_gb: float = Field(
        1.0, ge=0, description="Memory for frames, packed, that a later one at the same position may replace, GB"
    )
    memory_gb: float = Field(
        8.0, gt=0, description="Memory for the sums, GB (10^9 bytes); more is refused", json_schema_extra=SAME_RESULT
    )
    update_s: float = Field(
        5.0,
        gt=0,
        description="Longest time that a frame waits for its images to be complete, s",
        json_schema_extra=SAME_RESULT,
    )

    @model_validator(mode="after")
    def _fit(self) -> "Config":
        chosen = [self.background != 0, bool(self.background_files), self.background_lowest > 0]
        if sum(chosen) > 1:
            raise ValueError("background, background_files, background_lowest: only one of them")
        if self.background_lowest and (self.threshold is not None or self.bad_frames):
            raise ValueError(
                "background_lowest is known only when all frames have come: threshold and bad_frames cannot go with it"
            )
        if self.offset and self.place_by != "number":
            raise ValueError("offset is of frames that are placed by number: give `place_by: number` too")
        names = [each.motor or "" for each in self.motors]
        if len(set(names)) < len(names) or not all(names):
            raise ValueError("motors: each needs a name (motor) of its own")
        return self
