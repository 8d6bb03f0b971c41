"""What the user may say about regions of interest."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from processors.regions.shapes import PIXELS, Region, Ring, Shape, checked_names
from processors.regions.sharing import read_regions
from processors.shared import geometry
from stream.errors import ConfigError
from stream.events import Detector
from stream.preflight import Known, Problem
from stream.registry import CHANGES, READS, Options

MOST_VALUES = 1_000_000
MOST_PIXELS = 65_535
"""Rows and columns of a frame: what 16 bits can count."""


class Config(Options):
    """Options of `roi`."""

    type: Literal["roi"] = "roi"
    name: str = Field("roi", description="Name of the result in the file")
    channel: str | None = Field(None, description="Take this channel (threshold); null: the first")
    regions: dict[str, Region | None] = Field(
        default_factory=dict,
        description="Named regions, in the order of their places in the file; null: none any more, but its place is "
        "kept. They may change while a scan runs",
        json_schema_extra=CHANGES,
    )
    regions_file: Path | None = Field(
        None,
        description="JSON with the regions to begin with, one set per sample (see docs/roi.md); instead of `regions`",
        json_schema_extra=READS,
    )
    regions_read: str | None = Field(
        None, description="Filled in when regions_file has been read: the digest of what was in it; leave it out"
    )
    most: int = Field(16, ge=1, le=1000, description="Places in the file: regions that there may be at a time")
    poni: Path | None = Field(
        None,
        description="Geometry for rings in q, 2theta ..., a .poni file of pyFAI; null: from the stream's header",
        json_schema_extra=READS,
    )
    wavelength_angstrom: float | None = Field(None, gt=0, description="Wavelength, angstrom; null: from poni or header")
    normalize_by: str | None = Field(
        None,
        description="Divide what is above the background by this reading (monitor ...); where it is 0, negative or "
        "missing the values are NaN, counted and told",
    )
    reference: float = Field(1.0, gt=0, description="The reading that divides by 1")
    error_model: Literal["none", "poisson"] = Field("poisson", description="poisson: errors from the raw counts")
    profiles: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Keep the profiles of every region along both axes, frame by frame, with room for so many values; "
        "null: do not",
    )
    compat: Literal["sp2014"] | None = Field(
        None, description="sp2014: widths as the SPring-8 code has them, at 1/1.8 of the maximum (see docs/roi.md)"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, document: Any) -> Any:
        """The regions of the file, once: what is changed afterwards stays changed."""
        if not isinstance(document, dict) or not isinstance(document.get("regions_file"), str | Path):
            return document
        if document.get("regions_read"):
            return document
        if document.get("regions"):
            raise ValueError("regions beside regions_file: give one of them")
        regions, digest = read_regions(Path(document["regions_file"]).expanduser())
        return {**document, "regions": regions, "regions_read": digest}

    @field_validator("regions")
    @classmethod
    def _names(cls, regions: dict[str, Shape | None]) -> dict[str, Shape | None]:
        checked_names(regions)
        return regions

    @model_validator(mode="after")
    def _room(self) -> "Config":
        if len(self.regions) > self.most:
            text = "set `most` higher, or replace one that is no longer used"
            raise ValueError(f"{len(self.regions)} regions, but the file has places for {self.most}: {text}")
        if self.profiles is not None and self.profiles * self.most > MOST_VALUES:
            text = f"profiles x most are {self.profiles * self.most} values per frame, at most {MOST_VALUES}"
            raise ValueError(f"{text}: choose one of them smaller")
        return self

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the regions by their place in the file; "" where there is none."""
        names = [name if region is not None else "" for name, region in self.regions.items()]
        return (*names, *("" for _ in range(self.most - len(names))))

    def gives(self) -> Sequence[str]:
        """Name of the product."""
        return (self.name,)

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into the .poni, and at the units that need a wavelength."""
        rings = [region for region in self.regions.values() if isinstance(region, Ring) and region.unit != PIXELS]
        if self.poni is None:
            return
        made = geometry.from_poni(self.poni, self.wavelength_angstrom, Detector(), key="poni")
        geometry.check_readable("poni", str(self.poni), made)
        for ring in rings:
            try:
                geometry.check_wavelength(made, ring.unit)
            except ConfigError as error:
                yield "wavelength_angstrom", error.problems[0][1]
                return


def configured(config: Config) -> dict[str, Any]:
    """JSON-like, for the provenance."""
    found: dict[str, Any] = json.loads(config.model_dump_json())
    return found
