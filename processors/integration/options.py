"""Options of `integrate`, and what can be known of them before the first frame."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from processors.integration.plan import ErrorModel
from processors.shared import geometry
from processors.shared.device import SPELLING, WORDS
from stream.events import Detector
from stream.preflight import Known, Problem
from stream.registry import CHANGES, READS, SAME_RESULT, Options

log = logging.getLogger("inbeam")


class Config(Options):
    """Options of `integrate`. Without `poni` the geometry is that of the stream's header, overridden here."""

    type: Literal["integrate"] = "integrate"
    name: str = Field("integrate", description="Name of the result in the file")
    channel: str | None = Field(None, description="Integrate this channel (threshold); null: the first")
    poni: Path | None = Field(
        None, description="Geometry, a .poni file of pyFAI; null: from the stream's header", json_schema_extra=READS
    )
    distance_m: float | None = Field(None, gt=0, description="Sample to detector, m; null: from the header")
    wavelength_angstrom: float | None = Field(None, gt=0, description="Wavelength, angstrom; null: from poni or header")
    pixel_size_m: tuple[float, float] | None = Field(None, description="Pixel size (rows, columns), m; null: header")
    beam_center_px: tuple[float, float] | None = Field(None, description="Beam centre (x, y), pixels; null: header")
    npt: int = Field(1000, ge=1, le=1_000_000, description="Number of radial bins, of azimuthal ones with unit chi_deg")
    npt_azimuthal: int | None = Field(None, ge=1, le=100_000, description="Number of azimuthal bins; null: 1D")
    unit: str = Field(
        "q_nm^-1",
        description="Radial unit, a name of pyFAI: q_nm^-1, q_A^-1, 2th_deg, r_mm ...; or chi_deg, chi_rad: the "
        "intensity along a ring, I(chi), of the radii in radial_range",
    )
    radial_unit: str = Field("q_nm^-1", description="Unit of radial_range where unit is chi_deg or chi_rad")
    radial_range: tuple[float, float] | None = Field(
        None, description="Lower and upper limit in `unit` (or radial_unit); null: all"
    )
    azimuth_range: tuple[float, float] | None = Field(
        None,
        description="Lower and upper limit, degrees, any sector ([170, 190] too); null: all. What lies outside stays "
        "out, where pyFAI counts pixels below it into the first bins of a cake without or with bbox splitting",
    )
    splitting: Literal["no", "bbox", "full"] = Field("no", description="How a pixel is shared among bins, as pyFAI's")
    solid_angle: bool = Field(True, description="Divide by the solid angle of the pixels (relative to the centre)")
    polarization: float | None = Field(
        None, ge=-1, le=1, description="Polarization factor, 0.99 or so at a synchrotron; null: no correction"
    )
    normalize_by_monitor: bool = Field(False, description="Divide by the incident-beam reading of the frame")
    monitor_reference: float = Field(
        1.0, gt=0, description="Reading that leaves intensities as they are", json_schema_extra=CHANGES
    )
    error_model: ErrorModel = Field(
        "none",
        description="poisson: from the raw counts (and those of the dark in a cake without or with bbox splitting, as "
        "pyFAI does); azimuthal: from the spread in a ring, the numbers of pyFAI's "
        "compiled engines; azimuthal_exact: the same by the exact formula, faster",
    )
    empty: float = Field(float("nan"), description="Value of bins without any valid pixel (pyFAI: 0)")
    device: str = Field("auto", pattern=SPELLING, description=WORDS, json_schema_extra=SAME_RESULT)

    @field_validator("unit", "radial_unit")
    @classmethod
    def _known_unit(cls, unit: str, info: ValidationInfo) -> str:
        known = [*geometry.UNITS, *(geometry.AZIMUTHAL_UNITS if info.field_name == "unit" else ())]
        if unit not in known:
            raise ValueError(f"unknown unit {unit!r}; known: {', '.join(known)}")
        return unit

    @field_validator("radial_range", "azimuth_range")
    @classmethod
    def _in_order(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and not (np.isfinite(limits).all() and limits[0] < limits[1]):
            raise ValueError("must be two numbers, the smaller first")
        return limits

    @field_validator("azimuth_range")
    @classmethod
    def _within_a_circle(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and limits[1] - limits[0] > 360:
            raise ValueError("must be at most a circle wide, 360 degrees")
        return limits

    @model_validator(mode="after")
    def _one_geometry(self) -> "Config":
        both = [name for name in ("distance_m", "pixel_size_m", "beam_center_px") if getattr(self, name) is not None]
        if self.poni is not None and both:
            raise ValueError(f"{', '.join(both)} beside poni: the .poni says it already; leave one of them out")
        return self

    @model_validator(mode="after")
    def _along_a_ring(self) -> "Config":
        if self.along_ring and self.npt_azimuthal is not None:
            raise ValueError(f"npt_azimuthal with unit {self.unit}: a cake has a radial unit; leave out one of them")
        if not self.along_ring and "radial_unit" in self.model_fields_set:
            raise ValueError(f"radial_unit with unit {self.unit}: radial_range is in `unit`; leave radial_unit out")
        return self

    @property
    def along_ring(self) -> bool:
        """True for I(chi)."""
        return self.unit in geometry.AZIMUTHAL_UNITS

    def radial(self, wavelength_known: bool) -> str:
        """The radial unit of the bins: of I(chi) over all radii any one will do."""
        if not self.along_ring:
            return self.unit
        return self.radial_unit if self.radial_range is not None or wavelength_known else "2th_rad"

    def gives(self) -> Sequence[str]:
        """Name of the product."""
        return (self.name,)

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into the .poni."""
        if self.poni is None:
            return ()
        made = geometry.from_poni(self.poni, self.wavelength_angstrom, Detector())
        geometry.check_readable("poni", str(self.poni), made)
        unit = self.radial(wavelength_known=False)
        if geometry.UNITS[unit].needs_wavelength and made.value("Wavelength") is None:
            log.warning(
                "%s: neither %s nor wavelength_angstrom says the wavelength that %s needs: the frames' header must",
                self.name,
                self.poni,
                unit,
            )
        return ()
