"""What the user may say about a tomogram of projections."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from processors.tomography.filters import Window
from processors.tomography.rings import Method
from stream.preflight import Known, Problem
from stream.registry import CHANGES, SAME_RESULT, Options
from stream.turning import Turn


class Config(Options):
    """Options of `tomography`."""

    type: Literal["tomography"] = "tomography"
    name: str = Field("tomography", description="Name of the result in the file")
    channel: str | None = Field(
        None, description="Take this channel (threshold), where no `projection` stands before; null: the first"
    )
    turn: Turn = Field(Turn(), description="Which frames are projections, flats or darks, and at which angle")
    slices: tuple[int, ...] = Field(
        (),
        description="Detector rows of the slices; none: the middle one. They may be moved while the scan runs",
        json_schema_extra=CHANGES,
    )
    most: int = Field(1, ge=1, le=64, description="Slices that there is room for in the file")
    vertical: bool = Field(True, description="Also the two vertical planes through the axis, in coarser pixels")
    vertical_px: int = Field(256, ge=8, le=4096, description="Pixels along a side of the vertical planes, at most")
    flat: Literal["mean", "nearest"] = Field(
        "mean", description="Flat fields of the scan: the mean of all, or of the series nearest to the projection"
    )
    centre: float | None = Field(
        None, description="Column of the rotation axis, from 0; null: estimated", json_schema_extra=CHANGES
    )
    half_acquisition: bool = Field(
        False, description="The axis lies near an edge, and a full turn shows both sides of the sample; needs `centre`"
    )
    window: Window = Field("ramp", description="Window of the filter: the later ones are smoother")
    rings: Method | None = Field(
        None,
        description="Remove rings from the slices, by all projections that there are, at the end also from the "
        "vertical planes and the volume; null: leave them",
        json_schema_extra=CHANGES,
    )
    picture_s: float = Field(
        1.0, ge=0, description="Shortest time from picture to picture in the file, s", json_schema_extra=SAME_RESULT
    )
    keep: bool = Field(
        True,
        description="Keep the projections, decoded, in a temporary file: a slice that is moved has its past, planes "
        "and the volume can be made; false: none of it",
    )
    volume: bool = Field(False, description="At the end of the scan, reconstruct all slices")

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        if len(self.slices) > self.most:
            raise ValueError(f"{len(self.slices)} slices, but there is room for {self.most}: set `most`")
        if not self.keep and (self.volume or self.vertical):
            raise ValueError("the volume and the vertical planes need `keep: true`")
        if self.half_acquisition and self.centre is None:
            raise ValueError("half_acquisition needs `centre`: no projection sees the whole sample")
        if any(row < 0 for row in self.slices):
            raise ValueError("rows count from 0")
        return self

    def gives(self) -> Sequence[str]:
        """Names of the products."""
        return (self.name, *((f"{self.name}_volume",) if self.volume else ()))

    def preflight(self, known: Known) -> Iterable[Problem]:
        """A list of angles that is not there."""
        if isinstance(self.turn.angles, Path) and not self.turn.angles.is_file():
            yield "turn.angles", f"{self.turn.angles} is neither `readings`, `metadata` nor a file: correct it"
