"""What the user may say about a topo-tomography scan: all that a mosaicity scan has, and how it becomes a volume."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from processors.moments.options import Config as MosaicityConfig
from processors.topotomography import original
from processors.topotomography.geometry import Geometry, Grid, Mode, bragg_deg, spacing_angstrom
from stream.registry import SAME_RESULT, Options

Point = tuple[float, float, float]


class GeometryOptions(Options):
    """How the sample stands between beam and detector: docs/topotomo.md has the formulas and a drawing in words."""

    mode: Mode = Field(
        "rotation_y",
        description="rotation_y: about y, beam along x, as Recon3D came to be; horizontal, vertical: the scattering "
        "plane, as in its white paper",
    )
    theta_deg: float | None = Field(None, gt=0, lt=90, description="Bragg angle; null: of the three below")
    wavelength_angstrom: float | None = Field(None, gt=0, description="Of the beam")
    unit_cell: tuple[float, float, float, float, float, float] | None = Field(
        None, description="a, b, c (angstrom), alpha, beta, gamma (degrees)"
    )
    hkl: tuple[float, float, float] | None = Field(None, description="Indices of the reflection")
    magnification: float = Field(gt=0, allow_inf_nan=False, description="Size of the image over that of the sample")
    pixel_um: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="Size of a pixel; 1: magnification is pixels per micrometre of the sample, as M of Recon3D",
    )
    center: tuple[float, float] | None = Field(
        None,
        description="Column and row, in the whole frame, where the point of the rotation axis is seen that the "
        "coordinates of the volume begin from; null: of the middle, nx/2 and ny/2",
    )
    upper_deg: float = Field(0.0, description="Upper tilt (mu) that the projection is made with: see docs/topotomo.md")
    lower_deg: float = Field(0.0, description="Lower tilt (gamma) that the projection is made with")
    about_upper_um: Point = Field((0.0, 0.0, 0.0), description="Point that the upper tilt leaves where it is: xyz_up")
    about_lower_um: Point = Field((0.0, 0.0, 0.0), description="The same of the lower tilt: xyz_lo")
    about_theta_um: Point = Field((0.0, 0.0, 0.0), description="The same of the Bragg angle: xyz_th")
    detector_tilt_deg: float | None = Field(
        None, description="Of the detector in the scattering plane, 2 theta if it is perpendicular to the diffracted "
        "beam, which null means too"
    )  # fmt: skip
    sense: Literal[1, -1] = Field(1, description="-1: the motor of omega counts the other way round")
    transposed: bool = Field(False, description="Rows and columns of the frames change their parts")

    @model_validator(mode="after")
    def _one_angle(self) -> "GeometryOptions":
        three = (self.wavelength_angstrom, self.unit_cell, self.hkl)
        if (self.theta_deg is None) == any(each is None for each in three):
            raise ValueError("either theta_deg, or wavelength_angstrom, unit_cell and hkl")
        self.made()
        return self

    def theta(self) -> float:
        """Degrees."""
        if self.theta_deg is not None:
            return self.theta_deg
        assert self.wavelength_angstrom is not None and self.unit_cell is not None and self.hkl is not None
        return bragg_deg(self.wavelength_angstrom, spacing_angstrom(self.unit_cell, self.hkl))

    def made(self, *, theta_deg: float | None = None) -> Geometry:
        """With another theta, if it is given. Raises ValueError."""
        return Geometry(
            self.mode,
            self.theta() if theta_deg is None else theta_deg,
            self.magnification / self.pixel_um,
            self.upper_deg,
            self.lower_deg,
            self.about_upper_um,
            self.about_lower_um,
            self.about_theta_um,
            self.detector_tilt_deg,
            self.sense,
            self.transposed,
        )


class VolumeOptions(Options):
    """The voxels. They must hold the whole sample: what is beside them would be put into them."""

    steps: tuple[int, int, int] = Field(description="Number of voxels along x, y, z: grain_steps")
    size_um: Point = Field(description="Size of the volume, micrometres: grain_dim")
    center_um: Point = Field((0.0, 0.0, 0.0), description="Its middle, from the point at `center`: grain_pos")

    @model_validator(mode="after")
    def _positive(self) -> "VolumeOptions":
        if min(self.steps) < 1 or not min(self.size_um) > 0:
            raise ValueError("steps must be 1 or more, size_um more than 0")
        return self

    def made(self) -> Grid:
        """The grid."""
        return Grid(self.steps, self.center_um, self.size_um)


class CleaningOptions(Options):
    """What is done to the images of each omega before they become part of the volume, in this order."""

    border: int = Field(
        0, ge=0, description="Subtract the plane through so many rows and columns at the edges of the frame; 0: do not"
    )
    level: float | None = Field(
        None,
        allow_inf_nan=False,
        description="The sample is where the sum over the tilts is above this, holes filled, closed with a disc of "
        "radius 1; all else is dark. null: everywhere",
    )
    least_area: int = Field(100, ge=1, description="Smaller regions above `level` are no sample, pixels")
    equalise: bool = Field(False, description="Multiply each projection so that all have the same total")


class Config(MosaicityConfig):
    """Options of `topotomo`: those of `mosaicity`, with omega, and more."""

    type: Literal["topotomo"] = "topotomo"  # type: ignore[assignment]
    name: str = Field("topotomo", description="Name of the result in the file; the volume is NAME_volume")
    geometry: GeometryOptions = Field(description="How the sample stands, and how large it is seen")
    volume: VolumeOptions = Field(description="The voxels")
    cleaning: CleaningOptions = Field(
        default_factory=lambda: CleaningOptions(), description="Of the images, before they become part of the volume"
    )
    method: Literal["moments", "sirt", "recon3d"] = Field(
        "sirt",
        description="Of the volume at the end. moments: back-projection, which the live view always is; sirt: "
        "iterative; recon3d: the nearest pixels, as in Recon3D",
    )
    iterations: int = Field(10, ge=1, le=1000, description="Of sirt")
    subsets: int = Field(10, ge=1, description="Parts of the projections that each iteration of sirt takes in turn")
    bug_compat: bool = Field(False, description="recon3d with the bugs of the original, for comparison alone")
    force: bool = Field(False, description="Reconstruct although omega covers less than 180 degrees")
    least_tilts: float = Field(
        0.95, ge=0, le=1, description="Share of its tilts that an omega must have, to be part of the volume"
    )
    least_completeness: float = Field(
        0.5, ge=0, le=1, description="Voxels with signal in a smaller share of the projections have no tilts (NaN)"
    )
    least_density: float = Field(
        0.1, ge=0, le=1, description="Voxels with less than this share of the density of the densest (99 % of all are "
        "less dense) have no tilts (NaN)"
    )  # fmt: skip
    threads: int | None = Field(None, ge=1, description="null: one per core", json_schema_extra=SAME_RESULT)
    picture_s: float = Field(
        1.0, ge=0, description="Shortest time from one live view to the next, s", json_schema_extra=SAME_RESULT
    )

    @model_validator(mode="after")
    def _of_a_volume(self) -> "Config":
        if self.omega is None:
            raise ValueError("topotomo needs omega: {motor, first, step, points}")
        if self.bug_compat and self.method != "recon3d":
            raise ValueError("bug_compat belongs to `method: recon3d`")
        if self.bug_compat and (self.geometry.mode != "rotation_y" or self.positions != "steps"):
            raise ValueError("bug_compat needs `mode: rotation_y` and `positions: steps`, which the original has")
        if self.bug_compat and len(self.motors) != 2:
            raise ValueError("bug_compat needs two motors: mu and gamma")
        return self

    def theta_deg(self) -> float:
        """Of the geometry; the original's own, if its bugs are wanted."""
        geometry = self.geometry
        if not self.bug_compat or geometry.unit_cell is None:
            return geometry.theta()
        assert geometry.wavelength_angstrom is not None and geometry.hkl is not None
        return original.theta_deg(geometry.wavelength_angstrom, geometry.unit_cell[0], geometry.hkl[0])

    def gives(self) -> Sequence[str]:
        """Names of the products of the volume."""
        return (f"{self.name}_volume", *(f"{self.name}_slice_{axis}" for axis in "xyz"))
