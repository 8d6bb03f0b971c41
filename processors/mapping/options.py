"""What the user may say about a map."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from processors.mapping import layout
from processors.mapping.rois import QUANTITIES, Ratio, Roi
from processors.shared.grid import By, DirectionOptions
from stream.preflight import Known, Problem
from stream.registry import CHANGES, SAME_RESULT, Options

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")


class Config(Options):
    """Options of `map`."""

    type: Literal["map"] = "map"
    name: str = Field("map", description="Name of the result in the file; its images are NAME_images")
    of: str | None = Field(None, description="Name of the processor whose patterns are mapped; null: the first")
    fast: DirectionOptions = Field(
        DirectionOptions(), description="The direction that changes from frame to frame: number of points, or a mapping"
    )
    slow: DirectionOptions = Field(
        DirectionOptions(), description="The direction that changes from line to line; points: null if unknown"
    )
    place_by: By = Field(
        "number",
        description="number: of the frame; readings: of the two motors, each frame within 0.4 step of its point; "
        "nearest: of the motors, the nearest point (spiral and free scans)",
    )
    offset: int = Field(0, ge=0, description="Frames before the map begins: not mapped")
    zigzag: bool = Field(False, description="Every other line runs back (by number; with one line it is ignored)")
    frames_per_point: int = Field(1, ge=1, description="Frames at each point, whose mean is taken")
    normalize_by: str | None = Field(
        None, description="Divide each frame by this reading; points without a usable one are NaN, counted and told"
    )
    rois: dict[str, Roi] = Field(
        default_factory=dict, description="Named radial regions, mapped live", json_schema_extra=CHANGES
    )
    ratios: dict[str, Ratio] = Field(
        default_factory=dict, description="Named ratios of two regions", json_schema_extra=CHANGES
    )
    spare_rois: int = Field(2, ge=0, le=100, description="Places for regions that are added during the scan")
    memory_gb: float = Field(
        8.0,
        gt=0,
        description="Memory for the cube, GB (10^9 bytes); a map that needs more is refused",
        json_schema_extra=SAME_RESULT,
    )
    line_s: float = Field(
        30.0,
        gt=0,
        description="Longest time that a frame waits for its line to be complete, s",
        json_schema_extra=SAME_RESULT,
    )

    @model_validator(mode="after")
    def _fields(self) -> "Config":
        for name in (*self.rois, *self.ratios):
            if not NAME.fullmatch(name):
                raise ValueError(f"the name {name!r}: use letters, digits and _, a letter first, 41 at most")
        fields = [f"{roi}_{each}" for roi in self.rois for each in QUANTITIES]
        fields += [f"{self._spare(number)}_{each}" for number in range(self.spare_rois) for each in QUANTITIES]
        fields += [*self.ratios, *layout.RESERVED]
        twice = sorted({name for name in fields if fields.count(name) > 1})
        if twice:
            raise ValueError(f"two images would be called {twice[0]!r}: give the region or the ratio another name")
        return self

    @staticmethod
    def _spare(number: int) -> str:
        return f"spare_{number + 1}"

    def places(self) -> tuple[str, ...]:
        """What the regions' places are called in the file."""
        return (*self.rois, *(self._spare(number) for number in range(self.spare_rois)))

    def gives(self) -> Sequence[str]:
        """Names of the products."""
        return (self.name, f"{self.name}_images")

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Whether there is something to map, in front of this entry."""
        entries = [str(getattr(each, "name", "")) for each in known.config.processors]
        before = entries[: entries.index(self.name)] if self.name in entries else entries
        if self.of is not None and self.of not in before:
            have = ", ".join(filter(None, before)) or "none"
            yield "of", f"no processor before this one is called {self.of!r} (there is: {have}): correct it"
