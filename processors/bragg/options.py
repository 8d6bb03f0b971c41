"""Options of `sparsify`: each keeps the name and the meaning that it has in pyFAI's `sparsify-Bragg`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from processors.bragg.variance import Variance
from processors.correction.bad_pixels import first_look
from processors.correction.options import Files, listed
from processors.shared.device import SPELLING, WORDS
from processors.shared.geometry import check_readable, from_poni
from stream.errors import InbeamError
from stream.events import Detector
from stream.preflight import Known, Problem
from stream.registry import READS, SAME_RESULT, Options


class Config(Options):
    """Options of `sparsify`; the names are those of sparsify-Bragg."""

    type: Literal["sparsify"] = "sparsify"
    name: str = Field("sparsify", description="Key of the results, to tell several apart")
    channel: str | None = Field(None, description="Channel (threshold) to sparsify; null: the first")
    poni: str = Field(description="Geometry description file (PONI)", json_schema_extra=READS)
    mask: Files = Field(
        None,
        description="File, nonzero = invalid pixel; null: the mask of the PONI's detector",
        json_schema_extra=READS,
    )
    dark: Files = Field(None, description="File(s) with raw counts to subtract", json_schema_extra=READS)
    flat: Files = Field(None, description="File(s) with the pixel response to divide by", json_schema_extra=READS)
    dummy: float | None = Field(None, description="Raw counts of this value are invalid in that frame")
    delta_dummy: float | None = Field(None, ge=0, description="Raw counts this near to `dummy` are invalid too")
    flags: bool = Field(
        True,
        description="The largest value of an integer type, and negative counts, are the detector's flags for invalid "
        "pixels: neither background nor Bragg peaks",
    )
    radial_range: tuple[float, float] | None = Field(
        None, description="Lowest and highest radius, in `unit`, considered; null: all of the detector"
    )
    polarization: float | None = Field(
        None, ge=-1, le=1, description="Polarization factor of the beam; null: no correction; 0.99 at most synchrotrons"
    )
    solidangle: bool = Field(False, description="Correct for the solid angle of the pixels")
    bins: int = Field(800, ge=2, le=65534, description="Number of radial bins")
    unit: str = Field("r_m", description="Radial unit of pyFAI: r_m, r_mm, q_nm^-1, q_A^-1, 2th_deg ...")
    cycle: int = Field(5, ge=0, description="Most cycles of sigma clipping")
    cutoff_clip: float = Field(
        0.0, ge=0, description="Clip pixels this many deviations from the mean; Chauvenet's criterion if that is larger"
    )
    cutoff_pick: float = Field(3.0, gt=0, description="Keep pixels this many deviations above the background")
    error_model: str = Field(
        "poisson", description="poisson, azimuthal, hybrid, or the variance as a formula of the counts I, as 5*I+8"
    )
    noise: float = Field(
        1.0, ge=0, description="Added quadratically to the deviation; no pixel is kept below it, counts"
    )
    cutoff_peak: float | None = Field(
        None, ge=0, description="Find peaks this many deviations above the background (3 to 5); null: no peak finding"
    )
    peak_patch_size: Literal[3, 5] = Field(3, description="Side of the square around a peak, pixels")
    peak_connected: int = Field(2, ge=1, le=25, description="Intense pixels needed in the patch, its centre included")
    hit_peaks: int = Field(10, ge=1, description="A frame with this many peaks is a hit (with peak finding)")
    hit_pixels: int = Field(1000, ge=1, description="A frame with this many picked pixels is a hit (without)")
    hit_window: int = Field(200, ge=1, description="Frames over which `hit_rate` is taken, by each worker")
    workgroup: int | None = Field(
        None,
        ge=1,
        description="OpenCL workgroup size: the speed depends on it, no result",
        json_schema_extra=SAME_RESULT,
    )
    device: str = Field("cpu", pattern=SPELLING, description=WORDS, json_schema_extra=SAME_RESULT)

    @model_validator(mode="before")
    @classmethod
    def _as_pyfai_says_it(cls, given: Any) -> Any:
        """`engine: opencl` with the two numbers of sparsify-Bragg's --device, or its --device-type."""
        if not isinstance(given, dict) or not {"engine", "device_type"} & given.keys():
            return given
        options = dict(given)
        engine, kind, numbers = options.pop("engine", "cpu"), options.pop("device_type", "all"), options.get("device")
        if engine not in ("cpu", "opencl") or kind not in ("all", "cpu", "gpu", "acc"):
            raise ValueError("engine is cpu or opencl, device_type all, cpu, gpu or acc: better say both by `device`")
        which = ",".join(map(str, numbers)) if isinstance(numbers, list | tuple) else "" if kind == "all" else kind
        options["device"] = ":".join(part for part in ("opencl", which) if part) if engine == "opencl" else "cpu"
        return options

    @field_validator("error_model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        if value not in ("poisson", "azimuthal", "hybrid"):
            if "I" not in value:
                raise ValueError(f"{value!r} is neither poisson, azimuthal, hybrid nor a formula of I such as 5*I+8")
            try:
                Variance(value)
            except InbeamError as error:
                raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _dummy_first(self) -> "Config":
        if self.dummy is None and self.delta_dummy:
            raise ValueError("delta_dummy without dummy does nothing: give dummy too")
        return self

    def gives(self) -> Sequence[str]:
        """Name of the product."""
        return (self.name,)

    def preflight(self, known: Known) -> Iterable[Problem]:
        """Look into the geometry and every file."""
        made = from_poni(Path(self.poni), None, Detector(), "poni")
        check_readable("poni", self.poni, made)
        from pyFAI.units import RADIAL_UNITS

        if self.unit not in RADIAL_UNITS:
            yield "unit", f"unknown radial unit {self.unit!r}: use one of {', '.join(RADIAL_UNITS)}"
        yield from first_look({"mask": listed(self.mask), "dark": listed(self.dark), "flat": listed(self.flat)})
