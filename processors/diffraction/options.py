"""What the user may say about a diffraction tomogram: all that a map has, and how it becomes slices."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from processors.mapping.options import Config as MapConfig
from processors.tomography.air import By
from processors.tomography.filters import Window
from stream.registry import SAME_RESULT, Options

DEGREES = ("", "deg", "degree", "degrees", "°")


class Air(Options):
    """Correction by what lies beside the sample."""

    points: int = Field(ge=1, le=10_000, description="Points at each end of a projection that see no sample")
    by: By = Field(
        "subtract",
        description="subtract: the line through the means of both ends; divide: by their mean",
    )


class Config(MapConfig):
    """Options of `diffraction_tomography`: those of `map`, and more."""

    type: Literal["diffraction_tomography"] = "diffraction_tomography"  # type: ignore[assignment]
    name: str = Field("tomogram", description="Name of the result in the file; its slices are NAME_slices")
    rotation: Literal["slow", "fast"] = Field("slow", description="Which direction turns; the other one translates")
    angles: Literal["positions", "readings"] | tuple[float, ...] = Field(
        "positions",
        description="Angles of the projections, degrees. positions: as the direction that turns says (first, step, "
        "last); readings: of its motor, the mean over a projection; or a list, in the order of the projections",
    )
    centre: float | None = Field(
        None, description="Column of the rotation axis, from 0, in points of the translation; null: estimated"
    )
    centre_from: str | None = Field(
        None,
        description="Reading of the transmitted beam (a diode): its absorption is reconstructed too, and tells the "
        "centre, which a textured sample's diffraction cannot",
    )
    half_acquisition: bool = Field(
        False, description="The axis lies near an edge, and a full turn shows both sides of the sample; needs `centre`"
    )
    window: Window = Field("ramp", description="Window of the filter: the later ones are smoother")
    air: Air | None = Field(None, description="Correct each projection by its air; null: not")
    outliers: float | None = Field(
        None,
        ge=3,
        description="Replace points of a sinogram that differ from their neighbours by more than so many standard "
        "deviations (large grains); they are marked. null: none",
    )
    longest_gap: int = Field(3, ge=0, description="Missing points in a row that are interpolated, and marked")
    picture_s: float = Field(
        1.0, ge=0, description="Shortest time from slice to slice in the file, s", json_schema_extra=SAME_RESULT
    )
    volume: bool = Field(False, description="At the end of the scan, reconstruct a slice for every radial bin")

    @model_validator(mode="after")
    def _axis(self) -> "Config":
        if self.half_acquisition and self.centre is None:
            raise ValueError("half_acquisition needs `centre`: no projection sees the whole sample")
        return self

    def gives(self) -> Sequence[str]:
        """Names of the products."""
        volume = (f"{self.name}_volume",) if self.volume else ()
        return (self.name, f"{self.name}_images", f"{self.name}_slices", *volume)
