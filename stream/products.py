"""What a processor promises before the scan: the fields it will give, so that a sink can lay out its file.

A SWMR file must be complete before the first frame, therefore every dataset is declared here, at the start of a scan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from stream.events import EMPTY, Array


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a result: `values` (n,) in `unit`; `edges` (n + 1,) where the bins have them."""

    name: str
    values: Array
    unit: str
    long_name: str = ""
    edges: Array | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One array per frame, or one for the whole scan.

    per: "frame": row i is frame number i, given in `Frame.results`; "scan": filled piece by piece by `Update`s.
    shape: of one frame, or of the whole. None: per frame, a length that changes from frame to frame (ragged); per scan,
    only as the first dimension, a length that is not known at the start and grows.
    interpretation: of the last dimensions, as NeXus names it ("spectrum", "image", "scalar"); "": from the rank.
    chunk: per scan, how the array is divided in the file; null: as whole rows of its first dimension. An update that
    fills whole chunks is written once; one that fills half of it is written twice.
    compressed: False for what is written as a whole again and again (a picture that grows clearer): a compressed chunk
    takes a new place whenever it needs more room, and the old one is lost to a SWMR file.
    partial: per scan, only there to make one product of those of several processes: not in the whole.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    unit: str = ""
    long_name: str = ""
    per: Literal["frame", "scan"] = "frame"
    chunk: tuple[int, ...] | None = None
    interpretation: str = ""
    compressed: bool = True
    partial: bool = False

    @property
    def ragged(self) -> bool:
        """True where the length changes from frame to frame."""
        return self.per == "frame" and None in self.shape


@dataclass(frozen=True, slots=True)
class Reduction:
    """How an azimuthal integration was done: what the definitions NXazint1d and NXazint2d ask for.

    poni: text of a .poni file, for those who show where a pixel lies. radial_unit: pyFAI's name of it.
    """

    definition: Literal["NXazint1d", "NXazint2d"]
    wavelength_angstrom: float | None = None
    solid_angle_applied: bool = False
    polarization_applied: bool = False
    normalization_applied: bool = True
    """Every bin is divided by its pixels' solid angles and factors."""
    monitor_applied: bool = False
    poni: str = ""
    radial_unit: str = ""


@dataclass(frozen=True, slots=True)
class SparseFrames:
    """What readers of sparse frames (pyFAI, fabio) need to restore them.

    geometry, recipe: JSON-like, as pyFAI stores them. instrument: name -> number in metres, pixels, angstrom;
    `detector` is its name. radius_unit, radius_name: of the axis `radius`.
    """

    geometry: Mapping[str, Any]
    recipe: Mapping[str, Any]
    instrument: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    radius_unit: str = ""
    radius_name: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """All that one processor gives for one scan; `name` is its key in `Frame.results` and in `Update.product`.

    signal: name of the field to plot, `axes` belong to its dimensions (after the frame's own where it is per frame).
    constants: arrays that hold for the whole scan (pixel radius, mask ...), written once.
    parameters: provenance, JSON-like: the configuration used, the poni, what was taken from the header. Nobody computes
    with it; what a sink needs to know is a field here. With the fields it decides if an earlier file is gone on with.
    bad_pixels: channel -> bool (rows, columns), True = not to be believed in any frame; for those who show images.
    device: what computed it: provenance that may differ between two runs of the same.
    places: the option of the processor whose keys, in their order, name the first dimension of every field that has
    one, for the frames of that revision; "" where the places have no names.
    recipe: filled in by the pipeline, see `stream.pipeline.recipe`: with another one the values may be others.
    """

    name: str
    fields: tuple[Field, ...]
    signal: str = ""
    axes: tuple[Axis, ...] = ()
    constants: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    parameters: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    device: str = ""
    bad_pixels: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    places: str = ""
    recipe: str = ""
    reduction: Reduction | None = None
    sparse: SparseFrames | None = None
    of: str = ""
    """Name of the product whose results this one gathers; "" if there is none."""
    poni: str = ""
    """Geometry that the places of this product may be said in, as text of a .poni, for those who draw them."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What the processors of a chain have declared for a scan: left on the bench, where a gatherer finds it
    (`work.get(Declared)`)."""

    products: tuple[Product, ...]


def shown(products: Sequence[Product]) -> tuple[Product, ...]:
    """The products without their fields that are `partial`: those that anybody may look at."""
    return tuple(
        replace(product, fields=tuple(each for each in product.fields if not each.partial)) for product in products
    )
