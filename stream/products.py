"""What a processor promises before the scan: the fields it will give per frame, so that a sink can lay out its file.

A SWMR file must be complete before the first frame, therefore every dataset is declared here, at the start of a scan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """One array per frame. Ragged: shape (None,), a different length for every frame."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    unit: str = ""
    long_name: str = ""

    @property
    def ragged(self) -> bool:
        """True where the length changes from frame to frame."""
        return None in self.shape


@dataclass(frozen=True, slots=True)
class Product:
    """All that one processor gives for one scan; `name` is its key in `Frame.results`.

    definition: NeXus application definition the sinks should write ("NXazint1d", "NXazint2d"), or "".
    signal: name of the field to plot, `axes` belong to its dimensions after the frame's own.
    constants: arrays that hold for the whole scan (pixel radius, mask ...), written once.
    parameters: provenance, JSON-like: the configuration used, the poni, what was taken from the header.
    """

    name: str
    fields: tuple[Field, ...]
    signal: str = ""
    axes: tuple[Axis, ...] = ()
    definition: str = ""
    constants: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    parameters: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
